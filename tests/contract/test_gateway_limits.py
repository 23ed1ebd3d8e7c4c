"""What the gateway bears: guesses, stalled callers, refused uploads, an upstream that answers early, too many at once;
and HTTPS on both sides."""

import asyncio
import ssl
from pathlib import Path

import httpx
import psutil
import pytest

from tests.contract.certificates import certificate_and_key, written
from tests.contract.gateway_at_work import (
    CREDENTIALS,
    PHONE,
    Gateway,
    MetadataServer,
    Service,
    check_problem,
    gateway_process,
)

GUESS = "guess-0123456789abcdef"
UPLOAD = f"POST /played HTTP/1.1\r\nHost: x\r\nX-API-Key: {PHONE}\r\nContent-Length: {1 << 32}\r\n\r\n".encode()
HURRIED = {"MAYFLY_GATEWAY_STALL_SECONDS": "1"}


# ---- guesses ------------------------------------------------------------------------------------------------


async def test_wrong_keys_are_slowed_down_and_told_with_their_address_and_right_ones_pass(gateway: Gateway) -> None:
    answers = []
    while not answers or answers[-1].status_code == 401:
        answers.append(await gateway.client.get("/", headers={"X-API-Key": GUESS}))
    check_problem(answers[0], 401, "unauthorized")
    check_problem(answers[-1], 429, "too-many-guesses")
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert (await gateway.client.get("/right")).status_code == 200
    await gateway.logged('"GET /right" status=200')
    refused = [line for line in gateway.lines if "key=- client=127.0.0.1" in line]
    assert len(refused) == len(answers) - 1, "the log is not theirs to fill"
    assert GUESS not in "".join(gateway.lines)


# ---- uploads that nobody wants ------------------------------------------------------------------------------


async def test_an_upload_that_stalls_is_408_and_cancelled_at_the_service(
    metadata: MetadataServer, service: Service
) -> None:
    async with gateway_process(service.url, metadata.host, **HURRIED) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(UPLOAD + b"the beginning")
        async with service.play() as asked:
            assert await asked.piece() == b"the beginning"
            async with asyncio.timeout(60):
                head = await reader.readuntil(b"\r\n\r\n")
                await asked.hung_up()
                rest = await reader.read()  # the connection ends, too
        writer.close()
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b'"body-stalled"' in rest


@pytest.mark.parametrize("manners", ["closes", "stays"])
async def test_what_the_service_says_in_the_middle_of_an_upload_is_passed_on(
    metadata: MetadataServer, manners: str
) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(1 << 20)
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 8\r\nX-Note: mine\r\n\r\ntoo much")
        await writer.drain()
        if manners == "closes":
            writer.close()
        else:
            await over.wait()

    over = asyncio.Event()
    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    upstream = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, gateway_process(upstream, metadata.host) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        sending = asyncio.create_task(_send_without_end(writer))
        async with asyncio.timeout(60):
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(8)
        sending.cancel()
        writer.transport.abort()
        over.set()
        assert head.startswith(b"HTTP/1.1 413 ")
        assert b"x-note: mine" in head.lower()
        assert body == b"too much"
        await gateway.logged("status=413", "complete")


async def _send_without_end(writer: asyncio.StreamWriter) -> None:
    writer.write(UPLOAD)
    while True:
        writer.write(b"x" * (1 << 16))
        await writer.drain()


@pytest.mark.parametrize("pieces", [b"drop by drop", b""])
async def test_who_sends_a_refused_upload_reads_why_and_holds_the_connection_no_longer(
    metadata: MetadataServer, service: Service, pieces: bytes
) -> None:
    async with gateway_process(service.url, metadata.host, **HURRIED) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(UPLOAD.replace(PHONE.encode(), GUESS.encode()))
        async with asyncio.timeout(60):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 401 ")
            while not reader.at_eof():
                writer.write(pieces)
                try:
                    async with asyncio.timeout(0.1):
                        await reader.read(1 << 16)
                except TimeoutError:
                    continue
                except ConnectionError:
                    break
        writer.close()
    assert service.requests == []


