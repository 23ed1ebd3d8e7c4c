"""maxRunDuration: Google's own end of a run."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from gcp_emulator.seed import InstanceSeed, Seed
from tests.unit.emulator.inside import NOON, SOME_TIME, VM, Inside

LIMITED = {"maxRunDuration": {"seconds": "600"}, "instanceTerminationAction": "STOP", "automaticRestart": False}


def termination(vm: Any) -> datetime | None:
    text = vm["resourceStatus"]["scheduling"].get("terminationTimestamp")
    return datetime.fromisoformat(text) if text else None


def test_a_run_ends_by_itself_when_its_duration_is_over():
    inside = Inside(latency=SOME_TIME)
    inside.post(f"{VM}/setScheduling", LIMITED)
    inside.passes(1)
    inside.post(f"{VM}/start")
    inside.passes(3)
    assert termination(inside.vm()) == NOON + timedelta(seconds=4 + 600)  # counted from RUNNING
    inside.passes(599)
    assert inside.status() == "RUNNING"
    inside.passes(1)
    assert inside.status() == "STOPPING"
    inside.passes(10)
    assert inside.status() == "TERMINATED"
    assert termination(inside.vm()) is None


def test_each_run_has_the_whole_duration_again():
    inside = Inside(Seed(instances=(InstanceSeed("gpu-vm", status="RUNNING", scheduling=LIMITED),)))
    inside.passes(500)
    inside.post(f"{VM}/stop")
    inside.post(f"{VM}/start")
    inside.passes(599)
    assert inside.status() == "RUNNING"
    inside.passes(1)
    assert inside.status() == "TERMINATED"


def test_scheduling_is_changed_only_on_a_stopped_vm():
    inside = Inside()
    inside.post(f"{VM}/start")
    status, reason, message = inside.refused("POST", f"{VM}/setScheduling", LIMITED)
    assert (status, reason) == (400, "invalidResourceUsage")
    assert "must be stopped" in message


def test_a_start_that_overtakes_set_scheduling_makes_its_operation_fail():
    inside = Inside(latency=SOME_TIME)
    operation = inside.post(f"{VM}/setScheduling", LIMITED)
    inside.post(f"{VM}/start")
    inside.passes(1)
    assert inside.operation(operation)["error"]["errors"][0]["code"] == "RESOURCE_NOT_READY"
    assert "maxRunDuration" not in inside.vm()["scheduling"]


def test_what_set_scheduling_leaves_out_has_its_default_again():
    inside = Inside()
    inside.post(f"{VM}/setScheduling", LIMITED)
    assert inside.vm()["scheduling"]["maxRunDuration"] == {"seconds": "600"}
    inside.post(f"{VM}/setScheduling", {})
    scheduling = inside.vm()["scheduling"]
    assert scheduling["automaticRestart"] is True
    assert "maxRunDuration" not in scheduling


@pytest.mark.parametrize(
    "scheduling",
    [
        {"maxRunDuration": {"seconds": "29"}},
        {"maxRunDuration": {"seconds": str(121 * 24 * 3600)}},
        {"maxRunDuration": {"seconds": "60"}, "terminationTime": "2030-01-02T00:00:00Z"},
        {"terminationTime": "tomorrow"},
        {"maxRunDuration": {"seconds": "60"}, "instanceTerminationAction": "SUSPEND"},
    ],
)
def test_scheduling_that_google_refuses_is_refused(scheduling: Any):
    assert Inside().refused("POST", f"{VM}/setScheduling", scheduling)[:2] == (400, "invalid")


def test_a_gpu_cannot_migrate():
    inside = Inside(Seed(instances=(InstanceSeed("gpu-vm", gpu="nvidia-tesla-t4"),)))
    assert inside.vm()["scheduling"]["onHostMaintenance"] == "TERMINATE"
    message = inside.refused("POST", f"{VM}/setScheduling", {"onHostMaintenance": "MIGRATE"})[2]
    assert "Instances with guest accelerators do not support live migration." in message


def test_a_start_after_the_termination_time_is_refused():
    inside = Inside()
    inside.post(f"{VM}/setScheduling", {"terminationTime": "2030-01-01T12:10:00Z"})
    inside.passes(601)
    assert inside.refused("POST", f"{VM}/start")[:2] == (400, "invalid")
