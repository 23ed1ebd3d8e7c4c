"""Notices: a chat is told what somebody should know, after everything else; whatever the chat does changes nothing."""

import asyncio
import signal
from pathlib import Path

import pytest

from tests.journeys.command import Ended, begin, heard, mayfly
from tests.journeys.lab import Lab
from tests.journeys.sweeping import abandoned_at
from tests.journeys.webhook import SECRET, a_chat

PAGE = "https://console.cloud.google.com/compute/instancesDetail/zones/us-central1-a/instances/gpu-vm?project=demo"


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    return tmp_path / "cwd"


async def test_a_sweep_that_had_to_act_says_what_it_did_and_where_to_look(lab: Lab, cwd: Path):
    await abandoned_at(lab, "boot")
    async with a_chat(200) as chat:
        ended = await mayfly(lab, cwd, "sweep", NOTIFY_URL=chat.url)
        [text] = chat.texts
    assert (ended.code, ended.receipt["cleanup"]) == (0, "confirmed")
    assert "Sweep: 1 put right." in text
    assert "gpu-vm in us-central1-a" in text
    assert PAGE in text
    assert chat.posts == [{"text": text}], "Google Chat refuses names that it does not know"
    assert "content-type: application/json" in chat.heads[0].lower()


async def test_a_sweep_that_found_nothing_to_do_says_nothing(lab: Lab, cwd: Path):
    async with a_chat(200) as chat:
        ended = await mayfly(lab, cwd, "sweep", NOTIFY_URL=chat.url)
        dry = await mayfly(lab, cwd, "sweep", "--dry-run", NOTIFY_URL=chat.url)
        assert chat.posts == []
    assert (ended.code, dry.code) == (0, 0)


async def test_a_run_that_was_cut_off_is_told(lab: Lab, cwd: Path):
    async with a_chat(200) as chat:
        ended = await mayfly(lab, cwd, "run", "main:power_off", "--key", "monday", NOTIFY_URL=chat.url)
        [text] = chat.texts
    assert ended.code == 5
    assert "run monday (exit 5)" in text
    assert "Whether the job did its work is not known" in text
    assert PAGE in text


async def test_a_run_that_ended_as_runs_do_is_not_told(lab: Lab, cwd: Path):
    async with a_chat(200) as chat:
        assert (await mayfly(lab, cwd, "run", "main:fail", NOTIFY_URL=chat.url)).code == 1
        assert (await mayfly(lab, cwd, "run", "main:run", NOTIFY_URL=chat.url)).code == 0
        assert chat.posts == []


async def test_what_cannot_be_listed_is_told_as_owed(lab: Lab, cwd: Path):
    reply = {"status": 403, "reason": "forbidden", "message": "Required 'compute.instances.list' permission"}
    await lab.inject(on="instances.aggregatedList", reply=reply)
    async with a_chat(200) as chat:
        ended = await mayfly(lab, cwd, "sweep", NOTIFY_URL=chat.url)
        [text] = chat.texts
    assert (ended.code, ended.receipt["cleanup"]) == (7, "owed")
    assert "compute.instances.list" in text
    assert "https://console.cloud.google.com/compute/instances?project=demo" in text


CHATS = {
    "that answers 500": ([500], 2, "HTTP 500"),
    "that is rate-limited": ([429], 2, "HTTP 429"),
    "that was deleted": ([404], 1, "HTTP 404"),
    "that leads elsewhere": ([302], 1, "HTTP 302"),
    "that is silent": ([None], 1, "did not answer within"),
}


@pytest.mark.parametrize("chat_is", CHATS)
async def test_a_chat_changes_nothing(lab: Lab, cwd: Path, chat_is: str):
    answers, posts, why = CHATS[chat_is]
    await abandoned_at(lab, "boot")
    async with a_chat(*answers) as chat:
        ended = await mayfly(lab, cwd, "sweep", NOTIFY_URL=chat.url)
        assert len(chat.posts) == posts
    assert (ended.code, ended.receipt["cleanup"]) == (0, "confirmed")
    assert [warning for warning in ended.warnings if why in warning]
    assert SECRET not in ended.said


async def test_a_chat_that_is_well_again_is_told_once(lab: Lab, cwd: Path):
    await abandoned_at(lab, "boot")
    async with a_chat(503, 200) as chat:
        ended = await mayfly(lab, cwd, "sweep", NOTIFY_URL=chat.url)
        assert len(chat.posts) == 2
    assert ended.code == 0
    assert not [warning for warning in ended.warnings if "NOTIFY_URL" in warning]


async def test_a_chat_that_is_not_there_changes_nothing(lab: Lab, cwd: Path):
    await abandoned_at(lab, "boot")
    async with a_chat(200) as chat:
        url = chat.url
    ended = await mayfly(lab, cwd, "sweep", NOTIFY_URL=url)
    assert (ended.code, ended.receipt["cleanup"]) == (0, "confirmed")
    assert "NOTIFY_URL was not told: the webhook could not be reached (ConnectError)." in ended.warnings
    assert SECRET not in ended.said


async def test_the_vm_is_off_before_anybody_is_told(lab: Lab, cwd: Path):
    await abandoned_at(lab, "boot")
    async with a_chat(None) as chat:
        process = await begin(lab, cwd, "sweep", NOTIFY_URL=chat.url)
        await lab.until(lambda: bool(chat.posts))
        assert (await lab.vm())["status"] == "TERMINATED"
        lease = await lab.lease()
        assert lease is not None
        assert lease.holder == "", "given back"
        stdout, stderr = await asyncio.wait_for(process.communicate(), timeout=60)
    assert Ended(process.returncode, stdout, stderr).code == 0


async def test_who_insists_does_not_wait_for_the_chat(lab: Lab, cwd: Path):
    """Three Ctrl-C leave at once, here too; what was seen done stays said."""
    await abandoned_at(lab, "boot")
    async with a_chat(None) as chat:
        process = await begin(lab, cwd, "sweep", NOTIFY_URL=chat.url)
        await lab.until(lambda: bool(chat.posts))
        for answer in ("the sweep is called off", "Once more leaves it as it is"):
            process.send_signal(signal.SIGINT)
            await heard(process, answer)
        process.send_signal(signal.SIGINT)
        stdout, stderr = await asyncio.wait_for(process.communicate(), timeout=60)
    ended = Ended(process.returncode, stdout, stderr)
    assert (ended.code, ended.receipt["cleanup"]) == (0, "confirmed")
    assert ended.notes == [], "nobody waited until the chat was given up"


@pytest.mark.parametrize("url", ["http://example.com/T0SECRET", "file:///T0SECRET", "https:///T0SECRET", "T0SECRET"])
async def test_no_other_place_is_posted_to_and_the_refusal_keeps_the_secret(lab: Lab, cwd: Path, url: str):
    """Plain http leads out of this machine unread by nobody, and to the metadata server."""
    process = await begin(lab, cwd, "sweep", NOTIFY_URL=url)
    stdout, stderr = await asyncio.wait_for(process.communicate(), timeout=60)
    assert (process.returncode, stdout) == (2, b"")
    assert b"NOTIFY_URL must begin with https://" in stderr
    assert SECRET.encode() not in stderr
    assert lab.requests() == []
