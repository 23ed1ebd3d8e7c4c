"""Logs and artifacts: every byte comes through, and none from outside the run's folder."""

import asyncio
import hashlib
import json
import os
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.contract.agent_at_work import an_agent, at_work, finished, result_of, start, write_main
from vm_agent import artifacts, policy

SPEAKS_IN_HALVES = """
    import os, pathlib, time
    def run(context):
        for index, half in enumerate(("é".encode()[:1], "é".encode()[1:], b"\\r50%\\r\\xff end")):
            os.write(1, half)
            while not pathlib.Path(context.params["folder"], str(index)).exists():
                time.sleep(0.01)
"""


async def the_log(client: httpx.AsyncClient, run_id: str) -> bytes:
    """All of it, followed to its end by long polls."""
    log, complete = b"", False
    while not complete:
        reply = await client.get(f"/runs/{run_id}/logs", params={"offset": len(log), "wait": 30})
        log += reply.content
        assert reply.headers["Mayfly-Log-Next"] == str(len(log))
        complete = reply.headers["Mayfly-Log-Complete"] == "true"
    return log


async def test_nothing_is_lost_when_a_job_prints_a_hundred_megabytes(tmp_path: Path) -> None:
    write_main(
        tmp_path,
        """
        import os, sys
        def run():
            for index in range(100):
                sys.stdout.write(f"{index:03}" + "é" * (1 << 19) + "\\n")
            os.write(2, b"the very end")
        """,
    )
    async with at_work(an_agent(tmp_path)) as client:
        run = (await start(client)).json()
        log = await the_log(client, run["id"])
        assert (await finished(client, run["id"]))["log_bytes"] == len(log)
    assert len(log) > 100 << 20
    lines = log.decode().split("\n")
    assert [line[:3] for line in lines] == [*(f"{index:03}" for index in range(100)), "the"]
    assert lines[-1] == "the very end"


async def test_a_follower_is_given_half_a_character_as_soon_as_it_is_there(tmp_path: Path) -> None:
    write_main(tmp_path, SPEAKS_IN_HALVES)
    async with at_work(an_agent(tmp_path)) as client:
        run, read = (await start(client, params={"folder": str(tmp_path)})).json(), b""
        for index in range(3):
            reply = await client.get(f"/runs/{run['id']}/logs", params={"offset": len(read), "wait": 30})
            read += reply.content
            (tmp_path / str(index)).touch()
        assert read + await the_log_from(client, run["id"], len(read)) == "é".encode() + b"\r50%\r\xff end"


async def the_log_from(client: httpx.AsyncClient, run_id: str, offset: int) -> bytes:
    await finished(client, run_id)
    return (await client.get(f"/runs/{run_id}/logs", params={"offset": offset})).content


async def test_events_carry_whole_characters_and_resume_where_they_broke_off(tmp_path: Path) -> None:
    write_main(tmp_path, SPEAKS_IN_HALVES)
    async with at_work(an_agent(tmp_path)) as client:
        run = (await start(client, params={"folder": str(tmp_path)})).json()
        listening = asyncio.create_task(events(client, run["id"]))
        for index in range(3):
            reply = await client.get(f"/runs/{run['id']}/logs", params={"offset": index, "wait": 30})
            assert reply.content
            (tmp_path / str(index)).touch()
        heard = await listening
        assert "".join(text for _, kind, text in heard if kind == "log") == "é\r50%\r\ufffd end"
        assert [kind for _, kind, _ in heard][-1] == "end"
        last, _, first_text = heard[0]
        resumed = await events(client, run["id"], {"Last-Event-ID": str(last)})
        assert first_text + "".join(text for _, _, text in resumed) == "é\r50%\r\ufffd end"


