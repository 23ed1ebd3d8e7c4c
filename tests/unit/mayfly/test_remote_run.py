"""What a run in Cloud Run is told, how it is found again by its key, and its receipt read back."""

import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from mayfly.executions import Execution, job_of
from mayfly.order import read_order
from mayfly.receipt import as_json, receipt_of
from mayfly.remote_run import RemoteOrder, arguments
from orchestrator.errors import BadUsage
from orchestrator.run import CopiedFile, Outcome, PhaseTime, Receipt, VmUse
from vm_agent.protocol import Mode

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
NO_FLAGS: dict[str, Any] = {"timeout": None, "out": None, "once-per": None}


def order(
    job: str | None = None, command: list[str] | None = None, flags: dict[str, Any] | None = None, **named: Any
) -> RemoteOrder:
    return RemoteOrder(read_order("test", job, command, **named), job, command, {**NO_FLAGS, **(flags or {})})


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (order(), ["test", "--key", "k"]),
        (
            order("main:run", set=["coin=BTC", "n=1"]),
            ["test", "main:run", "--key", "k", "--set", 'coin="BTC"', "--set", "n=1"],
        ),
        (order(command=["python", "--key", "x"]), ["test", "--key", "k", "--", "python", "--key", "x"]),
        (order("image:alpine", command=["true"]), ["test", "image:alpine", "--key", "k", "--", "true"]),
        (order(flags={"timeout": "2h", "zone": "z"}), ["test", "--key", "k", "--timeout", "2h", "--zone", "z"]),
    ],
)
def test_the_container_is_told_what_was_typed_and_its_key(wanted: RemoteOrder, told: list[str]):
    assert arguments(wanted, "k") == told


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (order(set=["n=1"]), ["test", "main:run", "--set", "coin=BTC", "--key", "k", "--set", "n=1"]),
        (order("main:other"), ["test", "main:other", "--key", "k"]),
    ],
)
def test_without_a_job_the_deployed_one_is_run_with_its_own_arguments(wanted: RemoteOrder, told: list[str]):
    assert arguments(wanted, "k", ["main:run", "--set", "coin=BTC"]) == told


def test_options_go_before_a_deployed_command():
    assert arguments(order(), "k", ["--", "python", "x"]) == ["test", "--key", "k", "--", "python", "x"]


def test_what_has_no_place_in_a_container_is_refused():
    with pytest.raises(BadUsage, match="--out names a folder"):
        arguments(order(flags={"out": "results"}), "k")
    dotted = RemoteOrder(read_order("run", None, None), None, None, NO_FLAGS)
    dotted.order.params["a.b"] = 1
    with pytest.raises(BadUsage, match="cannot go to a Cloud Run job"):
        arguments(dotted, "k")


@pytest.mark.parametrize(
    ("args", "key", "is_for"),
    [
        (("run", "--key", "monday"), "monday", True),
        (("run", "--key", "monday"), "mayfly-x7k2p-0", False),
        (("run",), "mayfly-x7k2p-0", True),
        (("run",), "mayfly-x7k2p", True),
        (("run",), "monday", False),
        (("run", "--", "tool", "--key", "monday"), "monday", False),
    ],
)
def test_an_execution_is_known_by_the_key_that_it_was_given_or_gives_itself(
    args: tuple[str, ...], key: str, is_for: bool
):
    one = Execution("mayfly-x7k2p", NOON, None, succeeded=False, cancelled=False, args=args, message="")
    assert one.is_for(key) is is_for


def test_an_executions_job_is_its_name_without_what_cloud_run_hangs_on_it():
    assert job_of("my-own-job-x7k2p") == "my-own-job"


@pytest.mark.parametrize("vm", [None, VmUse("gpu-vm", "us-central1-a", "7", 12.5, 3.0, 0.01, "USD")])
def test_a_receipt_survives_the_way_through_cloud_logging(vm: VmUse | None):
    receipt = Receipt(
        run_key="k",
        mode=Mode.TEST,
        outcome=Outcome.FAILED,
        exit_code=1,
        project="demo",
        job="main:test",
        started_at=NOON,
        detail="no such coin",
        result={"a": [1]},
        artifacts=(CopiedFile("a.txt", 3, "ff", "out/a.txt"),),
        phases=(PhaseTime("boot", NOON, 1.5),),
        vm=vm,
        address={"name": "gpu-ip", "ip": "1.2.3.4", "policy": "detach"},
    )
    printed = json.loads(as_json(receipt, io.StringIO(), for_cloud_logging=True))
    assert receipt_of({**printed, "something": "of a later release"}) == receipt


def test_a_result_that_no_entry_of_cloud_logging_holds_is_cut_there_and_nowhere_else():
    receipt = Receipt("k", Mode.RUN, Outcome.SUCCEEDED, 0, "demo", "main:run", NOON, result={"text": "é" * 600_000})
    line = as_json(receipt, io.StringIO(), for_cloud_logging=True)
    assert len(line.encode()) < 256 * 1024
    cut = receipt_of(json.loads(line))
    assert cut.result.startswith('{"text": "ééé')
    assert cut.result.endswith("(600,012 characters; Cloud Logging takes no more)")
    assert replace(cut, result=receipt.result) == receipt
    assert json.loads(as_json(receipt, io.StringIO()))["result"] == receipt.result
