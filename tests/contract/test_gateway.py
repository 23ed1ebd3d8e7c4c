"""The gateway over real sockets: keys, tokens, streaming, hanging up, errors, many at once, memory."""

import asyncio
import hashlib
from collections.abc import AsyncIterator

import httpx
import jwt
import pytest

from tests.contract.gateway_at_work import (
    KEYS,
    LAPTOP_NEW,
    PHONE,
    Gateway,
    MetadataServer,
    Service,
    check_problem,
    gateway_process,
)

PIECE = bytes(range(256)) * 1024
PIECES = 800  # 200 MiB
GROWTH_BYTES_MAX = 20 << 20


# ---- keys ---------------------------------------------------------------------------------------------------


async def test_every_key_opens_and_the_log_knows_its_name_never_the_key(gateway: Gateway) -> None:
    for key, name in ((LAPTOP_NEW, "laptop"), (PHONE, "phone")):
        answer = await gateway.client.get(f"/of-{name}?secret=parameter", headers={"X-API-Key": key})
        assert (answer.status_code, answer.content) == (200, b"well")
        assert f"key={name} client=127.0.0.1" in await gateway.logged(f'"GET /of-{name}" status=200')
    told = "".join(gateway.lines)
    assert "secret=parameter" not in told
    assert not any(line.partition("=")[2] in told for line in KEYS.splitlines() if "=" in line)


@pytest.mark.parametrize("key", [None, "wrong", "laptop-0123456789abcdeg", "\xe9"])
async def test_without_a_right_key_nothing_reaches_the_service(
    gateway: Gateway, service: Service, metadata: MetadataServer, key: str | None
) -> None:
    gateway.client.headers.pop("X-API-Key")
    headers = {} if key is None else {"X-API-Key": key.encode("latin-1")}
    answer = await gateway.client.post("/run", headers=headers, content=b"body")
    check_problem(answer, 401, "unauthorized")
    assert "WWW-Authenticate" in answer.headers
    assert (service.requests, metadata.asked) == ([], [])
    await gateway.logged("key=- client=127.0.0.1", "unauthorized")


# ---- the token ----------------------------------------------------------------------------------------------


async def test_the_service_gets_an_id_token_signed_for_it(
    gateway: Gateway, service: Service, metadata: MetadataServer
) -> None:
    await gateway.client.get("/")
    kind, token = service.requests[0].headers["authorization"].split()
    key = jwt.PyJWK(metadata.signer.jwks["keys"][0])
    assert (kind, jwt.decode(token, key, ["RS256"], audience=service.url)["email"]) == ("Bearer", "gateway@demo")


async def test_fifty_callers_at_once_cause_one_refresh(
    gateway: Gateway, service: Service, metadata: MetadataServer
) -> None:
    metadata.gate.clear()
    callers = [asyncio.create_task(gateway.client.get(f"/{number}")) for number in range(50)]
    while not metadata.asked:
        await asyncio.sleep(0.01)
    metadata.gate.set()
    assert {answer.status_code for answer in await asyncio.gather(*callers)} == {200}
    assert metadata.asked == [service.url]
    assert len({asked.headers["authorization"] for asked in service.requests}) == 1


async def test_without_a_token_the_answer_is_502_and_health_says_so(
    gateway: Gateway, service: Service, metadata: MetadataServer
) -> None:
    metadata.refuse = True
    check_problem(await gateway.client.get("/"), 502, "no-identity")
    health = await gateway.client.get("/gateway-health")
    assert (health.status_code, health.json()) == (503, {"status": "failed"}), "anybody may ask: no more than that"
    assert service.requests == []


