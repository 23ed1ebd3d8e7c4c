"""`mayfly run --remote`: the deployed job does it, in processes of its own, and we look on."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gcp_emulator.knobs import Knobs
from gcp_emulator.timing import zulu
from mayfly.cancelling import cancel
from mayfly.cloud_logs import CloudLog, Line
from mayfly.executions import deployed_executions
from mayfly.google import google_of
from mayfly.logs import remote_log
from mayfly.order import read_order
from mayfly.remote import RECEIPT_LATE, Remote, exit_code_of
from mayfly.remote_run import RemoteOrder, arguments, one_run_of
from mayfly.standing import standing_of
from orchestrator.errors import CleanupOwed, Exit, NotFound
from orchestrator.policy import seconds
from tests.journeys.cloud_run import PLACE, a_job, config_of, deployed
from tests.journeys.command import begin, heard, mayfly
from tests.journeys.lab import IMPATIENT, Lab, a_lab
from tests.journeys.sweeping import run_out, sweep

ZONE = "us-central1-a"


@asynccontextmanager
async def looking_on(
    lab: Lab, shown: list[Line], told: list[str], late: timedelta = RECEIPT_LATE
) -> AsyncIterator[Remote]:
    config = config_of(lab)
    async with google_of(config.settings, IMPATIENT) as google:
        yield Remote(deployed_executions(google, config), shown.append, told.append, look=seconds(0.2), late=late)


def executions(lab: Lab) -> list[Any]:
    return list(lab.emulator.cloud.world.executions.values())


async def over(lab: Lab) -> None:
    """Wait for the end of all of them: processes, which take their time."""
    async with asyncio.timeout(120):
        while not all(one.state.over for one in executions(lab)):
            await asyncio.sleep(0.05)


async def test_the_deployed_job_runs_and_its_lines_and_its_receipt_come_here(
    lab: Lab, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
):
    here = tmp_path / "cwd"
    async with looking_on(lab, [], []) as remote:
        with pytest.raises(NotFound, match="no Cloud Run job mayfly in us-central1 of demo: run `mayfly deploy` first"):
            await remote.started(["run"], "k", None)

    await deployed(lab)
    ended = await mayfly(lab, here, "run", "main:run", "--remote", "--set", "coin=BTC", "--set", "a.b=2")
    assert (ended.code, ended.receipt["outcome"], ended.receipt["result"]) == (0, "succeeded", {"order": "placed"})
    assert not {"severity", "message"} & ended.receipt.keys(), "it is the receipt that a local run would print"
    lines = [note["message"] for note in ended.notes]
    assert lines.index("Starting gpu-vm in us-central1-a") < lines.index("trading for real"), (
        "in their order, the job's own among them"
    )
    (execution,) = executions(lab)
    key = ended.receipt["run_key"]
    given = execution.template["template"]["containers"][0]["args"]
    assert given == ["run", "main:run", "--key", key, "--set", 'coin="BTC"', "--set", 'a={"b": 2}']

    capsysbinary.readouterr()
    await remote_log(config_of(lab), key, follow=True)
    said = capsysbinary.readouterr().out
    assert b"trading for real\n" in said
    assert said.count(b"main:run (run) succeeded\n") == 1


async def test_a_window_of_the_deployed_jobs_own_or_of_ours_has_one_run_also_from_here(lab: Lab, tmp_path: Path):
    await deployed(lab, {"ONCE_PER": "1d", "TZ": "Asia/Seoul"})
    first, second = [await mayfly(lab, tmp_path / "cwd", "run", "main:run", "--remote") for _ in range(2)]
    assert (first.code, second.code, len(lab.requests("instances.start"))) == (0, 0, 1)
    assert first.receipt["run_key"] == second.receipt["run_key"]
    assert second.receipt["answered_from_memory"]
    assert [one.template["template"]["containers"][0]["args"] for one in executions(lab)] == [["run", "main:run"]] * 2

    config = config_of(lab, once_per="1h", tz="Asia/Tokyo")
    async with google_of(config.settings, IMPATIENT) as google:
        there = deployed_executions(google, config)
        typed = RemoteOrder(read_order("run", "main:run", None), "main:run", None, {"out": None, "once-per": None})
        assert await one_run_of(typed, config, there) == typed, "the job's own window goes before ours"
        await lab.post(f"{PLACE}/jobs?jobId=other", a_job({"ONCE_PER": ""}))
        other = await one_run_of(typed, config, replace(there, job="other"))
        assert arguments(other, other.order.key) == ["run", "main:run", "--once-per", "1h", "--tz", "Asia/Tokyo"]


async def test_a_job_that_fails_is_answered_from_memory_when_cloud_run_tries_again_and_told_with_its_code(lab: Lab):
    await deployed(lab, maxRetries=1)
    shown: list[Line] = []
    async with looking_on(lab, shown, []) as remote:
        end = await remote.followed(await remote.started(["run", "main:fail", "--key", "k"], "k", None))
    assert (exit_code_of(end), end.execution.succeeded) == (1, False)
    assert end.receipt is not None
    assert end.receipt.fields["answered_from_memory"], "the last attempt's receipt, not the first one's"
    assert len(lab.requests("instances.start")) == 1
    assert [line.message for line in shown].count("about to fail") == 1


async def test_the_last_attempts_receipt_is_waited_for_and_no_other_is_taken_for_it(lab: Lab):
    await deployed(lab, maxRetries=1)
    await lab.inject(stockout={"details": True})
    async with looking_on(lab, [], []) as remote:
        name = await remote.started(["run", "main:run", "--key", "k"], "k", None)
        await over(lab)
        logged = lab.emulator.cloud.world.logs.entries
        receipts = [one for one in logged if "cleanup" in one[1].get("jsonPayload", {})]
        assert [one[1]["jsonPayload"]["exit_code"] for one in receipts] == [3, 0]
        logged.remove(receipts[1])  # Cloud Logging does not have it yet
        following = asyncio.create_task(remote.followed(name))
        asked = len(lab.requests("logging.logEntries.list"))
        await lab.until(lambda: following.done() or len(lab.requests("logging.logEntries.list")) > asked + 2)
        logged.append(receipts[1])
        end = await following
    assert (exit_code_of(end), end.exit_code, end.execution.succeeded) == (0, 0, True)
    assert end.receipt is not None
    assert (end.receipt.attempt, end.receipt.fields["outcome"]) == (1, "succeeded")


async def test_a_line_that_comes_in_minutes_late_is_shown_and_a_log_is_followed_past_the_end(
    lab: Lab, capsysbinary: pytest.CaptureFixture[bytes]
):
    await deployed(lab, maxRetries=0)
    config = config_of(lab)
    async with looking_on(lab, [], []) as remote:
        name = await remote.started(["run", "main:run", "--key", "k"], "k", None)
    await over(lab)
    logged = lab.emulator.cloud.world.logs.entries
    receipt = next(one for one in logged if "cleanup" in one[1].get("jsonPayload", {}))
    logged.remove(receipt)
    number, entry = logged[-1]
    async with google_of(config.settings, IMPATIENT) as google:
        log = CloudLog(google, "demo", "mayfly", name)
        assert len([line async for line in log.news()]) == len(logged)
        said = zulu(datetime.fromisoformat(entry["timestamp"]) - timedelta(minutes=5))
        latecomer = entry | {"insertId": "late", "timestamp": said, "jsonPayload": {"message": "what came late"}}
        following = asyncio.create_task(remote_log(config, "k", follow=True, late=seconds(30)))
        asked = len(lab.requests("logging.logEntries.list"))
        await lab.until(lambda: following.done() or len(lab.requests("logging.logEntries.list")) > asked + 1)
        logged.extend([(number, latecomer), receipt])
        await following
        late = [line.message async for line in log.news()]
        assert late[0] == "what came late"
    assert b"what came late" in capsysbinary.readouterr().out


async def test_a_cloud_logging_that_fails_holds_nobody_up_once_the_run_has_ended(lab: Lab):
    await deployed(lab, maxRetries=0)
    async with looking_on(lab, [], [], late=seconds(3)) as remote:
        name = await remote.started(["run", "main:fail", "--key", "k"], "k", None)
        await over(lab)
        await lab.inject(on="logging.logEntries.list", times=100_000, reply={"status": 503})
        end = await remote.followed(name)
    await lab.clear_faults()
    assert (exit_code_of(end), end.receipt) == (1, None)


async def test_who_may_not_read_the_log_is_told_so_once_and_gets_the_exit_code(lab: Lab):
    await deployed(lab, maxRetries=0)
    told: list[str] = []
    await lab.inject(on="logging.logEntries.list", reply={"status": 403})
    async with looking_on(lab, [], told) as remote:
        end = await remote.followed(await remote.started(["run", "main:fail", "--key", "k"], "k", None))
    assert (exit_code_of(end), end.receipt) == (1, None)
    assert told[0] == "The run's key is k"
    assert len([line for line in told if "Going on without its lines" in line]) == 1


async def test_whatever_fails_once_it_has_begun_says_that_it_goes_on_and_how_to_look(lab: Lab, tmp_path: Path):
    await deployed(lab)
    await lab.inject(on="run.executions.get", reply={"status": 403})
    process = await begin(
        lab, tmp_path / "cwd", "run", "main:run", "--remote", "--wait-for-lease", "1h", "--zone", ZONE
    )
    _, said = await process.communicate()
    (execution,) = executions(lab)
    assert process.returncode == Exit.CLEANUP_OWED
    options = f"--zone {ZONE} --wait-for-lease 1h"
    key = execution.template["template"]["containers"][0]["args"][3]
    assert execution.timeout > timedelta(hours=1), "Cloud Run, too, lets it wait for so long"
    assert f"{execution.id} goes on in Cloud Run" in said.decode()
    assert f"mayfly run --remote main:run --key {key} {options}; end it: mayfly cancel {key} --zone {ZONE}" in (
        said.decode()
    )
    await over(lab)

    await lab.inject(on="run.jobs.run", lose_reply={})
    await lab.inject(on="run.executions.list", skip=1, reply={"status": 403})
    async with looking_on(lab, [], []) as remote:
        with pytest.raises(CleanupOwed, match="It may have begun all the same"):
            await remote.started(["run", "--key", "k"], "k", None)
    await over(lab)


async def test_who_leaves_before_cloud_run_has_answered_is_let_go_and_told_the_key(lab: Lab, tmp_path: Path):
    await deployed(lab)
    await lab.inject(on="run.jobs.run", late={"seconds": 20})
    process = await begin(lab, tmp_path / "cwd", "run", "main:run", "--remote", "--key", "k")
    await lab.until(lambda: len(executions(lab)) == 1)
    process.send_signal(signal.SIGTERM)
    _, said = await process.communicate()
    assert process.returncode == Exit.TERMINATED
    left = json.loads(said.splitlines()[-1])["message"]
    assert left == (
        "Left as Cloud Run was asked to begin; it may have. "
        "Look on again: mayfly run --remote main:run --key k; end it: mayfly cancel k"
    )
    await over(lab)


async def test_another_run_of_that_key_is_not_joined(lab: Lab):
    await deployed(lab, maxRetries=0)
    async with looking_on(lab, [], []) as remote:
        first = await remote.started(["run", "main:run", "--key", "k"], "k", None)
        rehearsal = await remote.started(["test", "main:run", "--key", "k"], "k", None)
        told_else = await remote.started(["run", "--", "true", "--key", "k"], "k", None)
        again = await remote.started(["run", "main:run", "--key", "k"], "k", None)
    assert len({first, rehearsal, told_else}) == 3
    assert again == first
    await over(lab)


async def test_neither_a_lost_reply_nor_a_lost_request_nor_a_lost_connection_makes_two_runs_or_none(lab: Lab):
    await deployed(lab)
    told: list[str] = []
    async with looking_on(lab, [], told) as remote:
        await lab.inject(on="run.jobs.run", lose_request={})
        await lab.inject(on="run.jobs.run", lose_reply={})
        name = await remote.started(["run", "--key", "k"], "k", None)
        await lab.inject(on="run.executions.get", times=8, lose_reply={})  # more than one look bears
        end = await remote.followed(name)
    assert [one.id for one in executions(lab)] == [name]
    assert len([line for line in told if line.startswith("Nobody answered whether")]) == 2
    assert len([line for line in told if line.endswith("The run goes on without us; trying again.")]) == 1
    assert exit_code_of(end) == 0


async def test_who_looks_on_may_leave_and_come_back_and_a_cancelled_execution_comes_down(lab: Lab, tmp_path: Path):
    await deployed(lab, maxRetries=3)
    here, order = tmp_path / "cwd", ("run", "main:for_ever", "--remote", "--key", "nightly")
    first = await begin(lab, here, *order)
    await heard(first, "Starting gpu-vm")
    first.send_signal(signal.SIGINT)
    _, said = await first.communicate()
    assert first.returncode == 143
    left = json.loads(said.splitlines()[-1])["message"]
    assert "goes on in Cloud Run" in left
    assert "end it: mayfly cancel nightly" in left

    second = asyncio.create_task(mayfly(lab, here, *order))
    await lab.until(lambda: len(lab.requests("run.executions.list")) > 1)  # it has found the one that is there
    cancelled = await mayfly(lab, here, "cancel", "nightly")
    assert (cancelled.code, cancelled.receipt["how"], cancelled.receipt["vm"]) == (0, "execution", "TERMINATED")
    ended = await second
    (execution,) = executions(lab)
    assert (ended.code, ended.receipt["outcome"], execution.state) == (143, "terminated", "CANCELLED")
    assert ended.notes[0]["message"].startswith("Run nightly is at work already")
    assert execution.retried == 0


async def test_the_run_of_an_execution_that_was_killed_is_cancelled_at_its_agent_and_a_sweep_does_the_rest(
    tmp_path: Path,
):
    async with a_lab(tmp_path / "disks", knobs=Knobs(cancelled_task="kill")) as lab:
        await deployed(lab, {"LEASE_TTL": "8s"})
        told: list[str] = []
        async with looking_on(lab, [], []) as remote:
            await remote.started(["run", "main:for_ever", "--key", "k"], "k", None)
        async with asyncio.timeout(60):
            while (greeting := (await standing_of(config_of(lab))).greeting) is None or greeting.run is None:
                await asyncio.sleep(0.1)
        with pytest.raises(CleanupOwed, match="is gone, and gpu-vm may still be on: `mayfly sweep` stops it"):
            await cancel(config_of(lab), "k", told.append)
        assert [one.split(":")[0] for one in told if "at its agent" in one], told
        assert (await run_out(lab)).key == "k"
        receipt = await sweep(lab)
        assert (receipt.exit_code, [one.standing for one in receipt.findings]) == (0, ["abandoned"])
        await lab.all_is_well()