# ---- callers who take nothing, and too many of them ---------------------------------------------------------


async def test_a_caller_who_takes_nothing_of_its_answer_is_let_go(metadata: MetadataServer, service: Service) -> None:
    async with gateway_process(service.url, metadata.host, **HURRIED) as gateway:
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=1)
        writer.write(f"GET /give/{1 << 30} HTTP/1.1\r\nHost: x\r\nX-API-Key: {PHONE}\r\n\r\n".encode())
        await gateway.logged("/give/", "gone")
        ours = writer.get_extra_info("sockname")
        async with asyncio.timeout(60):
            while any(one.raddr == ours for one in psutil.Process(gateway.process.pid).net_connections("tcp")):
                await asyncio.sleep(0.05)
        writer.close()


async def test_one_request_too_many_is_503_and_may_come_again(metadata: MetadataServer, service: Service) -> None:
    async with gateway_process(service.url, metadata.host, MAYFLY_GATEWAY_REQUESTS_MAX="1") as gateway:
        first = asyncio.create_task(gateway.client.get("/played"))
        async with service.play() as asked:
            answer = await gateway.client.get("/")
            check_problem(answer, 503, "overloaded")
            assert answer.headers["Retry-After"] == "1"
            assert (await gateway.client.get("/gateway-health")).status_code == 200
            await asked.answer()
            assert (await first).status_code == 200
        await gateway.logged("/played", "complete")
        assert (await gateway.client.get("/")).status_code == 200


async def test_five_hundred_callers_who_never_finish_their_head_do_not_stop_the_others(gateway: Gateway) -> None:
    slow = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(500)]
    for _, writer in slow:
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    assert (await gateway.client.get("/gateway-health")).status_code == 200
    assert (await gateway.client.get("/")).status_code == 200
    async with asyncio.timeout(60):
        assert [await reader.read() for reader, _ in slow] == [b""] * 500, "each is closed in the end"
    for _, writer in slow:
        writer.close()


# ---- HTTPS --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["two texts", "two files", "one file"])
async def test_the_gateway_speaks_https_with_the_certificate_it_is_given(
    metadata: MetadataServer, service: Service, tmp_path: Path, form: str
) -> None:
    certificate, key = certificate_and_key()
    settings = {"MAYFLY_GATEWAY_CERTIFICATE": certificate, "MAYFLY_GATEWAY_CERTIFICATE_KEY": key}
    if form == "two files":
        settings = {name: str(written(tmp_path, text)) for name, text in settings.items()}
    if form == "one file":
        settings = {"MAYFLY_GATEWAY_CERTIFICATE": str(written(tmp_path, certificate, key))}
    async with gateway_process(service.url, metadata.host, **settings) as gateway:
        assert gateway.url.startswith("https://")
        trusted = ssl.create_default_context(cadata=certificate)
        async with httpx.AsyncClient(base_url=gateway.url, headers=CREDENTIALS, verify=trusted, timeout=60) as client:
            assert (await client.post("/", content=b"x" * 1_000_000)).content == b"well"
        assert key.split("\n")[1] not in "".join(gateway.lines)
    assert service.requests[0].headers["x-forwarded-proto"] == "https"


async def test_the_token_goes_to_no_service_without_a_certificate_of_that_name(
    metadata: MetadataServer, tmp_path: Path
) -> None:
    pem = written(tmp_path, *certificate_and_key())
    async with Service().serving(pem) as service:
        async with gateway_process(service.url, metadata.host) as gateway:
            check_problem(await gateway.client.get("/"), 502, "upstream-failed")
        assert service.requests == []
        async with gateway_process(service.url, metadata.host, SSL_CERT_FILE=str(pem)) as gateway:
            assert (await gateway.client.post("/", content=b"x" * 1_000_000)).content == b"well"
        elsewhere = service.url.replace("localhost", "ip6-localhost")
        async with gateway_process(elsewhere, metadata.host, SSL_CERT_FILE=str(pem)) as gateway:
            check_problem(await gateway.client.get("/"), 502, "upstream-failed")
    assert len(service.requests) == 1
