"""What happens to VMs that nobody asked for."""

from dataclasses import replace
from typing import Any

import pytest

from gcp_emulator.seed import Seed
from gcp_emulator.wire import (
    Boot,
    EndSilence,
    Forward,
    Held,
    KillProcesses,
    PoweredOff,
    PressPowerButton,
    PullPlug,
    SerialOutput,
    ShutDown,
    Silence,
    Unforward,
)
from tests.unit.emulator.inside import ADDRESS, DEMO, SOME_TIME, VM, Inside

SPOT = {"provisioningModel": "SPOT"}


def a_world(**vm: Any) -> Seed:
    return replace(DEMO, instances=(replace(DEMO.instances[0], **vm),))


def running(**vm: Any) -> Inside:
    inside = Inside(a_world(**vm), latency=SOME_TIME, guests=True)
    inside.post(f"{VM}/start")
    inside.passes(5)
    inside.effects.clear()
    return inside


def fault(inside: Inside, **rule: Any) -> Any:
    return inside.post("/_emulator/faults", rule)["faults"][0]


def operations(inside: Inside) -> list[str]:
    entries = inside.get("/_emulator/history")["entries"]
    return [entry["verb"] for entry in entries if entry["kind"] == "operation" and entry["status"] == "DONE"]


def all_spent(inside: Inside) -> bool:
    return bool(inside.get("/_emulator/faults")["all_spent"])


# --- preemption --------------------------------------------------------------------------------------------------


def test_a_preemption_tells_the_guest_and_gives_it_thirty_seconds():
    inside = running(scheduling=SPOT)
    assert inside.inquire("instance/preempted").body == b"FALSE"
    fault(inside, after=10, preempt={})
    inside.passes(10)
    assert inside.inquire("instance/preempted").body == b"TRUE"
    assert inside.status() == "STOPPING"
    assert PressPowerButton(VM, 30) in inside.effects
    inside.passes(6)
    assert inside.status() == "STOPPING", "the guest is still there"
    inside.guest(ShutDown())
    assert (inside.status(), operations(inside)[-1]) == ("TERMINATED", "compute.instances.preempted")
    assert all_spent(inside)


def test_who_waits_for_the_notice_of_preemption_is_told():
    inside = running(scheduling=SPOT)
    url = "instance/preempted?wait_for_change=true"
    assert isinstance(inside.inquire(url), Held)
    request, asked = inside.sent, inside.now
    fault(inside, preempt={})
    told = inside.cloud.metadata(VM, request, inside.now, asked)
    assert getattr(told, "body", None) == b"TRUE"


def test_the_next_run_of_a_preempted_vm_is_not_preempted():
    inside = running(scheduling=SPOT)
    fault(inside, preempt={})
    inside.guest(ShutDown())
    inside.passes(10)
    inside.post(f"{VM}/start")
    inside.passes(10)
    assert inside.inquire("instance/preempted").body == b"FALSE"


def test_a_standard_vm_is_never_preempted():
    inside = running()
    assert fault(inside, preempt={})["missed"] == ["gpu-vm is no Spot VM: only those are preempted"]
    assert (inside.status(), all_spent(inside)) == ("RUNNING", False)


# --- host errors -------------------------------------------------------------------------------------------------


def test_a_host_error_without_automatic_restart_leaves_the_vm_off():
    inside = running(scheduling={"automaticRestart": False})
    fault(inside, host_error={})
    assert inside.effects == [PullPlug(VM)]
    inside.passes(60)
    assert (inside.status(), operations(inside)[-1]) == ("TERMINATED", "compute.instances.hostError")
    assert inside.vm()["lastStopTimestamp"] > inside.vm()["lastStartTimestamp"]


def test_a_host_error_with_automatic_restart_boots_the_vm_again():
    inside = running(address="gpu-ip")
    started = inside.vm()["lastStartTimestamp"]
    fault(inside, host_error={})
    inside.passes(60)
    kinds = [type(effect) for effect in inside.effects]
    assert kinds == [Unforward, PullPlug, Forward, Boot]
    assert operations(inside)[-2:] == ["compute.instances.hostError", "compute.instances.automaticRestart"]
    assert inside.states()[-4:] == ["TERMINATED", "PROVISIONING", "STAGING", "RUNNING"]
    assert inside.vm()["lastStartTimestamp"] > started


def test_a_late_word_of_the_guest_that_the_host_lost_changes_nothing():
    inside = running(scheduling={"automaticRestart": False})
    fault(inside, host_error={})
    inside.guest(PoweredOff())
    assert inside.states()[-1] == "TERMINATED"
    inside.post(f"{VM}/start")
    inside.passes(10)
    assert inside.status() == "RUNNING"


# --- the guest ---------------------------------------------------------------------------------------------------


def test_a_crashed_guest_is_gone_and_its_vm_runs_on_until_the_whole_grace_has_passed():
    inside = running()
    fault(inside, guest_crash={})
    assert inside.effects == [PullPlug(VM)]
    assert inside.status() == "RUNNING"
    assert "Kernel panic" in inside.get(f"{VM}/serialPort")["contents"]
    inside.post(f"{VM}/stop")
    inside.passes(119)
    assert inside.status() == "STOPPING"
    inside.passes(1)
    assert inside.status() == "TERMINATED"


