"""The demo's proof holds only if every step is there, and after the one before it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mayfly.proof import Entry, Step, prove
from orchestrator.run import Outcome, Receipt, VmUse
from vm_agent.protocol import Mode

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def receipt() -> Receipt:
    return Receipt(
        "monday",
        Mode.RUN,
        Outcome.SUCCEEDED,
        0,
        "demo",
        "main:run",
        NOON,
        vm=VmUse("gpu-vm", "us-central1-a", "42"),
    )


def asked(verb: str, status: int = 200, body: Any = None) -> Entry:
    return {"kind": "request", "verb": verb, "status": status, "body": body}


def lease(phase: str, status: int = 200) -> Entry:
    items = [{"key": "other", "value": "x"}, {"key": "mayfly-lease", "value": json.dumps({"phase": phase})}]
    return asked("instances.setMetadata", status, {"fingerprint": "f", "items": items})


def published(attribute: str) -> Entry:
    return asked("instances.getGuestAttributes") | {"query": {"queryPath": attribute}}


def printed(text: str) -> Entry:
    return {"kind": "guest", "resource": "instances/gpu-vm", "event": "SerialOutput", "text": text}


GOOD = [
    lease("claimed"),
    asked("instances.setScheduling"),
    asked("instances.addAccessConfig"),
    asked("instances.start"),
    {"kind": "state", "resource": "instances/gpu-vm", "from": "STAGING", "to": "RUNNING"},
    lease("invoking"),
    published("mayfly/agent"),
    printed("run 4711 accepted: key=monday mode=run attempt=1\n"),
    printed("run 4711 SUCCEEDED\n"),
    asked("instances.stop"),
    {"kind": "state", "resource": "instances/gpu-vm", "from": "STOPPING", "to": "TERMINATED"},
    asked("instances.get"),
    asked("instances.deleteAccessConfig"),
    lease("free"),
]


def proof_of(entries: list[Entry]) -> list[Step]:
    history = [entry | {"at": (NOON + timedelta(seconds=index)).isoformat()} for index, entry in enumerate(entries)]
    return prove(history, receipt())


def test_a_run_as_it_should_be_is_proved() -> None:
    steps = proof_of(GOOD)
    assert all(step.at for step in steps)
    assert [step.at for step in steps] == sorted(step.at for step in steps if step.at)


@pytest.mark.parametrize("missing", [index for index in range(len(GOOD)) if index != 4])
def test_no_step_may_be_missing(missing: int) -> None:
    steps = proof_of([entry for index, entry in enumerate(GOOD) if index != missing])
    assert any(step.at is None for step in steps)


@pytest.mark.parametrize("early", [index for index in range(len(GOOD) - 1) if index not in {3, 4}])
def test_no_two_steps_may_change_places(early: int) -> None:
    swapped = [*GOOD[:early], GOOD[early + 1], GOOD[early], *GOOD[early + 2 :]]
    assert any(step.at is None for step in proof_of(swapped))


def test_a_request_that_was_refused_proves_nothing() -> None:
    steps = proof_of([lease("claimed", status=412), *GOOD[1:]])
    assert steps[0].at is None


def test_the_job_of_another_run_proves_nothing() -> None:
    others = [
        entry | {"text": entry["text"].replace("monday", "sunday")} if "text" in entry else entry for entry in GOOD
    ]
    assert any(step.at is None for step in proof_of(others))


def test_a_boot_report_is_no_certificate() -> None:
    others = [published("mayfly/boot") if "query" in entry else entry for entry in GOOD]
    assert [step.what for step in proof_of(others) if step.at is None] == ["agent's certificate read"]