async def events(
    client: httpx.AsyncClient, run_id: str, headers: dict[str, str] | None = None
) -> list[tuple[int, str, str]]:
    reply = await client.get(f"/runs/{run_id}/logs", headers={"Accept": "text/event-stream", **(headers or {})})
    assert reply.headers["Content-Type"].startswith("text/event-stream")
    told = []
    for block in reply.text.removesuffix("\n\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        told.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
    return told


async def test_a_log_is_answered_in_bounded_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "LOG_REPLY_BYTES_MAX", 4)
    write_main(tmp_path, "def run(): print('123456789')")
    async with at_work(an_agent(tmp_path)) as client:
        run = await result_of(client)
        reply = await client.get(f"/runs/{run['id']}/logs", params={"offset": 2})
        assert (reply.content, reply.headers["Mayfly-Log-Complete"]) == (b"3456", "false")
        assert await the_log(client, run["id"]) == b"123456789\n"
        assert (await client.get(f"/runs/{run['id']}/logs", params={"offset": 99})).content == b""


@pytest.mark.parametrize("offset", [2**63 - 1, 2**63, 10**400])
async def test_there_is_nothing_beyond_the_end_of_a_log(tmp_path: Path, offset: int) -> None:
    write_main(tmp_path, "def run(): print('all')")
    async with at_work(an_agent(tmp_path)) as client:
        run = await result_of(client)
        reply = await client.get(f"/runs/{run['id']}/logs", params={"offset": offset})
        assert (reply.status_code, reply.content, reply.headers["Mayfly-Log-Next"]) == (200, b"", str(offset))
        assert (await events(client, run["id"], {"Last-Event-ID": "9" * 18}))[-1][1] == "end"
        for nonsense in ("-1", "x", "9" * 5000, "1.5"):
            heard = await events(client, run["id"], {"Last-Event-ID": nonsense})
            assert [text for _, _, text in heard] == ["all\n", ""], nonsense


ARTIFACTS = """
    import os
    def run(context):
        (context.artifacts / "deep" / "er").mkdir(parents=True)
        (context.artifacts / "deep" / "er" / "a b é.bin").write_bytes(bytes(range(256)) * 4096)
        (context.artifacts / "empty").touch()
        os.symlink("/etc/passwd", context.artifacts / "link")
        os.symlink("/etc", context.artifacts / "folder")
        os.mkfifo(context.artifacts / "fifo")
"""
CONTENT = bytes(range(256)) * 4096


async def test_artifacts_are_listed_with_size_and_hash_and_served_whole(tmp_path: Path) -> None:
    write_main(tmp_path, ARTIFACTS)
    async with at_work(an_agent(tmp_path)) as client:
        run = await result_of(client)
        listed = (await client.get(f"/runs/{run['id']}/artifacts")).json()["artifacts"]
        assert listed == [
            {"path": "deep/er/a b é.bin", "size": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest()},
            {"path": "empty", "size": 0, "sha256": hashlib.sha256(b"").hexdigest()},
        ]
        assert (await client.get(f"/runs/{run['id']}/artifacts/deep/er/a b é.bin")).content == CONTENT
        assert (await client.get(f"/runs/{run['id']}/artifacts/empty")).content == b""


async def test_odd_names_are_served_and_what_cannot_be_told_is_said_in_the_log(tmp_path: Path) -> None:
    names = ["new\nline", "end\n", 'quo"te', "per%41cent", "que?ry#", "\\back", " ", "naïve.txt"]
    write_main(
        tmp_path,
        f"""
        import os, socket
        def run(context):
            for name in {names!r}:
                (context.artifacts / name).write_text(name)
            open(os.fsencode(context.artifacts) + b"/\\xff.bin", "w").close()
            socket.socket(socket.AF_UNIX).bind(f"{{context.artifacts}}/socket")
            print("done", flush=True)
            while not (context.artifacts.parent / "go").exists(): pass
        """,
    )
    agent = an_agent(tmp_path)
    async with at_work(agent) as client:
        run = (await start(client)).json()
        while not (await client.get(f"/runs/{run['id']}/logs", params={"wait": 30})).content:
            pass
        live = (await client.get(f"/runs/{run['id']}/artifacts")).json()["artifacts"]
        (agent.runs.folder_of(run["id"]) / "go").touch()
        await finished(client, run["id"])
        listed = (await client.get(f"/runs/{run['id']}/artifacts")).json()["artifacts"]
        assert [one["path"] for one in live] == [one["path"] for one in listed] == sorted(names)
        for name in names:
            assert (await client.get(f"/runs/{run['id']}/artifacts/{quote(name)}")).text == name
        for path in ("socket", "%FF.bin"):
            assert (await client.get(f"/runs/{run['id']}/artifacts/{path}")).status_code == 404
        assert "artifact '\\udcff.bin' cannot be listed" in (await client.get(f"/runs/{run['id']}/logs")).text


