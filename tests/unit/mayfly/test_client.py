"""What a client believes of what it is told."""

import asyncio
import json
from pathlib import Path

import httpx
import pytest

from mayfly.answers import NotNow, RunLost, checked, understood
from mayfly.client import Client, _parts
from orchestrator.errors import AgentFault, BadUsage, Busy, Exit, MayflyError
from tests.contract.wires import Asked, http, serving
from vm_agent.protocol import RunList


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd", "", "a\\..\\b", "a\0b"])
def test_a_service_cannot_name_a_file_outside_the_folder(path: str) -> None:
    with pytest.raises(BadUsage, match="no place below"):
        _parts(path)


def test_a_file_s_folders_are_kept() -> None:
    assert Path("out").joinpath(*_parts("a/b.txt")) == Path("out/a/b.txt")


@pytest.mark.parametrize(
    "url",
    ["gateway", "ftp://gateway", "https://", "https://user:key@gateway", "http://gateway.example", "http://10.0.0.2"],
)
def test_a_key_goes_by_https_or_nowhere(url: str) -> None:
    with pytest.raises(BadUsage):
        Client(url, "key")


@pytest.mark.parametrize(
    "url", ["https://gateway.example", "http://127.0.0.1:8000", "http://localhost", "http://[::1]:8"]
)
def test_https_and_this_machine_will_do(url: str) -> None:
    with Client(url, "key"):
        pass


async def test_what_is_said_to_this_machine_goes_by_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Asked] = []

    async def answer(one: Asked) -> bytes:
        asked.append(one)
        return http(200, {"runs": []})

    async with serving(answer) as url:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        with Client(url, "key", patience_seconds=0) as client:
            assert await asyncio.to_thread(client.known, "monday") is None
    assert [one.path for one in asked] == ["/runs"]


@pytest.mark.parametrize(
    ("status", "code", "error", "exit_code"),
    [
        (401, "unauthorized", BadUsage, Exit.USAGE),
        (403, "", BadUsage, Exit.USAGE),
        (413, "too-large", BadUsage, Exit.USAGE),
        (404, "unknown-run", RunLost, Exit.INTERRUPTED),
        (409, "busy", Busy, Exit.BUSY),
        (500, "internal", AgentFault, Exit.AGENT),
    ],
)
def test_a_refusal_says_what_to_do(status: int, code: str, error: type[MayflyError], exit_code: Exit) -> None:
    with pytest.raises(error) as raised:
        checked(lambda: _answer(status, code))
    assert raised.value.exit == exit_code
    assert "because" in str(raised.value)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (502, "no-identity"),
        (503, "not-ready"),
        (504, "upstream-silent"),
        (408, "body-stalled"),
        (409, "bad-offset"),
        (409, "part-on-its-way"),
    ],
)
def test_some_answers_mean_later(status: int, code: str) -> None:
    with pytest.raises(NotNow, match="because"):
        checked(lambda: _answer(status, code))


def test_what_is_no_service_of_ours_is_told() -> None:
    answer = httpx.Response(200, text="<html>Welcome", request=httpx.Request("GET", "https://else.example/runs"))
    with pytest.raises(AgentFault, match=r"https://else\.example/runs is no Mayfly service"):
        understood(RunList, answer)


def _answer(status: int, code: str) -> httpx.Response:
    body = {"title": "No", "status": status, "detail": "because", "code": code}
    return httpx.Response(status, content=json.dumps(body), request=httpx.Request("GET", "https://x"))
