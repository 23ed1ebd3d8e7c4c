"""The doctor, in a project that a deploy has made: all is well, and then one thing after another is not."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gcp_emulator.exports import demo_exports, exports
from mayfly.deploy.config import read_config
from mayfly.doctor.examine import CHECKS, Examined, examine
from mayfly.doctor.findings import Level
from orchestrator.clock import SystemClock
from orchestrator.google_credentials import SCOPE
from orchestrator.settings import Settings
from tests.contract.wires import Asked, passed_on, serving
from tests.journeys.deploying import IMAGE
from tests.journeys.illnesses import ILLNESSES, SCHEDULER
from tests.journeys.lab import CHECKOUT
from tests.journeys.ward import COMPUTE, RUN, Ward, a_ward, write_config


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    """One for all of them: each puts right what it did, and says so if it could not."""
    folder = tmp_path_factory.mktemp("ward")
    with a_ward(folder / "disks") as ward, pytest.MonkeyPatch.context() as patch:
        for name in Settings.model_fields:
            patch.delenv(name.upper(), raising=False)
        for name in exports(ward.port).keys() - demo_exports().keys():
            patch.setenv(name, exports(ward.port)[name])
        patch.chdir(folder)
        write_config(folder)
        ward.deploy()
        ward.send("_emulator/images", {"uri": IMAGE})
        yield ward


def examined(clock: SystemClock | None = None) -> list[Examined]:
    return asyncio.run(examine(lambda: read_config(os.environ), clock or SystemClock()))


def wrong(found: list[Examined]) -> list[Examined]:
    return [one for one in found if one.finding.level not in {Level.OK, Level.SKIPPED}]


def test_what_a_deploy_has_made_is_well_in_every_respect(deployed: Ward):
    found = examined()
    assert [one.check for one in found] == ["settings", *(check.name for check in CHECKS)]
    assert {one.check: one.finding for one in found if one.finding.level is not Level.OK} == {}


@pytest.mark.parametrize("name", ILLNESSES)
def test_one_thing_that_is_wrong_is_one_line_with_its_mend_and_nothing_else(deployed: Ward, name: str):
    illness = ILLNESSES[name]
    illness.plant(deployed)
    try:
        found = wrong(examined())
    finally:
        illness.mend(deployed)
    assert {(one.check, one.finding.level.value) for one in found} == {illness.line}, found
    assert illness.says in found[0].finding.says
    assert found[0].finding.mend
    assert wrong(examined()) == [], "it was mended"


def test_wrong_settings_are_all_there_is_to_tell(deployed: Ward, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MAYFLY_VM_DISK_GB", "small")
    (told,) = examined()
    assert (told.check, told.finding.level) == ("settings", Level.FAIL)
    assert "MAYFLY_VM_DISK_GB=small" in told.finding.says


def test_who_is_nobody_to_google_hears_how_to_become_somebody(deployed: Ward, monkeypatch: pytest.MonkeyPatch):
    for name in exports(deployed.port):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("HOME", str(Path.cwd()))
    settings, credentials = examined()
    assert (settings.finding.level, credentials.check, credentials.finding.level) == (
        Level.OK,
        "credentials",
        Level.FAIL,
    )
    assert credentials.finding.command == "gcloud auth application-default login"


@pytest.mark.parametrize(("ahead", "says"), [(-90, "90 s behind Google's"), (90, "90 s ahead of Google's")])
def test_a_clock_that_goes_wrong_is_told(deployed: Ward, ahead: int, says: str):
    class Wrong(SystemClock):
        def now(self) -> datetime:
            return super().now() + timedelta(seconds=ahead)

    (told,) = wrong(examined(Wrong()))
    assert (told.check, told.finding.level) == ("clock", Level.WARN)
    assert told.finding.says.startswith("This machine's clock is")
    seconds = int(told.finding.says.split()[4])
    assert abs(seconds - abs(ahead)) <= 30, "as busy as this machine may be"
    assert says.partition(" s ")[2] in told.finding.says


def test_a_tick_that_started_nothing_is_told_with_its_reason(deployed: Ward):
    policy = {"policy": {"bindings": []}}
    deployed.send(f"{RUN}/mayfly:setIamPolicy", policy)
    deployed.send(f"{SCHEDULER}/mayfly-daily:run", {})
    try:
        (told,) = wrong(examined())
    finally:
        deployed.send(f"{SCHEDULER}/mayfly-daily", method="DELETE")  # first: it would try again, and succeed
        deployed.deploy()
    assert (told.check, told.finding.level) == ("schedules", Level.FAIL)
    assert "run.jobs.run" in told.finding.says
    assert wrong(examined()) == []


def test_an_address_of_yours_is_none_to_release(deployed: Ward, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ADDRESS_POLICY", "release")
    yours, role = wrong(examined())
    assert (yours.check, role.check) == ("address", "job-permissions")
    assert "gpu-ip is yours, and with ADDRESS_POLICY=release a run would have to delete it" in yours.finding.says
    assert "compute.addresses.create" in role.finding.says


def test_what_an_account_of_yours_may_do_by_other_ways_than_the_projects_policy_is_not_taken_for_a_failure(
    deployed: Ward,
):
    deployed.send("v1/projects/demo/serviceAccounts", {"accountId": "your-account"})
    deployed.job(lambda task: task.update(serviceAccount="your-account@demo.iam.gserviceaccount.com"))
    try:
        found = wrong(examined())
    finally:
        deployed.deploy()
        deployed.send("v1/projects/demo/serviceAccounts/your-account@demo.iam.gserviceaccount.com", method="DELETE")
    caller, *unseen = found
    assert (caller.check, caller.finding.level) == ("callers", Level.FAIL)
    assert {(one.check, one.finding.level) for one in unseen} == {("job-permissions", Level.WARN)}
    assert [one.finding.says.partition(" on ")[2].partition(".")[0] for one in unseen] == [
        "projects/demo",
        "mayfly-vm@demo",
        "projects/demo/secrets/notify-url",
    ]
    assert wrong(examined()) == []


@pytest.mark.parametrize("secret", ["exchange/versions/1", "projects/demo/secrets/exchange/1"])
def test_a_secret_is_found_however_it_is_named(deployed: Ward, monkeypatch: pytest.MonkeyPatch, secret: str):
    monkeypatch.setenv("AUTH", "api-key")
    monkeypatch.setenv("AGENT_KEY_SECRET", secret)
    monkeypatch.setenv("MAYFLY_JOB_SECRETS", json.dumps({"HOOK": secret}))
    before = len(deployed.history("request"))
    found = examined()
    told = {one.check: one.finding for one in found}
    assert (told["secrets"].level, told["permissions"].level) == (Level.OK, Level.OK)
    asked = [one["path"] for one in deployed.history("request")[before:] if one["method"] == "POST"]
    assert any(path.endswith("projects/demo/secrets/exchange:testIamPermissions") for path in asked), asked
    lacking = [one.finding.says for one in found if one.check == "job-permissions"]
    assert [one.partition("@")[0] for one in lacking] == ["mayfly-orchestrator", "mayfly-sweeper"]
    assert all(
        one.endswith("lacks secretmanager.versions.access on projects/demo/secrets/exchange.") for one in lacking
    )


def test_a_project_that_is_not_there_is_told_and_nothing_is_taken_for_well(
    deployed: Ward, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PROJECT_ID", "no-such-project")
    found = {one.check: one.finding for one in examined()}
    at_ease = {name for name, finding in found.items() if finding.level is Level.OK}
    assert at_ease == {"settings", "credentials"}
    assert found["project"].level is Level.FAIL
    assert found["project"].says.startswith("There is no project no-such-project, or we may not see it.")


def test_a_template_is_looked_at_as_a_vm_is(deployed: Ward, monkeypatch: pytest.MonkeyPatch):
    properties = {
        "machineType": "n1-standard-4",
        "disks": [{"boot": True}],
        "networkInterfaces": [{"network": "projects/demo/global/networks/default"}],
        "serviceAccounts": [{"email": "mayfly-vm@demo.iam.gserviceaccount.com", "scopes": [SCOPE]}],
        "tags": {"items": ["mayfly"]},
    }
    for name, value in {"TEMPLATE": "worker", "INSTANCE": "worker-1", "STATE_URL": "gs://demo-state"}.items():
        monkeypatch.setenv(name, value)
    assert {one.check for one in wrong(examined())} == {"vm", "job-settings"}
    deployed.send(f"{COMPUTE}/global/instanceTemplates", {"name": "worker", "properties": properties})
    found = {one.check: one.finding for one in wrong(examined())}
    of_the_template = {"guest-attributes", "startup-script", "callers"}
    assert found.keys() == of_the_template | {"job-settings", "job-permissions"}
    assert "compute.instances.create" in found["job-permissions"].says


def test_a_job_in_the_vms_own_network_is_let_in_from_its_subnetwork_alone(
    deployed: Ward, monkeypatch: pytest.MonkeyPatch
):
    firewall = f"{COMPUTE}/global/firewalls/mayfly-agent"
    monkeypatch.setenv("AGENT_REACH", "internal")
    deployed.deploy()
    try:
        assert wrong(examined()) == []
        told = next(one.finding.says for one in examined() if one.check == "firewall")
        assert told == "Port 8000 is open to Cloud Run from the subnetwork default."
        deployed.send(firewall, {"sourceRanges": ["10.200.0.0/16"]}, "PATCH")
        (closed,) = wrong(examined())
    finally:
        monkeypatch.delenv("AGENT_REACH")
        deployed.deploy()
    assert closed.finding.says == (
        "No firewall rule lets Cloud Run from the subnetwork default reach port 8000 of gpu-vm on the network default."
    )
    assert "--source-ranges 10.128.0.0/20" in closed.finding.command
    assert wrong(examined()) == []


# What no request here can bring about: another Google might show it. Of the same length, for the answer's head says it.
SHOWN = {
    ("vm-maintenance", "fail"): (b'"onHostMaintenance":"TERMINATE"', b'"onHostMaintenance":"MIGRATE"  '),
    ("vm-account", "warn"): (b'/auth/cloud-platform"]', b'/auth/cloud-billing" ]'),
    ("address", "fail"): (b'"addressType":"EXTERNAL"', b'"addressType":"INTERNAL"'),
}


@pytest.mark.parametrize("line", SHOWN)
async def test_what_only_google_can_show_is_told_too(
    deployed: Ward, line: tuple[str, str], monkeypatch: pytest.MonkeyPatch
):
    found = wrong(await examined_as_shown(deployed, monkeypatch, *SHOWN[line]))
    assert [(one.check, one.finding.level) for one in found] == [line]


async def test_a_network_that_another_project_shares_is_not_taken_for_closed(
    deployed: Ward, monkeypatch: pytest.MonkeyPatch
):
    truth, shared = b"projects/demo/global/networks/", b"projects/host/global/networks/"
    found = await examined_as_shown(deployed, monkeypatch, truth, shared)
    assert wrong(found) == []
    (told,) = [one.finding for one in found if one.check == "firewall"]
    assert (told.level, told.says) == (
        Level.SKIPPED,
        "The network default is of the project host, as its firewall rules are.",
    )


async def test_an_answer_that_nobody_thought_of_fails_one_check_and_keeps_nobody_from_the_others(
    deployed: Ward, monkeypatch: pytest.MonkeyPatch
):
    found = await examined_as_shown(deployed, monkeypatch, b'"limit":', b'"lumit":')
    (failed,) = wrong(found)
    assert (failed.check, failed.finding.level) == ("gpu-quota", Level.FAIL)
    assert failed.finding.says == "It could not be told (KeyError: 'limit')."
    assert [one.check for one in found] == ["settings", *(check.name for check in CHECKS)]


async def examined_as_shown(
    deployed: Ward, monkeypatch: pytest.MonkeyPatch, truth: bytes, shown: bytes
) -> list[Examined]:
    """By a Compute Engine that shows that in place of the truth."""
    told = []

    async def say(asked: Asked) -> bytes:
        answer = await passed_on(asked, deployed.port)
        told.append(truth in answer)
        return answer.replace(truth, shown)

    async with serving(say) as url:
        monkeypatch.setenv("COMPUTE_EMULATOR_HOST", urlsplit(url).netloc)
        found = await examine(lambda: read_config(os.environ), SystemClock())
    assert any(told), "the emulator does not say that any more"
    return found


def test_the_command_changes_nothing_and_its_exit_code_says_whether_something_fails(deployed: Ward):
    before = len(deployed.history("request"))
    assert json.loads(doctor(code=0))["healthy"]
    asked = [one["verb"] for one in deployed.history("request")[before:] if one["method"] != "GET"]
    assert {verb.rpartition(".")[2] for verb in asked} == {"testIamPermissions", "getIamPolicy"}
    deployed.scheduling(automaticRestart=True)
    assert json.loads(doctor(code=0))["healthy"], "a warning is no failure"
    deployed.metadata(startup_script=None)
    told = json.loads(doctor(code=1))
    (failed,) = [one for one in told["checks"] if one["level"] == "fail"]
    assert failed == {
        "check": "startup-script",
        "level": "fail",
        "says": "gpu-vm has no startup script: nothing starts the agent on it.",
        "mend": "Give it Mayfly's. It counts from the next boot.",
        "command": "gcloud compute instances add-metadata gpu-vm --zone us-central1-a --project demo "
        "--metadata-from-file startup-script=startup.sh",
    }
    deployed.deploy()


def doctor(*, code: int) -> str:
    command = (sys.executable, "-m", "mayfly", "doctor", "--json")
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == code, ended.stderr
    return ended.stdout
