"""Instances come and go: what shows in the middle, what waits its turn, and what Google does by itself."""

from typing import Any

import pytest

from gcp_emulator.instance_spec import merged
from gcp_emulator.knobs import Knobs
from gcp_emulator.seed import AddressSeed, BucketSeed, InstanceSeed, Seed, TemplateSeed
from gcp_emulator.wire import EraseDisk, PressPowerButton, ShutDown
from tests.unit.emulator.inside import ADDRESS, REGION, SOME_TIME, VM, ZONE, Inside

NEW = f"{ZONE}/instances/new-vm"
PROPERTIES: dict[str, Any] = {
    "machineType": "e2-medium",
    "disks": [{"boot": True, "autoDelete": True}],
    "networkInterfaces": [{}],
    "metadata": {"items": [{"key": "startup-script", "value": "true"}]},
}
WORLD = Seed(
    instances=(InstanceSeed("gpu-vm"),),
    addresses=(AddressSeed("gpu-ip"),),
    templates=(TemplateSeed("worker", PROPERTIES),),
    buckets=(BucketSeed("state"),),
)
INSERT = f"{ZONE}/instances?sourceInstanceTemplate=global/instanceTemplates/worker"


def a_body(**more: Any) -> dict[str, Any]:
    return {"name": "new-vm", **more}


def at(ip: str) -> list[dict[str, Any]]:
    return [{"accessConfigs": [{"type": "ONE_TO_ONE_NAT", "natIP": ip}]}]


