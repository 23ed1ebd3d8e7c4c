"""Files that callers bring: in parts, checked, bounded, handed to the run that names them, and gone with it."""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.contract.agent_at_work import an_agent, at_work, result_of, start, write_main
from vm_agent import policy
from vm_agent.agent import Agent
from vm_agent.problems import PartOnItsWay
from vm_agent.protocol import FunctionJob
from vm_agent.uploads import Uploads

AUDIO = b"RIFF" + bytes(range(256)) * 400
DIGEST = hashlib.sha256(AUDIO).hexdigest()
NAMED = f"mayfly-upload:{DIGEST}/my talk.wav"
MAIN = """
    import hashlib, pathlib
    def run(context):
        file = pathlib.Path(context.params["audio"])
        assert context.params["other"] == "as it was"
        return {"name": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest(), "path": str(file)}
"""
BROKEN = "def run(context): raise ValueError('no')"


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    write_main(tmp_path, MAIN)
    return an_agent(tmp_path)


@pytest.fixture
async def client(agent: Agent) -> AsyncIterator[httpx.AsyncClient]:
    async with at_work(agent) as client:
        yield client


async def put(
    client: httpx.AsyncClient, body: bytes = AUDIO, *, offset: int = 0, size: int = len(AUDIO), digest: str = DIGEST
) -> httpx.Response:
    return await client.put(f"/files/{digest}", params={"size": size, "offset": offset}, content=body)


def kept(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in tmp_path.glob("state/**/*") if DIGEST in str(path))


async def test_a_file_comes_in_parts_and_a_run_gets_its_path(client: httpx.AsyncClient, tmp_path: Path) -> None:
    assert (await client.get(f"/files/{DIGEST}")).json() == {"sha256": DIGEST, "size": 0, "complete": False}
    assert (await put(client, AUDIO[:1000])).json() == {"sha256": DIGEST, "size": 1000, "complete": False}
    assert (await put(client, AUDIO[1000:], offset=1000)).json()["complete"] is True
    view = await result_of(client, params={"audio": NAMED, "other": "as it was"})
    assert view["result"]["name"] == "my talk.wav"
    assert view["result"]["sha256"] == DIGEST
    assert kept(tmp_path) == [], "it went with the run"


async def test_the_same_start_again_needs_no_file_again(client: httpx.AsyncClient) -> None:
    await put(client)
    params = {"audio": NAMED, "other": "as it was"}
    first = await result_of(client, key="k", params=params)
    assert (await start(client, key="k", params=params)).json()["id"] == first["id"]


async def test_a_part_that_does_not_follow_is_refused_and_told_where_to_go_on(client: httpx.AsyncClient) -> None:
    await put(client, AUDIO[:1000])
    for offset in (0, 999, 1001):
        answer = await put(client, AUDIO[offset:], offset=offset)
        assert (answer.status_code, answer.json()["code"]) == (409, "bad-offset")
        assert "1000 bytes" in answer.json()["detail"]
    assert (await put(client, AUDIO[1000:], offset=1000)).json()["complete"] is True
    assert (await put(client, b"more", offset=len(AUDIO))).json()["size"] == len(AUDIO), "it is whole: nothing is added"


async def test_what_is_not_the_file_it_says_is_thrown_away(client: httpx.AsyncClient, tmp_path: Path) -> None:
    answer = await put(client, AUDIO[:-1] + b"x")
    assert (answer.status_code, answer.json()["code"]) == (422, "wrong-file")
    assert (await client.get(f"/files/{DIGEST}")).json()["size"] == 0
    assert (await put(client, AUDIO + b"x")).status_code == 422
    assert (await put(client, b"", size=10**12)).status_code == 413
    assert len(kept(tmp_path)) <= 1


@pytest.mark.parametrize("digest", ["x", "..%2f..%2fetc%2fpasswd", DIGEST.upper(), f"{DIGEST}0", f"{DIGEST}.part"])
async def test_a_file_has_no_other_name_than_its_digest(client: httpx.AsyncClient, digest: str) -> None:
    assert (await client.get(f"/files/{digest}")).status_code in {400, 404}
    assert (await put(client, digest=digest)).status_code in {400, 404}


