"""The gateway in an emulated VM, set up by its metadata and startup.sh alone, and reached from outside."""

import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import jwt
import pytest

from gcp_emulator.emulator import Emulator
from gcp_emulator.seed import InstanceSeed, SecretSeed, Seed
from tests.contract.certificates import certificate_and_key
from tests.contract.gateway_at_work import KEYS, PHONE, Service
from tests.contract.world import Running, running
from tests.e2e.boots import startup_script
from tests.e2e.test_dead_man import READABLE, Vm, until

CERTIFICATE, KEY = certificate_and_key()
SECRETS = {"mayfly-gateway-keys": KEYS, "gateway-certificate": CERTIFICATE, "gateway-key": KEY}


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with Service().serving() as service:
        yield service


@pytest.fixture
def port() -> int:
    with socket.create_server(("0.0.0.0", 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture
def vm(tmp_path: Path, service: Service, port: int) -> Iterator[Vm]:
    script = startup_script().replace("            sleep 30\n", "            sleep 0.2\n")
    metadata = {
        "startup-script": script,
        "mayfly-role": "gateway",
        "mayfly-port": str(port),
        "mayfly-boot-minutes": "0",
        "mayfly-gateway-upstream": service.url,
        "mayfly-gateway-certificate": "gateway-certificate",
        "mayfly-gateway-certificate-key": "gateway-key",
    }
    seed = Seed(
        instances=(InstanceSeed("gpu-vm", metadata=metadata),),
        secrets=tuple(SecretSeed(name, versions=(text,)) for name, text in SECRETS.items()),
    )
    with running(lambda: Emulator(seed=seed, folder=tmp_path / "disks", readable=READABLE)) as emulator:
        yield Vm(Running(emulator), tmp_path)


async def test_a_gateway_s_vm_serves_by_https_with_its_own_account_s_token_and_stays_on(
    vm: Vm, service: Service, port: int
) -> None:
    vm.start()
    vm.says("mayfly: stage=agent status=done")
    trusted = ssl.create_default_context(cadata=CERTIFICATE)
    async with httpx.AsyncClient(base_url=f"https://localhost:{port}", verify=trusted, timeout=60) as client:
        assert (await client.get("/gateway-health")).json() == {"status": "ok"}
        assert (await client.post("/run", content=b"audio")).status_code == 401
        assert (await client.post("/run", content=b"audio", headers={"X-API-Key": PHONE})).content == b"well"
    token = service.requests[0].headers["authorization"].removeprefix("Bearer ")
    assert jwt.decode(token, _google_s_key(vm), ["RS256"], audience=service.url)["iss"] == "https://accounts.google.com"

    vm.cloud.fault(on="metadata.get", times=None, reply={"status": 503})
    vm.looks_again()
    told = vm.console.encode() + _every_command_line()
    assert not [name for name, text in SECRETS.items() for line in text.splitlines()[1:-1] if line.encode() in told]
    vm.stop()
    until(lambda: vm.states()[-1] == "TERMINATED", "the VM is off", lambda: vm.console)


def _google_s_key(vm: Vm) -> jwt.PyJWK:
    return jwt.PyJWK(httpx.get(f"{vm.cloud.url}/oauth2/v3/certs").json()["keys"][0])


def _every_command_line() -> bytes:
    return b"".join(_command_line(process) for process in Path("/proc").glob("[0-9]*"))


def _command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""