async def test_health_needs_no_key_and_is_the_gateway_s_own(gateway: Gateway, service: Service) -> None:
    gateway.client.headers.pop("X-API-Key")
    answer = await gateway.client.get("/gateway-health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert service.requests == []


# ---- streaming ----------------------------------------------------------------------------------------------


async def test_pieces_pass_at_once_in_both_directions(gateway: Gateway, service: Service) -> None:
    """Each piece is sent only after the one before it was seen at the other end: nothing waits for more."""
    sending: asyncio.Queue[bytes] = asyncio.Queue()

    async def body() -> AsyncIterator[bytes]:
        while piece := await sending.get():
            yield piece

    request = gateway.client.build_request("POST", "/played", content=body())
    answering = asyncio.create_task(gateway.client.send(request, stream=True))
    sending.put_nowait(b"up 0")
    async with service.play() as asked:
        for number in range(3):
            assert await asked.piece() == f"up {number}".encode()
            sending.put_nowait(f"up {number + 1}".encode() if number < 2 else b"")
        assert await asked.piece() == b""
        await asked.begin(headers={"content-type": "text/event-stream"})
        answer = await answering
        assert answer.headers["content-type"] == "text/event-stream"
        pieces = answer.aiter_raw()
        for number in range(3):
            await asked.say(f"data: {number}\n\n".encode())
            assert await anext(pieces) == f"data: {number}\n\n".encode()
        await asked.say(b"", more=False)
        assert [piece async for piece in pieces] == []
    await gateway.logged("status=200 in=12 out=27", "complete")


@pytest.mark.parametrize("moment", ["before the answer", "in the answer", "in the body"])
async def test_a_caller_who_hangs_up_cancels_the_request_at_the_service(
    gateway: Gateway, service: Service, moment: str
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    length = 5 if moment == "in the body" else 4
    head = f"POST /played HTTP/1.1\r\nHost: x\r\nX-API-Key: {PHONE}\r\nContent-Length: {length}\r\n\r\nbody"
    writer.write(head.encode())
    async with service.play() as asked:
        assert await asked.piece() == b"body"
        if moment == "in the answer":
            await asked.begin()
            await asked.say(b"one piece")
            await reader.readuntil(b"one piece")
        writer.close()
        async with asyncio.timeout(60):
            await asked.hung_up()
    await gateway.logged("key=phone", '"POST /played"', "gone")


async def test_two_hundred_streams_at_once(gateway: Gateway, service: Service) -> None:
    """All are seen open before the first goes on."""
    requests = [gateway.client.build_request("GET", f"/played/{number}") for number in range(200)]
    asking = [asyncio.create_task(gateway.client.send(request, stream=True)) for request in requests]
    async with asyncio.timeout(300):
        open_ones = [await service.played.get() for _ in requests]
        for asked, _ in open_ones:
            await asked.begin()
            await asked.say(asked.target.encode())
        answers = await asyncio.gather(*asking)
        for asked, over in open_ones:
            await asked.say(b" over", more=False)
            over.set()
        bodies = [(await answer.aread()).decode() for answer in answers]
    assert bodies == [f"/played/{number} over" for number in range(200)]


async def test_memory_does_not_grow_with_the_bodies(gateway: Gateway, service: Service) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(PIECES):
            yield PIECE

    await gateway.client.post("/echo", content=PIECE * 4)  # warm
    before, most, back, size = gateway.rss, 0, hashlib.sha256(), 0
    up = await gateway.client.post("/take", content=body())
    most = gateway.rss
    expected = hashlib.sha256(PIECE * PIECES)
    assert up.content == expected.hexdigest().encode()
    most = gateway.rss
    async with gateway.client.stream("GET", f"/give/{PIECES * len(PIECE)}") as down:
        async for piece in down.aiter_raw():
            back.update(piece)
            size += len(piece)
            if not size % (1 << 10):
                most = max(most, gateway.rss)
    assert (size, back.digest()) == (PIECES * len(PIECE), expected.digest())
    print(f"{size >> 20} MiB each way: {(max(most, gateway.rss) - before) / (1 << 20):.1f} MiB more")  # noqa: T201
    assert max(most, gateway.rss) - before < GROWTH_BYTES_MAX


# ---- errors -------------------------------------------------------------------------------------------------


async def test_an_upload_over_the_limit_is_413_announced_or_not(metadata: MetadataServer, service: Service) -> None:
    async def chunked() -> AsyncIterator[bytes]:
        yield b"x" * 600
        yield b"x" * 600

    async with gateway_process(service.url, metadata.host, MAYFLY_GATEWAY_BODY_BYTES_MAX="1000") as gateway:
        check_problem(await gateway.client.post("/", content=b"x" * 1001), 413, "too-large")
        assert service.requests == []
        check_problem(await gateway.client.post("/", content=chunked()), 413, "too-large")
        assert (await gateway.client.post("/", content=b"x" * 1000)).status_code == 200


async def test_a_service_that_is_not_there_is_502(metadata: MetadataServer) -> None:
    async with Service().serving() as gone:
        pass
    async with gateway_process(gone.url, metadata.host) as gateway:
        check_problem(await gateway.client.get("/"), 502, "upstream-failed")


async def test_a_service_that_breaks_off_is_502_and_asked_once(gateway: Gateway, service: Service) -> None:
    asking = asyncio.create_task(gateway.client.post("/played", content=b"buy"))
    async with service.play() as asked:
        assert await asked.piece() == b"buy"
        asked.receive.__self__.transport.abort()  # type: ignore[attr-defined]
        check_problem(await asking, 502, "upstream-failed")
    assert len(service.requests) == 1


async def test_an_answer_that_breaks_off_is_seen_to_be_cut(gateway: Gateway, service: Service) -> None:
    request = gateway.client.build_request("GET", "/played")
    asking = asyncio.create_task(gateway.client.send(request, stream=True))
    async with service.play() as asked:
        await asked.begin()
        await asked.say(b"half")
        answer = await asking
        pieces = answer.aiter_raw()
        assert await anext(pieces) == b"half"
        asked.receive.__self__.transport.abort()  # type: ignore[attr-defined]
        with pytest.raises(httpx.RemoteProtocolError):
            await anext(pieces)
    await gateway.logged("status=200", "upstream-failed")


async def test_a_service_that_says_nothing_is_504(metadata: MetadataServer, service: Service) -> None:
    async with gateway_process(service.url, metadata.host, MAYFLY_GATEWAY_ANSWER_SECONDS="1") as gateway:
        asking = asyncio.create_task(gateway.client.get("/played"))
        async with service.play() as asked:
            check_problem(await asking, 504, "upstream-silent")
            await asked.hung_up()


@pytest.mark.parametrize("status", [204, 304, 404, 429, 500, 503])
async def test_the_service_s_own_answers_pass_as_they_are(gateway: Gateway, service: Service, status: int) -> None:
    asking = asyncio.create_task(gateway.client.patch("/played"))
    async with service.play() as asked:
        assert asked.scope["method"] == "PATCH"
        await asked.begin(status, {"x-note": "as it is"})
        await asked.say(b"", more=False)
        answer = await asking
    assert (answer.status_code, answer.headers["x-note"]) == (status, "as it is")
