"""A run that is to go out by one address: nothing of it begins on a VM that goes out by another."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.contract.agent_at_work import an_agent, at_work, finished, start, write_main
from vm_agent import policy
from vm_agent.agent import Agent
from vm_agent.egress import Echo
from vm_agent.identity import Identity, NoMetadata
from vm_agent.settings import BadSetting, from_environment

OURS, THEIRS = "203.0.113.7", "198.51.100.9"
ADDRESS = "instance/network-interfaces/0/access-configs/0/external-ip"


class Nic(NoMetadata):
    """A metadata server that tells one address after the other, and the last one from then on."""

    def __init__(self, *told: str | OSError | None) -> None:
        self.told = list(told)

    async def read(self, path: str) -> str | None:
        if path != ADDRESS:
            return None
        said = self.told.pop(0) if len(self.told) > 1 else self.told[0]
        if isinstance(said, OSError):
            raise said
        return said


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "EGRESS_SECONDS", 0.5)
    monkeypatch.setattr(policy, "EGRESS_LOOK_SECONDS", 0.01)


def an_agent_that_sees(folder: Path, *told: str | OSError | None, **changes: Any) -> Agent:
    write_main(folder, "def run(): open('ran', 'a').write('once\\n')")
    return an_agent(folder, identity=Identity(Nic(*told), "boot-1"), **changes)


@contextmanager
def a_page(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """An HTTP server on this machine; its URL."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Page)
    serving = threading.Thread(target=server.serve_forever, args=(0.01,))
    serving.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/ip?format=text"
    server.shutdown()
    serving.join()
    server.server_close()


def says(text: str, status: int = 200, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(page: BaseHTTPRequestHandler) -> None:
        page.send_response(status)
        for name, value in headers.items():
            page.send_header(name, value)
        page.end_headers()
        page.wfile.write(text.encode())

    return answer


@pytest.mark.parametrize(
    ("told", "shown"),
    [(THEIRS, THEIRS), (None, "none"), ("", "none"), (OSError("no answer"), "none")],
)
@pytest.mark.parametrize("mode", ["run", "test"])
async def test_a_run_is_refused_with_both_addresses_where_the_vm_has_another_one_or_none(
    tmp_path: Path, told: str | OSError | None, shown: str, mode: str
) -> None:
    async with at_work(an_agent_that_sees(tmp_path, told)) as client:
        refused = await start(client, mode, key="k", egress_ip=OURS)
        assert (refused.status_code, refused.json()["code"]) == (412, "wrong-egress")
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert f"go out by {OURS}, but the metadata server shows {shown}" in refused.json()["detail"]
        assert (await client.get("/runs")).json() == {"runs": []}
    assert not (tmp_path / "app" / "ran").exists()


async def test_an_address_that_shows_late_in_the_metadata_is_waited_for(tmp_path: Path) -> None:
    async with at_work(an_agent_that_sees(tmp_path, None, OSError("busy"), THEIRS, "", OURS)) as client:
        accepted = await start(client, egress_ip=OURS)
        assert accepted.status_code == 202, accepted.text
        assert (await finished(client, accepted.json()["id"]))["state"] == "SUCCEEDED"


async def test_who_asks_for_no_address_gets_none_checked(tmp_path: Path) -> None:
    async with at_work(an_agent_that_sees(tmp_path, THEIRS)) as client:
        assert (await start(client)).status_code == 202


async def test_a_run_that_began_is_shown_to_who_asks_again_whatever_became_of_the_address(tmp_path: Path) -> None:
    agent = an_agent_that_sees(tmp_path, OURS)
    async with at_work(agent) as client:
        first = (await start(client, key="k", egress_ip=OURS)).json()
        await finished(client, first["id"])
        agent.identity = Identity(Nic(None), "boot-1")
        for attempt in (1, 2):  # the second, too: it succeeded, so there is nothing to begin again
            again = await start(client, key="k", egress_ip=OURS, attempt=attempt)
            assert (again.status_code, again.json()["id"]) == (200, first["id"])
        assert (await start(client, key="another", egress_ip=OURS)).status_code == 412
    assert (tmp_path / "app" / "ran").read_text() == "once\n"


async def test_a_caller_who_hangs_up_before_the_address_shows_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "EGRESS_SECONDS", 60)
    agent = an_agent_that_sees(tmp_path, None)
    async with at_work(agent) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await start(client, egress_ip=OURS)
        agent.identity = Identity(Nic(OURS), "boot-1")
        assert (await client.get("/runs")).json() == {"runs": []}


async def test_the_echo_has_its_say_too(tmp_path: Path) -> None:
    with a_page(says(f"{THEIRS}\n")) as url:
        async with at_work(an_agent_that_sees(tmp_path, OURS, echo=Echo(url))) as client:
            refused = await start(client, egress_ip=OURS)
    assert refused.status_code == 412
    assert f"the metadata server shows {OURS}, the echo shows {THEIRS}" in refused.json()["detail"]
    with a_page(says(f" {OURS}\n")) as url:
        async with at_work(an_agent_that_sees(tmp_path, OURS, echo=Echo(url))) as client:
            assert (await start(client, egress_ip=OURS)).status_code == 202


@pytest.mark.parametrize(
    "answer",
    [
        says(OURS, 500),
        says(f"<html>{OURS}</html>"),
        says(OURS * 1000),
        says("", 302, Location="http://169.254.169.254/computeMetadata/v1/instance/id"),
        says(""),
    ],
)
async def test_an_echo_that_does_not_answer_with_one_address_tells_none(
    answer: Callable[[BaseHTTPRequestHandler], None],
) -> None:
    asked = 0

    def counted(page: BaseHTTPRequestHandler) -> None:
        nonlocal asked
        asked += 1
        answer(page)

    with a_page(counted) as url:
        assert await Echo(url).look() is None
    assert asked == 1, "no redirect was followed"
    assert await Echo(url).look() is None, "a page that is not there"


@pytest.mark.parametrize("url", ["ftp://example.org", "/etc/passwd", "file:///etc/passwd", "http://"])
def test_an_echo_that_is_no_page_on_the_web_is_a_wrong_setting(url: str) -> None:
    with pytest.raises(BadSetting, match="MAYFLY_EGRESS_ECHO"):
        from_environment({"MAYFLY_AUTH": "api-key", "MAYFLY_API_KEY": "k", "MAYFLY_EGRESS_ECHO": url})
