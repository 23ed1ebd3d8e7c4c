"""The gateway's headers, both ways, and what it refuses on the wire before a request is one."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest

from tests.contract.gateway_at_work import (
    KEYS,
    PHONE,
    Asked,
    Gateway,
    Service,
    environment,
)

HEAD = f"Host: gate.example\r\nX-API-Key: {PHONE}\r\n"


async def test_a_caller_s_header_goes_on_unless_it_is_ours_to_say(gateway: Gateway, service: Service) -> None:
    ours = {
        "Authorization": "Bearer mine", "X-Serverless-Authorization": "Bearer mine", "Metadata-Flavor": "Google",
        "Forwarded": "for=6.6.6.6", "X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "gopher", "X-Real-IP": "6.6.6.6",
        "X-Forwarded-Prefix": "/evil", "X-Goog-Authenticated-User-Email": "root@demo", "X_API_KEY": "underscored",
    }  # fmt: skip
    hops = {
        "Connection": "keep-alive, X-Nominated, Authorization, Content-Length", "X-Nominated": "hop", "Keep-Alive": "1",
        "Proxy-Connection": "keep-alive", "Proxy-Authorization": "Basic eA==", "TE": "trailers", "Trailer": "X-Sum",
        "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAAP__",
    }  # fmt: skip
    kept = {"Content-Type": "audio/mpeg", "Idempotency-Key": "7", "Via": "1.1 before", "Accept-Encoding": "br"}
    await gateway.client.post("/", content=b"body", headers={**ours, **hops, **kept, "Host": "gate.example"})
    seen = service.requests[0].headers
    token = seen.pop("authorization")
    assert token.startswith("Bearer ey")
    assert {name: seen.pop(name, None) for name in ("accept", "user-agent")}  # the client's own
    assert seen == {
        "host": service.url.removeprefix("http://"),
        "content-length": "4",
        "content-type": "audio/mpeg",
        "idempotency-key": "7",
        "accept-encoding": "br",
        "via": "1.1 before, 1.1 mayfly-gateway",
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-proto": "http",
        "x-forwarded-host": "gate.example",
    }


async def test_the_answer_s_headers_pass_but_for_those_of_the_connection(gateway: Gateway, service: Service) -> None:
    asking = asyncio.create_task(gateway.client.get("/played"))
    async with service.play() as asked:
        said = {
            "Connection": "X-Nominated", "X-Nominated": "hop", "Keep-Alive": "timeout=5", "Alt-Svc": 'h3=":443"',
            "Proxy-Authenticate": "Basic", "Set-Cookie": "a=b", "Content-Encoding": "x-ours", "ETag": '"7"',
        }  # fmt: skip
        await asked.answer(body=b"raw", headers=said)
        answer = await asking
    told = dict(answer.headers)
    assert told.pop("date")
    assert answer.headers.get_list("date") == [answer.headers["date"]]
    told.pop("server", None)  # the service's
    assert told == {"set-cookie": "a=b", "content-encoding": "x-ours", "etag": '"7"', "content-length": "3"}
    assert "cookie" not in (await _again(gateway, service))


async def _again(gateway: Gateway, service: Service) -> dict[str, str]:
    gateway.client.cookies.clear()
    await gateway.client.get("/")
    return service.requests[-1].headers


async def test_a_redirect_is_the_caller_s_to_follow(gateway: Gateway, service: Service) -> None:
    for place, told in ((f"{service.url}/there?a=b", "/there?a=b"), ("https://else.example/", "https://else.example/")):
        asking = asyncio.create_task(gateway.client.get("/played"))
        async with service.play() as asked:
            await asked.answer(302, headers={"Location": place})
            answer = await asking
        assert (answer.status_code, answer.headers["location"]) == (302, told)
    assert len(service.requests) == 2


@pytest.mark.parametrize("target", ["/a/../b//c/%2e%2E/%00?x=%20&y=//169.254.169.254/", "//169.254.169.254/", "/%"])
async def test_the_target_goes_on_byte_for_byte_to_the_one_service(
    gateway: Gateway, service: Service, target: str
) -> None:
    answer = await gateway.raw(f"DELETE {target} HTTP/1.1\r\n{HEAD}Connection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert [(asked.scope["method"], asked.target) for asked in service.requests] == [("DELETE", target)]


CHUNKED = "Transfer-Encoding: chunked\r\n"
GET, POST = f"GET / HTTP/1.1\r\n{HEAD}", f"POST / HTTP/1.1\r\n{HEAD}"
SMUGGLED = f"\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n{HEAD}\r\n"
PROBES = {
    "CL.TE": f"{POST}Content-Length: 6\r\n{CHUNKED}{SMUGGLED}",
    "TE.CL": f"{POST}{CHUNKED}Content-Length: 4\r\n{SMUGGLED}",
    "TE.TE": f"{POST}{CHUNKED}{CHUNKED}{SMUGGLED}",
    "TE in disguise": f"{POST}Transfer-Encoding: xchunked\r\n{SMUGGLED}",
    "TE with a list": f"{POST}Transfer-Encoding: gzip, chunked\r\n{SMUGGLED}",
    "TE before a space": f"{POST}Transfer-Encoding : chunked\r\n{SMUGGLED}",
    "TE twice in one": f"{POST}Transfer-Encoding: chunked, chunked\r\n{SMUGGLED}",
    "TE after a tab and a VT": f"{POST}Transfer-Encoding: \x0bchunked\r\n{SMUGGLED}",
    "TE in quotes": f'{POST}Transfer-Encoding: "chunked"\r\n{SMUGGLED}',
    "TE identity": f"{POST}Transfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello",
    "an empty TE": f"{POST}Transfer-Encoding:\r\nContent-Length: 5\r\n\r\nhello",
    "TE in HTTP/1.0": f"POST / HTTP/1.0\r\n{HEAD}{CHUNKED}{SMUGGLED}",
    "folded TE": f"{POST}Transfer-Encoding:\r\n chunked\r\n{SMUGGLED}",
    "two lengths": f"{POST}Content-Length: 0\r\nContent-Length: 5\r\n\r\nhello",
    "one length twice": f"{POST}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "a list of lengths": f"{POST}Content-Length: 5, 5\r\n\r\nhello",
    "an empty length": f"{POST}Content-Length:\r\n\r\nhello",
    "a hexadecimal length": f"{POST}Content-Length: 0x5\r\n\r\nhello",
    "a negative length": f"{POST}Content-Length: -5\r\n\r\nhello",
    "a length without end": f"{POST}Content-Length: {'9' * 5000}\r\n\r\nhello",
    "a length with a space": f"{POST}Content-Length : 5\r\n\r\nhello",
    "a signed length": f"{POST}Content-Length: +5\r\n\r\nhello",
    "a folded host": f"GET / HTTP/1.1\r\nHost: x\r\n\ty\r\nX-API-Key: {PHONE}\r\n\r\n",
    "folded at once": f"GET / HTTP/1.1\r\n {HEAD}\r\n",
    "two hosts": f"{GET}Host: other\r\n\r\n",
    "no host": f"GET / HTTP/1.1\r\nX-API-Key: {PHONE}\r\n\r\n",
    "two keys": f"{GET}X-API-Key: wrong\r\n\r\n",
    "bare LF": f"{GET}X: y\n\r\n",
    "only LF": f"GET / HTTP/1.1\nHost: x\nX-API-Key: {PHONE}\n\n",
    "bare LF before the end": f"{GET}X: y\n\nGET /smuggled HTTP/1.1\r\n{HEAD}\r\n",
    "bare CR": f"{GET}X: y\rTransfer-Encoding: chunked\r\n\r\n",
    "NUL": f"{GET}X: \0y\r\n\r\n",
    "NUL in a name": f"{GET}X\0: y\r\n\r\n",
    "no name": f"{GET}: y\r\n\r\n",
    "no colon": f"{GET}Transfer-Encoding chunked\r\n\r\n",
    "a version to come": f"GET / HTTP/2.0\r\n{HEAD}Connection: close\r\n\r\n",
    "a version gone by": f"GET / HTTP/0.9\r\n{HEAD}Connection: close\r\n\r\n",
    "no version": f"GET /\r\n{HEAD}\r\n",
    "two spaces": f"GET  / HTTP/1.1\r\n{HEAD}\r\n",
    "a tab for a space": f"GET\t/ HTTP/1.1\r\n{HEAD}\r\n",
    "a space in the target": f"GET /a b HTTP/1.1\r\n{HEAD}\r\n",
    "HTTP/2's preface": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "bad chunk size": f"{POST}{CHUNKED}\r\n0x5\r\nhello\r\n0\r\n\r\n",
    "chunk without end": f"{POST}{CHUNKED}\r\n3\r\nhello\r\n0\r\n\r\n",
    "chunk size with LF": f"{POST}{CHUNKED}\r\n5\nhello\r\n0\r\n\r\n",
    "chunk size with a sign": f"{POST}{CHUNKED}\r\n+5\r\nhello\r\n0\r\n\r\n",
    "chunk size without end": f"{POST}{CHUNKED}\r\n{'f' * 30}\r\nhello\r\n0\r\n\r\n",
    "chunk size with CR": f"{POST}{CHUNKED}\r\n5\rx\r\nhello\r\n0\r\n\r\n",
    "chunk extension with LF": f"{POST}{CHUNKED}\r\n5;a\nb\r\nhello\r\n0\r\n\r\n",
    "trailer with LF": f"{POST}{CHUNKED}\r\n5\r\nhello\r\n0\r\nX: y\n\r\n\r\n",
    "folded trailer": f"{POST}{CHUNKED}\r\n5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n",
    "absolute target": f"GET http://169.254.169.254/ HTTP/1.1\r\n{HEAD}Connection: close\r\n\r\n",
    "another authority": f"GET 169.254.169.254:80 HTTP/1.1\r\n{HEAD}Connection: close\r\n\r\n",
    "asterisk": f"OPTIONS * HTTP/1.1\r\n{HEAD}Connection: close\r\n\r\n",
    "fragment": f"GET /#a HTTP/1.1\r\n{HEAD}Connection: close\r\n\r\n",
    "endless headers": GET + "X: y\r\n" * 10_000 + "\r\n",
    "endless target": f"GET /{'y' * 1_000_000} HTTP/1.1\r\n{HEAD}\r\n",
    "endless head": f"{GET}X: {'y' * 1_000_000}\r\n\r\n",
}
BODIES = {
    probe for probe in PROBES if probe.startswith(("bad chunk", "chunk", "trailer", "folded trailer"))
}  # it begins


async def test_a_body_that_is_no_http_is_refused_once_though_its_sender_would_have_waited_to_be_asked_for_it(
    gateway: Gateway,
) -> None:
    """The refusal comes from the connection, and then the app asks for the body: no 100 Continue after that."""
    asking = f"POST /echo HTTP/1.1\r\n{HEAD}Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(asking.encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
    async with asyncio.timeout(30):  # we stay on the line, and read on
        while not any('"POST /echo"' in line for line in gateway.lines):
            await asyncio.sleep(0.01)
    writer.close()
    assert b"HTTP/1.1 " not in await reader.read()
    assert (await gateway.client.get("/")).status_code == 200
    assert "Traceback" not in "".join(gateway.lines)


async def test_a_request_that_can_be_read_in_two_ways_is_refused(gateway: Gateway, service: Service) -> None:
    for probe, request in PROBES.items():
        answer = await gateway.raw(request.encode())
        assert answer.count(b"HTTP/1.1 ") <= 1, f"{probe}: one request, or none: never two"
        if probe in BODIES:
            assert b" 200 " not in answer, probe
        else:
            head, _, body = answer.partition(b"\r\n\r\n")
            status, code = ("431", "too-large") if probe.startswith("endless") else ("400", "bad-request")
            assert head.startswith(f"HTTP/1.1 {status} ".encode()), probe
            assert b"application/problem+json" in head, probe
            assert json.loads(body)["code"] == code, probe
    assert [asked.target for asked in service.requests] == ["/"] * len(service.requests)
    assert len(service.requests) <= len(BODIES)
    assert (await gateway.client.get("/")).status_code == 200


async def test_what_a_sender_of_chunks_says_beside_them_goes_no_further(gateway: Gateway, service: Service) -> None:
    body = '5;name="value"\r\nhello\r\n0\r\nX-Sum: 1\r\nX-Goog-Trailer: 2\r\n\r\n'
    asking = asyncio.create_task(
        gateway.raw(f"{POST[:5]}/played{POST[6:]}{CHUNKED}Connection: close\r\n\r\n{body}".encode())
    )
    async with service.play() as asked:
        pieces = [piece async for piece in _whole(asked)]
        await asked.answer(body=b"well")
        assert (await asking).endswith(b"well")
    assert b"".join(pieces) == b"hello"
    assert not any(name.startswith("x-sum") or "goog" in name for name in asked.headers)


async def _whole(asked: Asked) -> AsyncIterator[bytes]:
    while piece := await asked.piece():
        yield piece


@pytest.mark.parametrize("method", ["TRACE", "CONNECT"])
async def test_trace_would_show_our_token_and_connect_open_a_tunnel_so_they_are_refused(
    gateway: Gateway, service: Service, method: str
) -> None:
    answer = await gateway.client.request(method, "/")
    assert (answer.status_code, answer.json()["code"]) == (405, "method-refused")
    assert (await gateway.client.request(method, "/gateway-health")).status_code == 405
    assert service.requests == []


# ---- set up wrongly -----------------------------------------------------------------------------------------

WRONG = {
    "no upstream": ({"MAYFLY_GATEWAY_UPSTREAM": ""}, "not https://NAME"),
    "a path": ({"MAYFLY_GATEWAY_UPSTREAM": "https://x.run.app/run"}, "not https://NAME"),
    "a password": ({"MAYFLY_GATEWAY_UPSTREAM": "https://a:b@x.run.app"}, "not https://NAME"),
    "plain http": ({"MAYFLY_GATEWAY_UPSTREAM": "http://x.run.app"}, "https only"),
    "the metadata server": ({"MAYFLY_GATEWAY_UPSTREAM": "https://169.254.169.254"}, "nothing to publish"),
    "its name": ({"MAYFLY_GATEWAY_UPSTREAM": "https://metadata.google.internal"}, "nothing to publish"),
    "no keys": ({"MAYFLY_GATEWAY_KEYS": "# none\n"}, "no key at all"),
    "a short key": ({"MAYFLY_GATEWAY_KEYS": "laptop=secret"}, "fewer than 16 characters"),
    "a bad line": ({"MAYFLY_GATEWAY_KEYS": f"{PHONE}\n"}, "line 1 is not NAME=KEY"),
    "no certificate": ({}, "keys would be readable on the way"),
    "a bad certificate": ({"MAYFLY_GATEWAY_CERTIFICATE": "-----BEGIN NOTHING-----"}, "and its key cannot be used"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_setting_is_told_and_no_key_with_it(what: str) -> None:
    settings, said = WRONG[what]
    command = [sys.executable, "-m", "vm_agent", "gateway", "--host", "0.0.0.0", "--port", "0"]
    setup = {**environment("https://x.run.app", "127.0.0.1:9"), **settings}
    done = subprocess.run(command, env=setup, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "secret" not in done.stderr
    assert not any(line.partition("=")[2] in done.stderr for line in KEYS.splitlines() if "=" in line)