@pytest.mark.parametrize("way", ["reset", "stop and start"])
def test_a_crashed_guest_boots_again(way: str):
    inside = running()
    fault(inside, guest_crash={})
    if way == "reset":
        inside.post(f"{VM}/reset")
    else:
        inside.post(f"{VM}/stop")
        inside.passes(120)
        inside.post(f"{VM}/start")
    inside.passes(10)
    assert [type(effect) for effect in inside.effects].count(Boot) == 1
    inside.effects.clear()
    inside.post(f"{VM}/stop")
    assert PressPowerButton(VM, 120) in inside.effects


def test_a_boot_can_fail_before_the_guest_is_there():
    inside = Inside(latency=SOME_TIME, guests=True)
    fault(inside, boot_failure={})
    inside.post(f"{VM}/start")
    inside.passes(10)
    assert (inside.status(), inside.effects) == ("RUNNING", [])
    assert "Unable to mount root fs" in inside.get(f"{VM}/serialPort")["contents"]
    assert all_spent(inside)


def test_a_startup_script_is_cut_off_when_the_console_shows_the_text():
    inside = Inside(latency=SOME_TIME, guests=True)
    inside.post("/_emulator/faults", {"boot_failure": {"at": "stage=secrets"}})
    inside.post(f"{VM}/start")
    inside.passes(10)
    inside.guest(SerialOutput(b"mayfly: stage=code\nmayfly: stage=sec"))
    assert not [effect for effect in inside.effects if isinstance(effect, KillProcesses)]
    inside.guest(SerialOutput(b"rets\n"))
    inside.guest(SerialOutput(b"mayfly: stage=secrets again\n"))
    kills = [effect for effect in inside.effects if isinstance(effect, KillProcesses)]
    assert kills == [KillProcesses(VM, startup_script=True)]


def test_what_the_console_showed_at_an_earlier_boot_cuts_nothing():
    inside = Inside(latency=SOME_TIME)
    inside.post(f"{VM}/start")
    inside.passes(10)
    inside.guest(SerialOutput(b"stage=secrets\n"))
    inside.post(f"{VM}/stop")
    inside.passes(10)
    fault(inside, boot_failure={"at": "stage=secrets"})
    inside.post(f"{VM}/start")
    inside.passes(10)
    inside.guest(SerialOutput(b"stage=code\n"))
    assert not [effect for effect in inside.effects if isinstance(effect, KillProcesses)]


def test_a_full_disk_is_a_matter_of_the_next_boot():
    inside = Inside(latency=SOME_TIME)
    fault(inside, vm="gpu-*", disk_full={"room_bytes": 4096})
    inside.post(f"{VM}/start")
    inside.passes(10)
    [boot] = [effect for effect in inside.effects if isinstance(effect, Boot)]
    assert boot.disk_room_bytes == 4096
    inside.effects.clear()
    inside.post(f"{VM}/reset")
    inside.passes(10)
    [boot] = [effect for effect in inside.effects if isinstance(effect, Boot)]
    assert boot.disk_room_bytes is None


@pytest.mark.parametrize(
    ("whom", "effect"),
    [
        ({"service": "mayfly-agent"}, KillProcesses(VM, service="mayfly-agent")),
        ({"matching": "vm_agent"}, KillProcesses(VM, matching="vm_agent")),
    ],
)
def test_processes_of_the_guest_are_killed_when_it_asks_for_something(whom: dict[str, str], effect: KillProcesses):
    inside = running()
    fault(inside, on="metadata.get", resource="*/attributes/*", skip=1, after=2, kill=whom)
    for _ in range(2):
        inside.inquire("instance/attributes/startup-script")
    inside.passes(1)
    assert inside.effects == []
    inside.passes(1)
    assert inside.effects == [effect]


# --- the network -------------------------------------------------------------------------------------------------


def test_a_vm_that_is_cut_off_is_reached_again_after_its_time():
    inside = running(address="gpu-ip")
    ip = inside.get(ADDRESS)["address"]
    fault(inside, partition={"seconds": 20})
    assert inside.effects == [Silence(ip)]
    assert inside.inquire("instance/id").status == 200
    inside.passes(19)
    assert inside.effects == [Silence(ip)]
    inside.passes(1)
    assert inside.effects == [Silence(ip), EndSilence(ip)]


def test_an_address_that_comes_while_the_vm_is_cut_off_is_silent_too():
    inside = running()
    fault(inside, partition={"seconds": 20})
    ip = inside.get(ADDRESS)["address"]
    inside.post(f"{VM}/addAccessConfig?networkInterface=nic0", {"natIP": ip})
    inside.passes(5)
    assert [type(effect) for effect in inside.effects] == [Forward, Silence]


def test_a_vm_can_be_cut_off_from_its_metadata_server_too():
    inside = running()
    fault(inside, partition={"seconds": 20, "metadata": True})
    held = inside.inquire("instance/id")
    assert isinstance(held, Held)
    request, asked = inside.sent, inside.now
    inside.passes(20)
    assert getattr(inside.cloud.metadata(VM, request, inside.now, asked), "status", None) == 200


def test_a_second_partition_lasts_until_its_own_end():
    inside = running(address="gpu-ip")
    fault(inside, partition={"seconds": 20})
    inside.passes(10)
    fault(inside, partition={"seconds": 20})
    inside.passes(19)
    assert EndSilence not in [type(effect) for effect in inside.effects]
    inside.passes(1)
    assert [type(effect) for effect in inside.effects].count(EndSilence) == 1
