"""The world that the contract tests meet, and the emulator that holds it as its clients see it."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx

from gcp_emulator.emulator import Emulator
from gcp_emulator.seed import AddressSeed, BucketSeed, InstanceSeed, SecretSeed, Seed, TemplateSeed

PROJECT, REGION, ZONE = "demo", "us-central1", "us-central1-a"
VM, OTHER_VM = "gpu-vm", "other-vm"
IP, SPARE_IP, OTHER_IP = "gpu-ip", "spare-ip", "other-ip"
SECRET, DENIED_SECRET, PAYLOAD = "mayfly-agent-key", "not-for-you", "correct horse"
TEMPLATE, BUCKET = "gpu-worker", "mayfly-state"

PROPERTIES: dict[str, Any] = {
    "machineType": "e2-medium",
    "labels": {"team": "audio"},
    "disks": [{"boot": True, "autoDelete": True}],
    "networkInterfaces": [{"network": f"projects/{PROJECT}/global/networks/default"}],
    "metadata": {"items": [{"key": "enable-guest-attributes", "value": "TRUE"}, {"key": "colour", "value": "blue"}]},
    "scheduling": {"onHostMaintenance": "TERMINATE"},
}

WORLD = Seed(
    instances=(
        InstanceSeed(VM, metadata={"enable-guest-attributes": "TRUE", "colour": "blue"}, labels={"mayfly": "managed"}),
        InstanceSeed(OTHER_VM, address=OTHER_IP),
    ),
    addresses=(AddressSeed(IP), AddressSeed(SPARE_IP), AddressSeed(OTHER_IP)),
    secrets=(SecretSeed(SECRET, versions=("old", PAYLOAD)), SecretSeed(DENIED_SECRET, versions=("x",), denied=True)),
    templates=(TemplateSeed(TEMPLATE, PROPERTIES),),
    buckets=(BucketSeed(BUCKET),),
)


class Running:
    """An emulator as its clients see it: a URL, and what it says about itself."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, path: str) -> Any:
        return httpx.get(f"{self.url}/_emulator/{path}").raise_for_status().json()

    def history(self, kind: str) -> list[dict[str, Any]]:
        return [entry for entry in self.ask("history")["entries"] if entry["kind"] == kind]

    def verbs(self) -> list[str]:
        return [entry["verb"] for entry in self.history("request")]

    def fault(self, **rule: Any) -> None:
        httpx.post(f"{self.url}/_emulator/faults", json=rule).raise_for_status()

    def address(self, name: str) -> str:
        url = f"{self.url}/compute/v1/projects/{PROJECT}/regions/{REGION}/addresses/{name}"
        ip: str = httpx.get(url).raise_for_status().json()["address"]
        return ip


@contextmanager
def running(make: Callable[[], Emulator]) -> Iterator[int]:
    """Run an emulator on a thread of its own: most of Google's clients are synchronous. Gives its port."""
    started: Future[tuple[int, Callable[[], None]]] = Future()

    async def run() -> None:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        async with make() as emulator:
            started.set_result((emulator.port, partial(loop.call_soon_threadsafe, ended.set)))
            await ended.wait()

    def run_and_tell() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=run_and_tell)
    thread.start()
    port, end = started.result()
    try:
        yield port
    finally:
        end()
        thread.join()
