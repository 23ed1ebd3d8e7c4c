"""What stands around the agent's door: names, headers for browsers, no pages, and nothing for strangers to read."""

from pathlib import Path

import httpx
import pytest

from tests.contract.agent_at_work import KEY, an_agent, at_work, result_of, write_main
from tests.contract.test_agent_callers import connected, serving
from vm_agent.guard import own_names
from vm_agent.identity import NoMetadata
from vm_agent.replies import SECURITY_HEADERS
from vm_agent.settings import from_environment

NAMES = {"gpu-vm", "gpu-vm.us-central1-a.c.demo.internal"}


@pytest.mark.parametrize(
    "host",
    [
        "10.128.0.2", "10.128.0.2:8000", "203.0.113.7:8000", "127.0.0.1:8475", "[::1]:8000", "[2001:db8::1]",
        "localhost", "LOCALHOST:8000", "localhost.", "gpu-vm", "GPU-VM:8000",
        "gpu-vm.us-central1-a.c.demo.internal.:8000",
    ],
)  # fmt: skip
async def test_the_agent_answers_to_its_addresses_and_names(tmp_path: Path, host: str) -> None:
    async with at_work(an_agent(tmp_path, names={*NAMES, "agent"})) as client:
        assert (await client.get("/", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "rebound.example.org",
        "gpu-vm.example.org",
        "10.128.0.2.nip.io",
        "localhost.example.org",
        "1.2.3",
        "",
        "[::1",
        "a b",
    ],
)
async def test_what_was_meant_for_another_host_is_refused_before_its_credentials_are_looked_at(
    tmp_path: Path, host: str
) -> None:
    async with at_work(an_agent(tmp_path, names={*NAMES, "agent"})) as client:
        for method, path in (("GET", "/"), ("POST", "/run"), ("GET", "/nowhere")):
            refused = await client.request(method, path, headers={"Host": host, "X-API-Key": "wrong"})
            assert (refused.status_code, refused.json()["code"]) == (421, "wrong-host"), (method, path)
        assert (await client.get("/runs")).json() == {"runs": []}


async def test_names_of_a_proxy_or_of_ones_own_dns_are_a_setting(tmp_path: Path) -> None:
    hosts = from_environment({"MAYFLY_API_KEY": "k", "MAYFLY_HOSTS": "gpu.example.org, vm"}).hosts
    async with at_work(an_agent(tmp_path, names={*hosts, "agent"})) as client:
        assert (await client.get("/", headers={"Host": "gpu.example.org:443"})).status_code == 200
        assert (await client.get("/", headers={"Host": "other.example.org"})).status_code == 421
    async with at_work(an_agent(tmp_path, names={"*"})) as client:
        assert (await client.get("/", headers={"Host": "any.example.org"})).status_code == 200


async def test_a_machine_knows_its_names_in_googles_dns() -> None:
    class Named(NoMetadata):
        async def read(self, path: str) -> str | None:
            return "gpu-vm.us-central1-a.c.demo.internal" if path == "instance/hostname" else None

    assert await own_names(Named()) >= NAMES
    assert "" not in await own_names(NoMetadata())


async def test_every_answer_tells_browsers_to_keep_run_and_guess_nothing(tmp_path: Path) -> None:
    write_main(tmp_path, "def run(context): (context.artifacts / 'page.html').write_text('<script>')")
    async with at_work(an_agent(tmp_path)) as client:
        run = (await result_of(client))["id"]
        answers = [
            await client.get("/"),
            await client.get("/", headers={"X-API-Key": "wrong"}),
            await client.get("/", headers={"Host": "elsewhere.example.org"}),
            await client.get(f"/runs/{run}"),
            await client.get(f"/runs/{run}/logs", headers={"Accept": "text/event-stream"}),
            await client.get(f"/runs/{run}/artifacts/page.html"),
            await client.get("/nowhere"),
            await client.delete("/run"),
            await client.post("/run", content=b"{"),
        ]
        assert [answer.status_code for answer in answers] == [200, 401, 421, 200, 200, 200, 404, 405, 400]
        for answer in answers:
            assert {name: answer.headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS, answer.url
        assert answers[5].headers["Content-Type"] == "application/octet-stream"


async def test_what_is_not_http_is_answered_with_a_problem_and_the_same_headers(tmp_path: Path) -> None:
    async with serving(an_agent(tmp_path)) as client:
        for nonsense in (
            b"\x16\x03\x01\x02\x00 hello\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        ):
            reader, writer = await connected(client)
            writer.write(nonsense)
            answer = (await reader.read()).decode()
            assert answer.startswith("HTTP/1.1 400"), nonsense
            assert "application/problem+json" in answer
            assert all(f"{name}: {value}".lower() in answer.lower() for name, value in SECURITY_HEADERS.items())
            writer.close()
        assert (await client.get("/")).status_code == 200


async def test_a_head_request_with_a_broken_body_is_refused_without_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(an_agent(tmp_path)) as client:
        reader, writer = await connected(client)
        writer.write(b"HEAD / HTTP/1.1\r\nHost: agent\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n")
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 400")
        assert answer.endswith(b"\r\n\r\n")
    assert "Traceback" not in caplog.text


async def test_no_other_site_may_read_what_the_agent_says(tmp_path: Path) -> None:
    asking = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    async with at_work(an_agent(tmp_path)) as client:
        answers = [
            await client.options("/run", headers={**asking, "X-API-Key": "wrong"}),
            await client.options("/run", headers=asking),
            await client.get("/", headers=asking),
        ]
    assert [answer.status_code for answer in answers] == [401, 405, 200]
    for answer in answers:
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]


async def test_there_are_no_pages_about_the_api(tmp_path: Path) -> None:
    async with at_work(an_agent(tmp_path)) as client:
        for path in ("/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect"):
            assert (await client.get(path)).status_code == 404, path


async def test_strangers_learn_neither_server_nor_version(tmp_path: Path) -> None:
    async with serving(an_agent(tmp_path, version="9.8.7")) as client:
        answer = await httpx.AsyncClient().get(str(client.base_url))
        assert "server" not in answer.headers
        assert "9.8.7" not in answer.text + str(answer.headers)
        assert KEY not in answer.text
