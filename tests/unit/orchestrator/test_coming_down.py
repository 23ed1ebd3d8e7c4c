"""Coming down: what each move undoes, what it waits for, and what it says, by the cloud's own history."""

from dataclasses import replace
from pathlib import Path

import pytest

from gcp_emulator.seed import DEMO_INSTANCE
from orchestrator.events import PhaseEnded
from orchestrator.lease import AddressPolicy, Phase
from orchestrator.policy import seconds
from orchestrator.run import OnRunning, Outcome
from tests.unit.orchestrator.stage import Orchestrator, Stage, a_run, staged
from tests.unit.orchestrator.test_moves import ALL, UNAVAILABLE, seconds_between, switched_on, theirs

FORBIDDEN = {"status": 403, "reason": "forbidden", "message": "Required permission."}


@staged
async def test_a_vm_that_somebody_else_stops_is_waited_for_and_not_stopped_again(stage: Stage) -> None:
    stage.on_phase["job"] = lambda _: stage.universe.loop.outside(
        stage.universe.loop.time() + 19, stage.by_hand, "stop"
    )
    receipt = await stage.drive()
    assert (receipt.outcome, receipt.cleanup) == (Outcome.INTERRUPTED, "confirmed")
    assert "The VM went off under the run" in receipt.detail
    assert (stage.changes().count("stop"), len(stage.jobs)) == (1, 1)
    assert stage.lease.phase is Phase.FREE
    assert not stage.notes()


@staged
async def test_a_vm_that_goes_off_as_we_are_called_off_is_only_waited_for(stage: Stage) -> None:
    def stopped_and_called_off(actor: Orchestrator) -> None:
        now = stage.universe.loop.time()
        stage.universe.loop.outside(now + 5, stage.by_hand, "stop")
        stage.universe.loop.outside(now + 5.1, actor.sigterm)

    stage.on_phase["job"] = stopped_and_called_off
    receipt = await stage.drive()
    assert (receipt.exit_code, receipt.cleanup, stage.changes().count("stop")) == (143, "confirmed", 1)
    assert not stage.notes()


@staged
async def test_a_lease_that_ran_out_under_us_is_renewed_before_the_stop_goes_out(stage: Stage) -> None:
    def ran_out() -> None:
        stage.write_lease(replace(stage.lease, expires_at=stage.now - seconds(1)))

    stage.on_phase["job"] = lambda _: stage.universe.loop.outside(stage.universe.loop.time() + 19, ran_out)
    assert (await stage.drive()).exit_code == 0
    marks = [entry for entry in stage.requests("setMetadata") if Phase.STOPPING in str(entry["body"])]
    [stop] = stage.requests("stop")
    first = marks[0]
    assert seconds_between(first, stop) > 0.3, "only once that is done, and another look has shown the lease as held"


@staged
async def test_a_signal_while_the_start_is_out_sends_the_stop_after_it_at_once(stage: Stage) -> None:
    def called_off(actor: Orchestrator) -> None:
        stage.universe.loop.outside(stage.universe.loop.time() + 0.5, actor.sigterm)

    stage.on_phase["start"] = called_off
    receipt = await stage.drive()
    assert receipt.exit_code == 143
    assert stage.changes()[:4] == ["setScheduling", "addAccessConfig", "start", "stop"]
    [start], stop = stage.requests("start"), stage.requests("stop")[0]
    assert "settle" in stage.phases()
    assert seconds_between(start, stop) < 1.5
    assert stage.status in {"STOPPING", "TERMINATED"}
    assert not stage.notes()


@staged
async def test_an_adopted_vm_stays_on_and_its_run_is_remembered_all_the_same(stage: Stage) -> None:
    await switched_on(stage)
    receipt = await stage.drive(a_run(on_running=OnRunning.ADOPT))
    assert (receipt.exit_code, receipt.cleanup) == (0, "confirmed")
    assert stage.changes() == ["addAccessConfig", "start"]
    assert stage.leases()[0].found.running
    assert [known.outcome for known in stage.lease.outcomes] == ["succeeded"]
    assert (stage.status, stage.lease.phase) == ("RUNNING", Phase.FREE)


@pytest.mark.parametrize("policy", [AddressPolicy.DETACH, AddressPolicy.KEEP])
@staged
async def test_the_address_goes_off_once_the_vm_is_off_unless_it_is_kept(stage: Stage, policy: AddressPolicy) -> None:
    await stage.drive(a_run(address_policy=policy))
    assert (stage.changes() == ALL) is (policy is AddressPolicy.DETACH)
    assert stage.changes()[:4] == ALL[:4]


@staged
async def test_what_fails_on_the_way_down_is_told_and_tried_again(stage: Stage) -> None:
    stage.fault(on="instances.deleteAccessConfig", operation_error={"code": "INTERNAL_ERROR"}, times=9)
    receipt = await stage.drive()
    assert (receipt.exit_code, receipt.cleanup) == (0, "confirmed")
    assert "WARNING Coming down:" in stage.notes()
    assert stage.universe.machine().external_ip is None


@staged
async def test_release_is_for_an_address_that_mayfly_reserved(stage: Stage) -> None:
    receipt = await stage.drive(a_run(address_policy=AddressPolicy.RELEASE))
    assert receipt.exit_code == 3
    assert "is yours" in receipt.detail
    assert stage.changes() == []


