"""History, state, seed and reset; and how long things take."""

from random import Random
from typing import Any

import pytest

from gcp_emulator.latency import BRISK, PROFILES, REALISTIC, BadLatencyError, latency_from_toml
from gcp_emulator.seed import DEMO_INSTANCE, InstanceSeed, Seed, demo_seed, seed_as_json, seed_from_json
from gcp_emulator.wire import Boot, EraseDisk, Forward, PullPlug, Unforward
from tests.unit.emulator.inside import ADDRESS, DEMO, VM, Inside
from tests.unit.emulator.running_jobs import RunningJobs


def test_the_history_tells_requests_operations_and_states_in_order():
    inside = Inside()
    inside.post(f"{VM}/start")
    told = inside.get("/_emulator/history")
    assert [(entry["kind"], entry.get("verb") or entry["to"]) for entry in told["entries"]] == [
        ("operation", "instances.start"),
        ("state", "PROVISIONING"),
        ("request", "instances.start"),
        ("state", "STAGING"),
        ("state", "RUNNING"),
        ("operation", "instances.start"),
    ]
    inside.vm()
    [later] = inside.get(f"/_emulator/history?since={told['next']}")["entries"]
    assert (later["verb"], later["status"], later["at"]) == ("instances.get", 200, "2030-01-01T12:00:00+00:00")


def test_the_history_keeps_the_bodies_of_requests():
    inside = Inside()
    inside.post(f"{VM}/addAccessConfig?networkInterface=nic0", {"name": "mine"})
    entry = next(one for one in inside.get("/_emulator/history")["entries"] if one["kind"] == "request")
    assert (entry["body"], entry["query"]) == ({"name": "mine"}, {"networkInterface": "nic0"})


def test_the_state_shows_what_exists():
    state = Inside().get("/_emulator/state")
    [vm] = state["instances"]
    assert (vm["name"], vm["status"], vm["internal_ip"], vm["external_ip"]) == (
        "gpu-vm",
        "TERMINATED",
        "127.33.27.2",
        None,
    )
    assert [address["name"] for address in state["addresses"]] == ["gpu-ip"]


def test_a_reset_brings_the_seed_back_and_leaves_no_guest_behind():
    inside = Inside()
    inside.post(f"{VM}/addAccessConfig?networkInterface=nic0", {"natIP": inside.get(ADDRESS)["address"]})
    inside.post(f"{VM}/start")
    inside.effects.clear()
    before = inside.cloud.changes
    inside.post("/_emulator/reset")
    assert inside.effects == [Unforward("127.33.27.128"), PullPlug(VM), EraseDisk(VM)]
    assert inside.cloud.changes > before
    assert inside.status() == "TERMINATED"
    assert inside.get(ADDRESS)["status"] == "RESERVED"


def test_a_seed_makes_another_world_with_running_guests():
    inside = Inside()
    seed = {
        "addresses": [{"name": "ip"}],
        "instances": [
            {"name": "gpu-vm", "status": "RUNNING", "address": "ip", "gpu": "nvidia-tesla-t4"},
            {"name": "other", "status": "RUNNING", "address": "ephemeral", "access_config": "external-nat"},
        ],
    }
    inside.post("/_emulator/seed", seed)
    assert [type(effect) for effect in inside.effects[-4:]] == [Forward, Forward, Boot, Boot]
    assert inside.get("projects/demo/regions/us-central1/addresses/ip")["status"] == "IN_USE"
    assert inside.vm()["guestAccelerators"][0]["acceleratorCount"] == 1
    assert list(inside.cloud.machines().values()) == ["127.33.27.2", "127.33.27.3"]


@pytest.mark.parametrize(
    "seed",
    [
        [],
        {"typo": []},
        {"instances": [{}]},
        {"instances": [{"name": "x", "zone": "mars-1a"}]},
        {"instances": [{"name": "x", "status": "STOPPING"}]},
        {"instances": [{"name": "x", "metadata": {"key": 1}}]},
        {"instances": [{"name": "x", "address": "none"}]},
        {"secrets": [{"id": "x", "project": "none"}]},
    ],
)
def test_a_seed_that_is_none_is_refused_and_changes_nothing(seed: Any):
    inside = Inside()
    assert inside.refused("POST", "/_emulator/seed", seed)[0] == 400
    assert inside.status() == "TERMINATED"


def test_a_seed_survives_its_json_form():
    assert seed_from_json(seed_as_json(DEMO)) == DEMO
    both = Seed(instances=(InstanceSeed("x", scheduling={"maxRunDuration": {"seconds": "60"}}),))
    assert seed_from_json(seed_as_json(both)) == both


def test_the_demo_seed_is_a_stopped_vm_with_its_startup_script():
    [vm] = demo_seed("#!/bin/sh\n", api_key="k", metadata={"mayfly-port": "8000"}).instances
    assert (vm.name, vm.status) == (DEMO_INSTANCE, "TERMINATED")
    assert vm.metadata["startup-script"] == "#!/bin/sh\n"
    assert vm.metadata["mayfly-port"] == "8000"


def test_two_clouds_with_the_same_seed_of_randomness_do_the_same():
    histories = []
    for _ in range(2):
        inside = Inside(latency=REALISTIC)
        inside.post(f"{VM}/start")
        inside.passes(60)
        inside.post(f"{VM}/stop")
        inside.passes(60)
        histories.append(inside.get("/_emulator/history"))
    assert histories[0] == histories[1]


def test_a_latency_file_changes_some_steps_of_a_profile():
    latency = latency_from_toml('base = "brisk"\nstopping = [5, 8]\nmetadata = 0.2\n')
    assert (latency.stopping, latency.metadata, latency.staging) == ((5, 8), (0.2, 0.2), BRISK.staging)
    assert 5 <= latency.draw("stopping", Random(0)).total_seconds() <= 8  # noqa: S311


@pytest.mark.parametrize("text", ["=", 'base = "slow"', "typo = 1", "boot = [3, 1]", "boot = -1", 'boot = "long"'])
def test_a_latency_file_that_is_none_says_what_is_wrong(text: str):
    with pytest.raises(BadLatencyError):
        latency_from_toml(text)


def test_the_profiles_are_those_of_the_command_line():
    assert list(PROFILES) == ["instant", "brisk", "realistic"]
    start = [sum(bounds) for bounds in zip(REALISTIC.provisioning, REALISTIC.staging, strict=True)]
    assert start == [8, 12]


def test_the_state_has_executions_without_what_their_containers_are_told():
    jobs = RunningJobs(container={"env": [{"name": "KEY", "value": "a plain word"}]})
    name = jobs.run()
    state = jobs.inside.get("/_emulator/state")
    [execution] = state["executions"]
    assert (execution["name"], execution["state"], execution["completionTime"]) == (name, "RUNNING", None)
    assert execution["tasks"] == [{"index": 0, "state": "RUNNING", "attempt": 0}]
    assert "a plain word" not in str(state)
