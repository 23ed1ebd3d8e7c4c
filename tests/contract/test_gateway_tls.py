"""The gateway's HTTPS: with its own certificate, which a caller pins, and with callers that do not get through."""

import asyncio
import socket
import ssl
from pathlib import Path

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from mayfly.client import Client
from orchestrator.errors import AgentSilent, BadUsage
from tests.contract.certificates import certificate_and_key, written
from tests.contract.gateway_at_work import PHONE, MetadataServer, Service, gateway_process
from vm_agent import policy, serving
from vm_agent.gateway.command import _config
from vm_agent.protocol import PUBLICATION, Publication


async def refused(url: str, certificate: Path | None) -> str:
    """Why a caller that trusts this certificate does not get through."""
    with Client(url, PHONE, patience_seconds=0, certificate=certificate) as client, pytest.raises(AgentSilent) as no:
        await asyncio.to_thread(client.known, "monday")
    return str(no.value)


async def asks(url: str, certificate: Path) -> None:
    """Somebody who trusts this certificate calls the service, which is no agent."""
    with Client(url, PHONE, patience_seconds=0, certificate=certificate) as client:
        assert (await asyncio.to_thread(client._http.get, "/")).content == b"well"


async def test_a_gateway_s_own_certificate_is_published_and_pinned_and_outlives_it(
    metadata: MetadataServer, service: Service, tmp_path: Path
) -> None:
    own = {"MAYFLY_GATEWAY_CERTIFICATE": "own", "MAYFLY_ROOT": str(tmp_path / "disk")}
    for _ in range(2):
        async with gateway_process(service.url, metadata.host, **own) as gateway:
            name, value = metadata.guest_attributes[-1]
            publication = Publication.model_validate_json(value)
            pinned = written(tmp_path, publication.certificate)
            assert (name, gateway.url[:8]) == (PUBLICATION, "https://")
            await asks(gateway.url, pinned)
            assert "certificate verify failed" in await refused(gateway.url, None)
            assert "certificate verify failed" in await refused(
                gateway.url, written(tmp_path, certificate_and_key()[0])
            )
    assert len({Publication.model_validate_json(value).certificate for _, value in metadata.guest_attributes}) == 1
    assert len(metadata.guest_attributes) == 2, "written anew at each start: what was written may go with a boot"
    [key] = (tmp_path / "disk").rglob("tls.pem")
    assert key.stat().st_mode & 0o077 == 0


async def test_a_ca_is_trusted_for_the_names_that_it_gives(
    metadata: MetadataServer, service: Service, tmp_path: Path
) -> None:
    for host, works in (("localhost", True), ("else.example", False)):
        certificate, key = certificate_and_key(host, ca=True)
        settings = {"MAYFLY_GATEWAY_CERTIFICATE": certificate, "MAYFLY_GATEWAY_CERTIFICATE_KEY": key}
        async with gateway_process(service.url, metadata.host, **settings) as gateway:
            trusted = written(tmp_path, certificate)
            if works:
                await asks(gateway.url, trusted)
            else:
                assert "not valid for '127.0.0.1'" in await refused(gateway.url, trusted)


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02\x00\x01\x00"], ids=["nothing", "half a hello"])
async def test_a_handshake_that_is_never_finished_is_cut_off_and_others_are_served_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(policy, "REQUEST_HEAD_SECONDS", 0.5)
    certificate, key = certificate_and_key()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(written(tmp_path, certificate, key))
    listening = await serving.listen("127.0.0.1", 0)
    address = listening.getsockname()
    server = serving.TimelyServer(_config(says_well, context))  # type: ignore[arg-type] # a relay is an app, too
    running = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(said)
        trusted = ssl.create_default_context(cadata=certificate)
        async with httpx.AsyncClient(base_url=f"https://127.0.0.1:{address[1]}", verify=trusted, timeout=60) as client:
            assert (await client.get("/")).content == b"well"
            async with asyncio.timeout(30):  # uvicorn alone would leave it a minute
                assert await closed(reader)
            assert (await client.get("/")).content == b"well"
        writer.close()
    finally:
        server.should_exit = True
        await running


async def test_a_caller_who_keeps_a_connection_and_sleeps_holds_up_nobody_s_leaving(tmp_path: Path) -> None:
    """TLS has a goodbye of its own, which who sleeps does not answer: asyncio would wait half a minute for it."""
    certificate, key = certificate_and_key()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(written(tmp_path, certificate, key))
    listening = await serving.listen("127.0.0.1", 0)
    config = _config(says_well, context)  # type: ignore[arg-type] # a relay is an app, too
    config.timeout_graceful_shutdown = None
    server = serving.TimelyServer(config)
    running = asyncio.create_task(server.serve(sockets=[listening]))
    sleeper = await asyncio.to_thread(answered, listening.getsockname(), certificate)
    server.should_exit = True
    async with asyncio.timeout(20):
        await running
    sleeper.close()


def answered(address: tuple[str, int], certificate: str) -> ssl.SSLSocket:
    """A connection that has had its answer."""
    trusted = ssl.create_default_context(cadata=certificate)
    caller = trusted.wrap_socket(socket.create_connection(address, timeout=30), server_hostname="localhost")
    caller.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    said = b""
    while not said.endswith(b"0\r\n\r\n"):
        said += caller.recv(1000)
    assert b"well" in said
    return caller


async def closed(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read() == b""
    except ConnectionResetError:
        return True


async def says_well(_: Scope, __: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"well"})


def test_what_is_no_certificate_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    for file in (tmp_path / "nowhere.pem", written(tmp_path, "-----BEGIN NOTHING-----")):
        with pytest.raises(BadUsage, match=r"\.pem is no certificate that can be trusted"):
            Client("https://127.0.0.1:9", PHONE, certificate=file)