@staged
async def test_a_start_that_lands_after_the_stop_is_stopped_once_more_and_at_once(stage: Stage) -> None:
    """The way up was left with its request under way: a look every second tells when it has landed."""
    stage.fault(on="instances.start", late={"seconds": 3, "effect": "at_the_end"})

    def called_off(actor: Orchestrator) -> None:
        stage.universe.loop.outside(stage.universe.loop.time() + 0.5, actor.sigterm)

    stage.on_phase["start"] = called_off
    receipt = await stage.drive()
    assert receipt.exit_code == 143
    landed = next(
        entry for entry in stage.universe.cloud.history.since(0)["entries"] if entry.get("to") == "PROVISIONING"
    )
    after = [stop for stop in stage.requests("stop") if stop["at"] > landed["at"]]
    assert seconds_between(landed, after[0]) < 2
    assert len(stage.requests("stop")) > len(after), "the first went out with nothing on yet"


@staged
async def test_a_signal_while_the_claim_is_out_stops_nothing_and_gives_it_back(stage: Stage) -> None:
    stage.on_phase["lease"] = lambda actor: stage.universe.loop.outside(0.1, actor.sigterm)
    stage.fault(on="instances.setMetadata", late={"seconds": 2, "effect": "at_the_end"})
    receipt = await stage.drive()
    assert (receipt.exit_code, stage.changes()) == (143, [])
    assert stage.lease.phase is Phase.FREE


@staged
async def test_no_further_try_of_the_stop_after_a_signal_goes_out_under_anothers_lease(stage: Stage) -> None:
    stage.fault(on="instances.stop", reply=UNAVAILABLE)
    lease = theirs(stage, expires_at=stage.now + seconds(600))

    def called_off(actor: Orchestrator) -> None:
        now = stage.universe.loop.time()
        stage.universe.loop.outside(now + 0.5, actor.sigterm)
        stage.universe.loop.outside(now + 1.0, stage.write_lease, lease)

    stage.on_phase["start"] = called_off
    await stage.drive()
    assert stage.changes().count("stop") == 1
    assert stage.requests("stop") == []
    assert stage.notes().count("Somebody else took the lease on gpu-vm") >= 1


@staged
async def test_a_further_try_of_the_stop_after_a_signal_is_no_news(stage: Stage) -> None:
    stage.fault(on="instances.stop", reply=UNAVAILABLE)

    def called_off(actor: Orchestrator) -> None:
        stage.universe.loop.outside(stage.universe.loop.time() + 0.5, actor.sigterm)

    stage.on_phase["start"] = called_off
    await stage.drive()
    assert stage.requests("stop")
    assert not stage.notes()


@staged
async def test_the_stop_is_seen_through_though_its_mark_fails(stage: Stage) -> None:
    stage.fault(on="instances.setMetadata", skip=2, reply=FORBIDDEN)
    receipt = await stage.drive()
    assert (receipt.exit_code, receipt.cleanup) == (0, "confirmed")
    stops = [event for event in stage.told if isinstance(event, PhaseEnded) and event.name == "stop"]
    assert stops[0].seconds > 3, "until the operation was done"
    assert "WARNING Coming down:" in stage.notes()
    assert [known.outcome for known in stage.lease.outcomes] == ["succeeded"], "written with the release, at the latest"


@staged
async def test_a_mark_is_written_though_the_stop_fails_and_the_stop_is_sent_again(stage: Stage) -> None:
    stage.fault(on="instances.stop", reply=FORBIDDEN)
    receipt = await stage.drive()
    assert (receipt.exit_code, receipt.cleanup) == (0, "confirmed")
    assert stage.leases()[2].phase is Phase.STOPPING
    assert len(stage.requests("stop")) == 1


@staged
async def test_between_the_end_of_the_job_and_the_stop_there_is_one_look(stage: Stage) -> None:
    receipt = await stage.drive()
    [job] = [phase for phase in receipt.phases if phase.name == "job"]
    [stop] = [phase for phase in receipt.phases if phase.name == "stop"]
    assert (stop.started - job.started).total_seconds() - job.seconds < 0.05


@staged
async def test_log_and_artifacts_are_copied_before_the_stop(stage: Stage, tmp_path: Path) -> None:
    receipt = await stage.drive(a_run(out=tmp_path))
    assert receipt.exit_code == 0
    assert stage.phases()[-4:] == ["collect", "stop", "detach", "release"]
    [log] = receipt.artifacts
    assert (log.path, Path(log.saved_to)) == ("log.txt", tmp_path / "run-1" / "log.txt")
    assert (tmp_path / "run-1" / "log.txt").is_file()
    assert not stage.notes()


@staged
async def test_whatever_is_sent_may_be_on_until_a_look_says_otherwise(stage: Stage) -> None:
    """Google answers nothing more once the start is out: loud, for the VM may be on."""
    stage.on_phase["start"] = lambda _: stage.fault(on="instances.get", times=None, reply=UNAVAILABLE)
    receipt = await stage.drive()
    assert (receipt.exit_code, receipt.cleanup) == (7, "owed")
    assert "gpu-vm was not seen off: it may still be on, and cost money." in receipt.detail


@staged
async def test_a_partition_of_the_vm_changes_nothing_about_its_stop(stage: Stage) -> None:
    stage.on_phase["job"] = lambda _: stage.fault(after=10, vm=DEMO_INSTANCE, partition={"seconds": 3000})
    receipt = await stage.drive()
    assert (receipt.exit_code, receipt.outcome, receipt.cleanup) == (5, Outcome.INTERRUPTED, "confirmed")
    assert stage.status == "TERMINATED"