def operation(inside: Inside, begun: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = inside.get(f"{ZONE}/operations/{begun['name']}")
    return shown


def codes(shown: dict[str, Any]) -> list[str]:
    return [error["code"] for error in shown.get("error", {}).get("errors", [])]


def test_a_new_vm_is_there_at_once_and_its_operation_ends_when_it_runs() -> None:
    inside = Inside(WORLD, latency=SOME_TIME)
    begun = inside.post(INSERT, a_body())
    seen = []
    for _ in range(4):
        seen.append((inside.get(NEW)["status"], operation(inside, begun)["status"]))
        inside.passes(1)
    assert seen == [("PROVISIONING", "RUNNING"), ("STAGING", "RUNNING"), ("STAGING", "RUNNING"), ("RUNNING", "DONE")]


def test_a_vm_under_way_holds_its_name_and_its_address() -> None:
    inside = Inside(WORLD, latency=SOME_TIME)
    inside.post(INSERT, a_body(networkInterfaces=at(inside.get(ADDRESS)["address"])))
    assert inside.get(ADDRESS)["status"] == "IN_USE"
    assert inside.refused("POST", INSERT, a_body())[:2] == (409, "alreadyExists")


def test_a_stockout_shows_a_vm_that_then_never_was() -> None:
    inside = Inside(WORLD, latency=SOME_TIME)
    stockout = {"code": "ZONE_RESOURCE_POOL_EXHAUSTED", "status": 503}
    inside.post("/_emulator/faults", {"on": "instances.insert", "operation_error": stockout})
    begun = inside.post(INSERT, a_body(networkInterfaces=at(inside.get(ADDRESS)["address"])))
    assert inside.get(NEW)["status"] == "PROVISIONING"
    inside.passes(1)
    assert codes(operation(inside, begun)) == ["ZONE_RESOURCE_POOL_EXHAUSTED"]
    assert inside.refused("GET", NEW)[0] == 404
    assert inside.get(ADDRESS)["status"] == "RESERVED"
    assert inside.refused("GET", f"{ZONE}/disks/new-vm")[0] == 404


def test_an_address_in_use_may_be_told_by_the_operation() -> None:
    inside = Inside(WORLD, knobs=Knobs(address_in_use="operation"))
    ip = inside.get(ADDRESS)["address"]
    inside.post(f"{VM}/addAccessConfig?networkInterface=nic0", {"natIP": ip})
    begun = inside.post(INSERT, a_body(networkInterfaces=at(ip)))
    assert codes(operation(inside, begun)) == ["IP_IN_USE_BY_ANOTHER_RESOURCE"]
    assert inside.get(ADDRESS)["users"][0].endswith("/gpu-vm")
    assert inside.refused("GET", NEW)[0] == 404


def test_a_deletion_waits_for_the_guest_and_then_erases_the_disk() -> None:
    inside = Inside(WORLD, guests=True)
    inside.post(INSERT, a_body())
    _, begun = inside.say("DELETE", NEW)
    effects = inside.passes(100)
    assert [type(effect) for effect in effects] == [PressPowerButton]
    assert (inside.get(NEW)["status"], operation(inside, begun)["status"]) == ("STOPPING", "RUNNING")
    inside.guest(ShutDown(), NEW)
    inside.passes(0)
    assert inside.effects[-1] == EraseDisk(NEW)
    assert operation(inside, begun)["status"] == "DONE"
    assert inside.refused("GET", NEW)[0] == 404


def test_a_vm_is_deleted_while_it_starts() -> None:
    inside = Inside(WORLD, latency=SOME_TIME)
    inside.post(INSERT, a_body())
    inside.say("DELETE", NEW)
    inside.passes(60)
    assert inside.refused("GET", NEW)[0] == 404


def test_what_was_asked_of_a_vm_before_it_was_deleted_does_not_happen_to_its_successor() -> None:
    inside = Inside(WORLD, latency=SOME_TIME, knobs=Knobs(start_while_stopping="queue"))
    inside.post(INSERT, a_body())
    inside.passes(10)
    _, deletion = inside.say("DELETE", NEW)
    late = [inside.post(f"{NEW}/start"), inside.say("DELETE", NEW)[1]]
    inside.passes(4)
    ip = inside.get(ADDRESS)["address"]
    late.append(inside.post(f"{NEW}/addAccessConfig?networkInterface=nic0", {"natIP": ip}))
    inside.passes(1)
    inside.post(INSERT, a_body())
    inside.passes(10)
    assert codes(operation(inside, deletion)) == []
    assert [codes(operation(inside, each)) for each in late] == [["RESOURCE_NOT_FOUND"]] * 3
    assert inside.get(NEW)["status"] == "RUNNING"
    assert inside.get(ADDRESS)["status"] == "RESERVED"


def test_google_deletes_a_vm_at_the_end_of_its_time() -> None:
    inside = Inside(WORLD)
    limit = {"maxRunDuration": {"seconds": "60"}, "instanceTerminationAction": "DELETE"}
    inside.post(INSERT, a_body(scheduling=limit))
    inside.passes(59)
    assert inside.get(NEW)["status"] == "RUNNING"
    inside.passes(1)
    assert inside.refused("GET", NEW)[0] == 404
    [ended] = [one for one in inside.get(f"{ZONE}/operations")["items"] if one["user"] == "system"]
    assert ended["operationType"] == Knobs().max_run_operation


def test_a_vm_that_google_will_delete_is_only_stopped_when_its_guest_switches_off() -> None:
    inside = Inside(WORLD)
    limit = {"maxRunDuration": {"seconds": "600"}, "instanceTerminationAction": "DELETE"}
    inside.post(INSERT, a_body(scheduling=limit))
    inside.post(f"{NEW}/stop")
    inside.passes(1200)
    assert inside.get(NEW)["status"] == "TERMINATED"


def test_a_template_and_an_address_are_deleted_once() -> None:
    inside = Inside(WORLD, latency=SOME_TIME)
    _, first = inside.say("DELETE", ADDRESS)
    _, second = inside.say("DELETE", ADDRESS)
    inside.passes(5)
    shown = [inside.get(f"{REGION}/operations/{each['name']}") for each in (first, second)]
    assert [codes(each) for each in shown] == [[], ["RESOURCE_NOT_FOUND"]]


@pytest.mark.parametrize(
    ("template", "body", "result"),
    [
        ({"a": 1, "b": 2}, {"b": 3}, {"a": 1, "b": 3}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}}, {"a": {"x": 1, "y": 3}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": 1, "b": 2}, {"a": None}, {"b": 2}),
        ({"a": 1}, {"b": {"c": None, "d": 1}}, {"a": 1, "b": {"d": 1}}),
        ({"a": {"x": 1}}, {"a": "plain"}, {"a": "plain"}),
    ],
)
def test_a_body_is_a_merge_patch_over_its_template(template: Any, body: Any, result: Any) -> None:
    assert merged(template, body) == result


def test_an_insert_or_a_deletion_may_end_well_and_have_had_no_effect() -> None:
    inside = Inside(WORLD)
    inside.post(
        "/_emulator/faults", [{"on": verb, "operation_without_effect": {}} for verb in ("*.insert", "*.delete")]
    )
    begun = inside.post(INSERT, a_body())
    assert (operation(inside, begun)["status"], codes(operation(inside, begun))) == ("DONE", [])
    assert inside.refused("GET", NEW)[0] == 404
    inside.post(INSERT, a_body())
    _, begun = inside.say("DELETE", NEW)
    assert (operation(inside, begun)["status"], inside.get(NEW)["status"]) == ("DONE", "RUNNING")


@pytest.mark.parametrize(("action", "status"), [("STOP", 200), ("DELETE", 404)])
def test_a_preempted_vm_is_stopped_or_deleted_as_its_scheduling_says(action: str, status: int) -> None:
    inside = Inside(WORLD)
    inside.post(INSERT, a_body(scheduling={"provisioningModel": "SPOT", "instanceTerminationAction": action}))
    inside.post("/_emulator/faults", {"preempt": {}, "vm": "new-vm"})
    assert inside.say("GET", NEW)[0] == status


def test_a_stale_read_shows_a_vm_that_is_gone() -> None:
    inside = Inside(WORLD)
    inside.post(INSERT, a_body())
    inside.post("/_emulator/faults", {"on": "instances.get", "stale": {"seconds": 5}})
    inside.passes(10)
    inside.say("DELETE", NEW)
    inside.passes(2)
    assert [inside.say("GET", NEW)[0] for _ in range(2)] == [200, 404]
