"""The receipt of a sweep, for programs and for people."""

import io
import json
from dataclasses import replace
from datetime import timedelta

from rich.console import Console

from mayfly.swept import as_json, show
from orchestrator.run import PhaseTime
from orchestrator.swept import Finding, Standing, SweepReceipt
from tests.unit.orchestrator.sightings import NOON

RIGHT = Finding(
    "vm",
    "gpu-vm",
    "us-central1-a",
    Standing.ABANDONED,
    "Its owner is gone.",
    status="TERMINATED",
    id="4711",
    moves=("claim", "stop"),
    phases=(PhaseTime("stop", NOON + timedelta(seconds=1), 2.00049),),
    acted=True,
)
OWED = replace(RIGHT, name="other-vm", owed=True)
RECEIPT = SweepReceipt("demo", None, NOON, (RIGHT, OWED))
PAGE = "https://console.cloud.google.com/compute/instancesDetail/zones/us-central1-a/instances/other-vm?project=demo"


def shown(receipt: SweepReceipt) -> str:
    console = Console(file=io.StringIO(), width=120)
    show(receipt, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_json_has_everything_and_plain_values():
    fields = json.loads(as_json(RECEIPT, io.StringIO()))
    assert set(fields) == {
        "project",
        "zone",
        "started_at",
        "dry_run",
        "called_off",
        "exit_code",
        "cleanup",
        "findings",
        "unseen",
    }
    assert (fields["exit_code"], fields["cleanup"]) == (7, "owed")
    assert fields["findings"][0] == {
        "kind": "vm",
        "name": "gpu-vm",
        "place": "us-central1-a",
        "standing": "abandoned",
        "why": "Its owner is gone.",
        "status": "TERMINATED",
        "id": "4711",
        "moves": ["claim", "stop"],
        "phases": [{"name": "stop", "started": "2026-11-21T12:00:01.000+00:00", "seconds": 2.0}],
        "owed": False,
        "acted": True,
    }


def test_cloud_logging_gets_a_severity_and_a_message():
    fields = json.loads(as_json(RECEIPT, io.StringIO(), for_cloud_logging=True))
    assert fields["severity"] == "ERROR"
    assert fields["message"].startswith("Sweep: 1 put right, 1 abandoned. OWED, may still be on: other-vm")


def test_a_person_sees_what_is_owed_last_and_where_to_look():
    lines = shown(RECEIPT).splitlines()
    assert "gpu-vm" in lines[1]
    assert "claim, stop" in lines[1]
    assert "CLEAN-UP OWED" in lines[-2]
    assert lines[-1].strip() == PAGE


def test_a_dry_run_speaks_of_what_would_be_done_and_alarms_nobody():
    text = shown(replace(RECEIPT, dry_run=True))
    assert "would do" in text
    assert "Dry run of a sweep" in text
    assert "OWED" not in text


def test_nothing_found_is_one_line():
    assert shown(replace(RECEIPT, findings=())) == "Sweep: nothing of ours found.\n"