@pytest.mark.parametrize("name", ["", "..", ".", "a/b", "\0", "x" * 300])
async def test_a_param_names_a_file_by_one_name_and_no_path(client: httpx.AsyncClient, name: str) -> None:
    await put(client)
    answer = await start(client, params={"audio": f"mayfly-upload:{DIGEST}/{name}"})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-request")


async def test_a_run_whose_file_is_not_here_is_refused_before_it_is_accepted(client: httpx.AsyncClient) -> None:
    await put(client, AUDIO[:1000])
    answer = await start(client, params={"audio": NAMED})
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    assert f"/files/{DIGEST}" in answer.json()["detail"]
    assert (await client.get("/runs")).json()["runs"] == []


async def test_a_rehearsal_does_not_spare_the_run_of_its_key_the_file(client: httpx.AsyncClient) -> None:
    await put(client)
    params = {"audio": NAMED, "other": "as it was"}
    assert (await result_of(client, "test", key="k", params=params, job={"function": "main:run"}))[
        "state"
    ] == "SUCCEEDED"
    for wrong, status in ((params, 404), ({"audio": "mayfly-upload:garbage"}, 400)):
        refused = await start(client, key="k", params=wrong)
        assert refused.status_code == status
    await put(client)
    assert (await result_of(client, key="k", params=params))["state"] == "SUCCEEDED"


async def test_a_further_attempt_of_a_run_that_succeeded_is_answered_without_its_file(
    client: httpx.AsyncClient,
) -> None:
    await put(client)
    params = {"audio": NAMED, "other": "as it was"}
    first = await result_of(client, key="k", params=params)
    assert (await start(client, key="k", params=params, attempt=2)).json()["id"] == first["id"]


async def test_who_began_a_file_with_a_wrong_size_keeps_nobody_from_it(client: httpx.AsyncClient) -> None:
    await put(client, b"x" * (len(AUDIO) + 10), size=len(AUDIO) + 20)
    assert (await put(client)).json()["complete"] is True


async def test_what_a_job_leaves_among_its_files_disturbs_nobody(client: httpx.AsyncClient, tmp_path: Path) -> None:
    left = """
        import pathlib
        def run(context):
            if "audio" in context.params:
                pathlib.Path(context.params["audio"]).parent.parent.joinpath("note.txt").touch()
    """
    write_main(tmp_path, left)
    await put(client)
    assert (await result_of(client, params={"audio": NAMED}))["state"] == "SUCCEEDED"
    assert (await result_of(client))["state"] == "SUCCEEDED"
    assert kept(tmp_path) == []


async def test_files_go_with_runs_that_fail_too(client: httpx.AsyncClient, tmp_path: Path) -> None:
    write_main(tmp_path, BROKEN)
    await put(client)
    assert (await result_of(client, params={"audio": NAMED}))["state"] == "FAILED"
    assert kept(tmp_path) == []


async def test_nobody_without_credentials_uploads(client: httpx.AsyncClient, tmp_path: Path) -> None:
    client.headers.pop("X-API-Key")
    assert (await put(client)).status_code == 401
    assert (await client.get(f"/files/{DIGEST}")).status_code == 401
    assert kept(tmp_path) == []


async def test_the_oldest_files_make_room_and_those_on_their_way_do_not(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path, bytes_max=1000)
    files = [A400(number) for number in range(3)]
    for file in files[:2]:
        assert (await uploads.append(file.digest, total=400, offset=0, pieces=file.pieces())).complete
    last = asyncio.create_task(uploads.append(files[2].digest, total=400, offset=0, pieces=files[2].pieces(hold=True)))
    await files[2].begun.wait()
    with pytest.raises(PartOnItsWay, match="this very file"):
        await uploads.append(files[2].digest, total=400, offset=0, pieces=files[2].pieces())
    files[2].go_on.set()
    assert (await last).complete
    assert [uploads.find(file.digest).complete for file in files] == [False, True, True]


async def test_what_callers_have_announced_is_taken_before_it_has_come(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path, bytes_max=700)
    first, second = A400(1), A400(2)
    sending = asyncio.create_task(uploads.append(first.digest, total=400, offset=0, pieces=first.pieces(hold=True)))
    await first.begun.wait()
    with pytest.raises(PartOnItsWay, match="no room"):
        await uploads.append(second.digest, total=400, offset=0, pieces=second.pieces())
    first.go_on.set()
    assert (await sending).complete
    assert (await uploads.append(second.digest, total=400, offset=0, pieces=second.pieces())).complete