async def test_a_file_that_becomes_a_fifo_as_it_is_listed_blocks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").touch()
    seen = artifacts._regular_files

    def swapped(folder: Path) -> list[str]:
        paths = list(seen(folder))
        for path in paths:
            (folder / path).unlink()
            os.mkfifo(folder / path)
        return paths

    monkeypatch.setattr(artifacts, "_regular_files", swapped)
    assert artifacts.inventory(tmp_path / "real") == []


async def test_while_the_run_is_live_its_artifacts_have_no_hash(tmp_path: Path) -> None:
    write_main(
        tmp_path,
        "import time\ndef run(context):\n (context.artifacts / 'a').touch(); print(1, flush=True); time.sleep(3600)",
    )
    async with at_work(an_agent(tmp_path)) as client:
        run = (await start(client)).json()
        await client.get(f"/runs/{run['id']}/logs", params={"wait": 30})
        listed = (await client.get(f"/runs/{run['id']}/artifacts")).json()["artifacts"]
    assert listed == [{"path": "a", "size": 0, "sha256": None}]


@pytest.mark.parametrize(
    ("asked", "status", "answered"),
    [
        ("bytes=0-0", 206, "bytes 0-0/1048576"),
        ("bytes=10-19", 206, "bytes 10-19/1048576"),
        ("bytes=1000000-", 206, "bytes 1000000-1048575/1048576"),
        ("bytes=-5", 206, "bytes 1048571-1048575/1048576"),
        ("bytes=5-99999999", 206, "bytes 5-1048575/1048576"),
        ("bytes=1048576-", 416, "bytes */1048576"),
        ("bytes=-0", 416, "bytes */1048576"),
        ("bytes=9-3", 200, None),
        ("bytes=0-1,5-6", 200, None),
        ("lines=1-2", 200, None),
    ],
)
async def test_a_part_of_an_artifact_can_be_asked_for(
    tmp_path: Path, asked: str, status: int, answered: str | None
) -> None:
    write_main(tmp_path, ARTIFACTS)
    async with at_work(an_agent(tmp_path)) as client:
        run = await result_of(client)
        reply = await client.get(f"/runs/{run['id']}/artifacts/deep/er/a b é.bin", headers={"Range": asked})
    assert (reply.status_code, reply.headers.get("Content-Range")) == (status, answered)
    if status == 206 and answered:
        first, last = answered.removeprefix("bytes ").partition("/")[0].split("-")
        assert reply.content == CONTENT[int(first) : int(last) + 1]
    if status == 200:
        assert reply.content == CONTENT


@pytest.mark.parametrize(
    "path",
    ["link", "folder/passwd", "folder", "fifo", "deep", "..%2f..%2f..%2fledger.db", "deep/%2e%2e/empty",
     "%2fetc%2fpasswd", "/etc/passwd", "deep//er", "%2e", "", "a%00b", "x" * 5000],
)  # fmt: skip
async def test_there_is_no_way_out_of_the_artifact_folder(tmp_path: Path, path: str) -> None:
    write_main(tmp_path, ARTIFACTS)
    async with at_work(an_agent(tmp_path)) as client:
        run = await result_of(client)
        url = httpx.URL("http://agent").copy_with(raw_path=f"/runs/{run['id']}/artifacts/{path}".encode())
        assert (await client.get(url)).status_code == 404
    assert os.path.lexists(tmp_path / "state" / "runs" / run["id"] / "artifacts" / "link")
