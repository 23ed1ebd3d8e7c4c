"""From settings to a run: what makes it one, and who holds it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.policy import Policy
from orchestrator.run import Run
from orchestrator.settings import Settings
from orchestrator.wiring import make_run, policy_of
from vm_agent.protocol import Mode

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ON_CLOUD_RUN = {"cloud_run_job": "mayfly", "cloud_run_execution": "mayfly-x7k2p", "cloud_run_task_index": 3}


def settings(**fields: Any) -> Settings:
    named = {"project_id": "demo", "zone": "us-central1-a", "instance": "gpu-vm", "static_name": "gpu-ip"}
    return Settings(_env_file=None, **named | fields)  # type: ignore[call-arg]


def run(key: str | None = None, **fields: Any) -> Run:
    chosen = settings(**fields)
    return make_run(chosen, policy_of(chosen), mode=Mode.RUN, job=None, params={}, key=key, now=NOON)


def test_all_attempts_of_a_cloud_run_task_are_one_run() -> None:
    first, second = run(**ON_CLOUD_RUN), run(**ON_CLOUD_RUN, cloud_run_task_attempt=1)
    assert first.key == second.key == "mayfly-x7k2p-3"
    assert first.nonce != second.nonce
    assert "attempt 1" in second.holder


def test_a_key_that_is_given_is_the_key() -> None:
    assert run("night", **ON_CLOUD_RUN).key == "night"


def test_without_any_each_run_is_its_own() -> None:
    assert run().key != run().key
    assert run().key.startswith("20260101-120000-")


def test_the_vms_limit_covers_boot_job_and_margin() -> None:
    ordered = run(timeout="2h", boot_timeout="3m")
    assert ordered.timeout == timedelta(hours=2)
    assert ordered.max_run == timedelta(minutes=3) + timedelta(hours=2) + Policy().boot_margin


def test_only_cloud_run_leaves_seconds_after_its_sigterm() -> None:
    assert policy_of(settings(**ON_CLOUD_RUN)).after_sigterm == Policy().after_sigterm
    assert policy_of(settings()).after_sigterm == Policy().down


@pytest.fixture(autouse=True)
def _nameless(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_a_user_without_a_name_can_run_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda _uid: {}["nobody"])
    assert run().holder.startswith("user ")