async def test_between_two_parts_a_caller_keeps_its_room_for_a_while(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path, bytes_max=450)
    first, second = A400(1), A400(2)
    await uploads.append(first.digest, total=400, offset=0, pieces=first.pieces(upto=100))
    with pytest.raises(PartOnItsWay, match="no room"):
        await uploads.append(second.digest, total=400, offset=0, pieces=second.pieces())
    grow_older(tmp_path, policy.UPLOAD_PAUSE_SECONDS + 1)
    assert (await uploads.append(second.digest, total=400, offset=0, pieces=second.pieces())).complete
    assert uploads.find(first.digest).size == 0, "its caller went away for too long"


async def test_no_more_is_taken_than_the_disk_has(small_disk: Path) -> None:
    mebibyte = 1 << 20
    write_main(small_disk, MAIN)
    async with at_work(an_agent(small_disk)) as client:
        too_large = await put(client, AUDIO[:1000], size=4 * mebibyte)
        assert (too_large.status_code, too_large.json()["code"]) == (413, "too-large")
        assert "on the disk" in too_large.json()["detail"]
        assert (await put(client, AUDIO[:1000], size=2 * mebibyte)).status_code == 200
        other = await put(client, AUDIO[:1000], size=2 * mebibyte, digest="0" * 64)
        assert (other.status_code, other.json()["code"]) == (409, "part-on-its-way")


async def test_what_is_too_large_for_the_disk_drives_no_other_file_out(small_disk: Path) -> None:
    write_main(small_disk, MAIN)
    async with at_work(an_agent(small_disk)) as client:
        assert (await put(client)).json()["complete"]
        refused = await put(client, b"x", size=1 << 30, digest="0" * 64)
        assert (refused.status_code, refused.json()["code"]) == (413, "too-large")
        assert (await client.get(f"/files/{DIGEST}")).json()["complete"]


async def test_a_part_that_becomes_whole_while_another_caller_needs_room_disturbs_nobody(tmp_path: Path) -> None:
    uploads, file = Uploads(tmp_path, bytes_max=1000), A400(1)
    (tmp_path / f"{'0' * 64}.part").symlink_to(tmp_path / "renamed")  # listed, and not there for who looks closer
    assert (await uploads.append(file.digest, total=400, offset=0, pieces=file.pieces())).complete
    assert uploads.find("0" * 64).size == 0


async def test_an_agent_that_begins_throws_away_what_nobody_asked_for(tmp_path: Path) -> None:
    async with at_work(an_agent(tmp_path)) as client:
        await put(client)
        await put(client, b"x" * 10, size=20, digest="0" * 64)
        await put(client, b"y" * 10, size=20, digest="1" * 64)
    grow_older(tmp_path / "state/uploads", policy.UPLOAD_SECONDS + 1)
    (tmp_path / "state/uploads" / f"{'1' * 64}.part").touch()
    async with at_work(an_agent(tmp_path)):
        assert [path.name for path in (tmp_path / "state/uploads").iterdir()] == [f"{'1' * 64}.part"]


async def test_a_run_that_was_cut_off_keeps_its_file_for_another_hour(tmp_path: Path) -> None:
    uploads, file = Uploads(tmp_path / "uploads", bytes_max=700), A400(1)
    await uploads.append(file.digest, total=400, offset=0, pieces=file.pieces())
    uploads.hand_over(
        {"audio": f"mayfly-upload:{file.digest}/a.wav"}, tmp_path / "run", FunctionJob(function="main:run")
    )
    grow_older(tmp_path / "uploads", policy.UPLOAD_SECONDS + 1)
    uploads.done(tmp_path / "run", keep=True)
    uploads.prune()
    assert uploads.find(file.digest).complete


class A400:
    """A file of 400 bytes, and how it comes."""

    def __init__(self, number: int) -> None:
        self.body = bytes([number]) * 400
        self.digest = hashlib.sha256(self.body).hexdigest()
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()

    async def pieces(self, *, hold: bool = False, upto: int = 400) -> AsyncIterator[bytes]:
        yield self.body[:100]
        self.begun.set()
        if hold:
            await self.go_on.wait()
        yield self.body[100:upto]


def grow_older(folder: Path, seconds: float) -> None:
    for file in folder.iterdir():
        os.utime(file, (time.time() - seconds,) * 2)
