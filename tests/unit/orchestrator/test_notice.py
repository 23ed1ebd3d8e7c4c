"""What is worth waking somebody for, and in which words."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.errors import Exit
from orchestrator.notice import notice_of_bug, notice_of_run, notice_of_sweep, sweep_sentence, sweep_severity
from orchestrator.run import Outcome, Receipt, VmUse
from orchestrator.swept import Finding, Standing, SweepReceipt
from tests.unit.orchestrator.sightings import NOON
from vm_agent.protocol import Mode

PAGE = "https://console.cloud.google.com/compute/instancesDetail/zones/us-central1-a/instances/gpu-vm?project=demo"


def a_receipt(outcome: Outcome, **changes: Any) -> Receipt:
    receipt = Receipt("monday", Mode.RUN, outcome, int(outcome.exit), "demo", "main:run", NOON)
    return replace(receipt, **{"vm": VmUse("gpu-vm", "us-central1-a", "4711")} | changes)


@pytest.mark.parametrize("outcome", Outcome)
def test_exits_5_and_7_are_told_and_no_others(outcome: Outcome):
    told = notice_of_run(a_receipt(outcome), "It ended.") is not None
    assert told == (outcome.exit in {Exit.INTERRUPTED, Exit.CLEANUP_OWED})


def test_what_may_be_on_is_told_with_its_page():
    text = notice_of_run(a_receipt(Outcome.CLEANUP_OWED, cleanup="owed"), "gpu-vm was not seen off.")
    assert text is not None
    assert "run monday (exit 7)" in text
    assert "May still be on, and cost money: gpu-vm in us-central1-a." in text
    assert text.endswith(PAGE)


def test_a_vm_that_nobody_knows_is_looked_for_in_its_project():
    text = notice_of_run(a_receipt(Outcome.CLEANUP_OWED, cleanup="owed", vm=None), "?")
    assert text is not None
    assert text.endswith("https://console.cloud.google.com/compute/instances?project=demo")


def test_a_bug_is_told_without_what_it_says():
    text = notice_of_bug("demo", "run monday", ValueError("https://hooks.slack.com/services/secret"))
    assert "ValueError" in text
    assert "secret" not in text


def test_nobody_is_called_by_what_a_job_says():
    text = notice_of_run(a_receipt(Outcome.INTERRUPTED), "<!channel> <users/all> <https://evil|click>")
    assert text is not None
    assert "<" not in text
    assert ">" not in text


def test_a_notice_is_short_whatever_it_is_about():
    text = notice_of_run(a_receipt(Outcome.INTERRUPTED), "x" * 100_000)
    assert text is not None
    assert len(text) < 4000


def a_finding(standing: Standing = Standing.ABANDONED, **changes: Any) -> Finding:
    return replace(Finding("vm", "gpu-vm", "us-central1-a", standing, "Its owner is gone."), **changes)


def a_sweep(*findings: Finding, **changes: Any) -> SweepReceipt:
    return replace(SweepReceipt("demo", None, NOON, findings), **changes)


SWEEPS = {
    "nothing there": (a_sweep(), False, "INFO", 0),
    "at rest": (a_sweep(a_finding(Standing.AT_REST)), False, "INFO", 0),
    "a live run": (a_sweep(a_finding(Standing.LIVE)), False, "INFO", 0),
    "on by hand": (a_sweep(a_finding(Standing.ON_BY_HAND)), False, "WARNING", 0),
    "an idle address": (a_sweep(a_finding(Standing.UNUSED)), False, "WARNING", 0),
    "put right": (a_sweep(a_finding(acted=True)), True, "WARNING", 0),
    "owed": (a_sweep(a_finding(acted=True, owed=True)), True, "ERROR", 7),
    "stuck": (a_sweep(a_finding(Standing.STUCK, owed=True)), True, "ERROR", 7),
    "not listed": (a_sweep(unseen=("us-central1-a",)), True, "ERROR", 7),
    "would act": (a_sweep(a_finding(owed=True), dry_run=True), False, "WARNING", 7),
    "called off, nothing touched": (a_sweep(called_off=True), False, "INFO", 143),
    "called off, owed": (a_sweep(a_finding(acted=True, owed=True), called_off=True), True, "ERROR", 143),
}


@pytest.mark.parametrize("case", SWEEPS)
def test_a_sweep_is_told_if_it_acted_or_left_something(case: str):
    receipt, told, severity, code = SWEEPS[case]
    assert (notice_of_sweep(receipt) is not None) == told
    assert (sweep_severity(receipt), receipt.exit_code) == (severity, code)


def test_what_is_owed_comes_first_with_its_page():
    text = notice_of_sweep(a_sweep(a_finding(name="done", acted=True), a_finding(owed=True), unseen=("us-east1-b",)))
    assert text is not None
    lines = text.splitlines()
    assert "1 put right, 1 abandoned." in lines[0]
    assert "OWED, may still be on: gpu-vm in us-central1-a. Not seen: us-east1-b." in lines[0]
    assert lines[1].startswith("- OWED: gpu-vm")
    assert lines[2].strip() == PAGE
    assert lines[3].startswith("- done")


def test_a_hundred_vms_are_not_a_hundred_lines():
    text = notice_of_sweep(a_sweep(*(a_finding(name=f"vm-{n}", acted=True) for n in range(100))))
    assert text is not None
    assert text.endswith("and 90 more")


def test_a_sweep_that_found_nothing_says_so():
    assert sweep_sentence(a_sweep()) == "Sweep: nothing of ours found."
