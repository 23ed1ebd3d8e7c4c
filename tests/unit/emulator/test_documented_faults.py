"""Every example of docs/emulator.md is a fault that happens, in a world where a VM lives through a day."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gcp_emulator.fault_kinds import KINDS
from gcp_emulator.seed import Seed
from gcp_emulator.wire import Reply
from tests.unit.emulator.inside import ADDRESS, DEMO, SOME_TIME, VM, Inside
from tests.unit.emulator.running_jobs import JOB, RunningJobs, a_job
from tests.unit.emulator.test_scheduler import JOBS, a_schedule

PAGE = Path(__file__).parents[3] / "docs" / "emulator.md"
EXAMPLES = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)]


def the_world() -> Seed:
    metadata = {**DEMO.instances[0].metadata, "mayfly-lease": "{}"}
    spot = {"provisioningModel": "SPOT"}
    return replace(DEMO, instances=(replace(DEMO.instances[0], metadata=metadata, scheduling=spot),))


def lives_through_a_day(inside: Inside) -> None:
    """What anybody does with a VM, who does not mind when something fails."""
    nat = {"natIP": inside.cloud.world.addresses[ADDRESS].ip}
    for _ in range(3):
        for step in ("start", "metadata", "attach", "write", "stop"):
            if step == "metadata":
                for _ in range(3):
                    inside.inquire("instance/id")
            elif step == "attach":
                inside.ask("POST", f"/compute/v1/{VM}/addAccessConfig?networkInterface=nic0", nat)
            elif step == "write":
                reply = inside.ask("GET", f"/compute/v1/{VM}")
                shown = json.loads(reply.body)["metadata"] if isinstance(reply, Reply) and reply.status == 200 else {}
                body = {"fingerprint": shown.get("fingerprint", ""), "items": shown.get("items", [])}
                inside.ask("POST", f"/compute/v1/{VM}/setMetadata", body)
            else:
                inside.ask("POST", f"/compute/v1/{VM}/{step}")
            inside.ask("GET", f"/compute/v1/{ADDRESS}")
            inside.passes(60)


@pytest.mark.parametrize("rule", EXAMPLES, ids=lambda rule: next(name for name in rule if name in KINDS))
def test_an_example_of_the_page_happens(rule: dict[str, Any]):
    inside = Inside(the_world(), latency=SOME_TIME)
    inside.post(JOBS, a_schedule(schedule="*/5 * * * *"))
    RunningJobs(inside).run()
    if "on" not in rule and not KINDS.keys() & rule.keys() & {"boot_failure", "disk_full", "stockout"}:
        inside.post(f"{VM}/start")
        inside.passes(10)
    inside.post("/_emulator/faults", rule)
    inside.say("PATCH", JOB, a_job())
    lives_through_a_day(inside)
    [shown] = inside.get("/_emulator/faults")["faults"]
    assert shown["spent"], shown
    told = [entry for entry in inside.get("/_emulator/history")["entries"] if entry["kind"] == "fault"]
    assert {entry["rule"] for entry in told} == {shown["id"]}


def test_every_kind_has_its_example():
    assert {name for rule in EXAMPLES for name in rule if name in KINDS} == set(KINDS)
