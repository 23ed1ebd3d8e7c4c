"""Starting, stopping and resetting: states in their order and at their times, with and without a guest."""

from datetime import datetime, timedelta

import pytest

from gcp_emulator.knobs import Knobs
from gcp_emulator.seed import InstanceSeed, Seed
from gcp_emulator.wire import Boot, PoweredOff, PressPowerButton, PullPlug, SerialOutput, ShutDown
from tests.unit.emulator.inside import ADDRESS, NOON, SOME_TIME, VM, Inside

NOT_READY = (400, "resourceNotReady", f"The resource '{VM}' is not ready")
RUNNING_VM = Seed(instances=(InstanceSeed("gpu-vm", status="RUNNING", metadata={"startup-script": "true"}),))


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_a_start_goes_through_its_states_at_their_times_and_boots_the_guest_when_running():
    inside = Inside(latency=SOME_TIME)
    operation = inside.post(f"{VM}/start")
    assert (operation["status"], inside.status()) == ("RUNNING", "PROVISIONING")
    assert inside.passes(1) == []
    assert inside.status() == "STAGING"
    [boot] = inside.passes(2)
    assert boot == Boot(VM, "gpu-vm", inside.vm()["id"], "127.33.27.2", "true")
    assert inside.status() == "RUNNING"
    assert inside.operation(operation)["status"] == "DONE"
    assert instant(inside.vm()["lastStartTimestamp"]) == NOON + timedelta(seconds=1)


def test_an_instant_start_and_stop_still_show_every_state():
    inside = Inside()
    inside.post(f"{VM}/start")
    inside.post(f"{VM}/stop")
    assert inside.states() == ["PROVISIONING", "STAGING", "RUNNING", "STOPPING", "TERMINATED"]


def test_a_stopped_vm_has_a_last_stop_later_than_its_last_start():
    inside = Inside(latency=SOME_TIME)
    inside.post(f"{VM}/start")
    inside.passes(10)
    inside.post(f"{VM}/stop")
    inside.passes(10)
    vm = inside.vm()
    assert instant(vm["lastStopTimestamp"]) > instant(vm["lastStartTimestamp"])


@pytest.mark.parametrize("verb", ["start", "stop"])
def test_what_holds_already_is_an_operation_done_without_error(verb: str):
    inside = Inside(latency=SOME_TIME)
    if verb == "start":
        inside.post(f"{VM}/start")
        inside.passes(10)
    before = inside.status()
    operation = inside.post(f"{VM}/{verb}")
    assert operation["status"] == "DONE"
    assert "error" not in operation
    assert inside.status() == before


def test_a_start_while_stopping_is_refused_as_not_ready():
    inside = Inside(RUNNING_VM, latency=SOME_TIME)
    inside.post(f"{VM}/stop")
    assert inside.refused("POST", f"{VM}/start") == NOT_READY


def test_a_start_while_stopping_waits_its_turn_where_the_knob_says_so():
    inside = Inside(RUNNING_VM, latency=SOME_TIME, knobs=Knobs(start_while_stopping="queue"))
    inside.post(f"{VM}/stop")
    operation = inside.post(f"{VM}/start")
    assert operation["status"] == "PENDING"
    inside.passes(20)
    assert inside.states()[-5:] == ["STOPPING", "TERMINATED", "PROVISIONING", "STAGING", "RUNNING"]
    assert inside.operation(operation)["status"] == "DONE"


def test_a_stop_while_starting_takes_its_turn_after_the_start():
    inside = Inside(latency=SOME_TIME)
    inside.post(f"{VM}/start")
    operation = inside.post(f"{VM}/stop")
    inside.passes(20)
    assert inside.states() == ["PROVISIONING", "STAGING", "RUNNING", "STOPPING", "TERMINATED"]
    assert inside.operation(operation)["status"] == "DONE"


def test_a_stop_while_starting_can_be_refused():
    inside = Inside(latency=SOME_TIME, knobs=Knobs(power_while_starting="refuse"))
    inside.post(f"{VM}/start")
    assert inside.refused("POST", f"{VM}/stop") == NOT_READY


def test_stopping_lasts_until_nothing_is_left_of_the_guest():
    inside = Inside(latency=SOME_TIME, guests=True)
    inside.post(f"{VM}/start")
    inside.passes(3)
    operation = inside.post(f"{VM}/stop")
    assert inside.effects[-1] == PressPowerButton(VM, 120)
    inside.passes(60)
    assert (inside.status(), inside.operation(operation)["status"]) == ("STOPPING", "RUNNING")
    inside.guest(ShutDown())
    assert (inside.status(), inside.operation(operation)["status"]) == ("TERMINATED", "DONE")


def test_a_quick_guest_does_not_make_stopping_shorter_than_its_least():
    inside = Inside(latency=SOME_TIME, guests=True)
    inside.post(f"{VM}/start")
    inside.passes(3)
    inside.post(f"{VM}/stop")
    inside.guest(ShutDown())
    assert inside.status() == "STOPPING"
    inside.passes(5)
    assert inside.status() == "TERMINATED"


def test_a_spot_vm_gets_thirty_seconds_of_grace():
    spot = InstanceSeed("gpu-vm", status="RUNNING", scheduling={"provisioningModel": "SPOT"})
    inside = Inside(Seed(instances=(spot,)))
    inside.post(f"{VM}/stop")
    assert PressPowerButton(VM, 30) in inside.effects


def test_a_vm_stopped_before_its_boot_never_boots():
    slow = SOME_TIME.__class__(boot=(20, 20), stopping=(1, 1))
    inside = Inside(latency=slow, guests=True)
    inside.post(f"{VM}/start")
    inside.post(f"{VM}/stop")
    inside.passes(60)
    assert inside.effects == []
    assert inside.status() == "TERMINATED"


def test_a_guest_that_powers_itself_off_stops_its_vm():
    inside = Inside(RUNNING_VM, latency=SOME_TIME, guests=True)
    inside.guest(PoweredOff())
    assert inside.status() == "STOPPING"
    inside.passes(5)
    assert inside.status() == "TERMINATED"
    [operation] = inside.get(f"{VM.partition('/instances')[0]}/operations")["items"]
    assert (operation["operationType"], operation["user"]) == ("compute.instances.guestTerminate", "system")
    assert operation["name"].startswith("systemevent-")


def test_a_guest_that_powers_off_while_it_is_stopped_is_simply_down():
    inside = Inside(RUNNING_VM, guests=True)
    inside.post(f"{VM}/stop")
    inside.guest(PoweredOff())
    assert inside.states() == ["RUNNING", "STOPPING", "TERMINATED"]


def test_a_word_of_an_earlier_boot_changes_nothing():
    inside = Inside(RUNNING_VM, guests=True, latency=SOME_TIME)
    inside.post(f"{VM}/reset")
    inside.guest(PoweredOff())
    inside.guest(PoweredOff(), instance="projects/demo/zones/us-central1-a/instances/gone")
    inside.passes(10)
    assert inside.status() == "RUNNING"


def test_a_reset_pulls_the_plug_and_boots_again_without_leaving_running():
    inside = Inside(RUNNING_VM, latency=SOME_TIME)
    operation = inside.post(f"{VM}/reset")
    inside.passes(1)
    assert [type(effect) for effect in inside.effects] == [Boot, PullPlug, Boot]
    assert inside.states() == ["RUNNING"]
    assert inside.operation(operation)["status"] == "DONE"


def test_a_reset_of_a_stopped_vm_is_refused():
    assert Inside().refused("POST", f"{VM}/reset") == NOT_READY


def test_a_vm_with_local_ssd_is_stopped_only_if_its_data_may_go():
    inside = Inside(Seed(instances=(InstanceSeed("gpu-vm", status="RUNNING", local_ssd=True),)))
    assert inside.refused("POST", f"{VM}/stop")[0] == 400
    inside.post(f"{VM}/stop?discardLocalSsd=true")
    assert inside.status() == "TERMINATED"


def test_the_static_address_leads_to_the_vm_only_while_it_is_attached_and_running():
    inside = Inside(latency=SOME_TIME)
    ip = inside.get(ADDRESS)["address"]
    inside.post(f"{VM}/addAccessConfig?networkInterface=nic0", {"natIP": ip})
    inside.passes(5)
    assert inside.effects == []
    inside.post(f"{VM}/start")
    inside.passes(5)
    inside.post(f"{VM}/deleteAccessConfig?networkInterface=nic0&accessConfig=External NAT")
    inside.passes(5)
    inside.post(f"{VM}/addAccessConfig?networkInterface=nic0", {"natIP": ip})
    inside.passes(5)
    inside.post(f"{VM}/stop")
    kinds = [type(effect).__name__ for effect in inside.effects]
    assert kinds == ["Forward", "Boot", "Unforward", "Forward", "Unforward", "PressPowerButton"]


def test_serial_output_is_read_from_an_offset_and_only_the_last_megabyte_is_kept():
    inside = Inside(RUNNING_VM)
    inside.guest(SerialOutput(b"first line\n"))
    shown = inside.get(f"{VM}/serialPort?port=1&start=6")
    assert (shown["contents"], shown["start"], shown["next"]) == ("line\n", "6", "11")
    inside.guest(SerialOutput(b"x" * (1 << 20)))
    shown = inside.get(f"{VM}/serialPort")
    assert (len(shown["contents"]), shown["start"], shown["next"]) == (1 << 20, "11", str((1 << 20) + 11))
    assert inside.get(f"{VM}/serialPort?start=-3")["contents"] == "xxx"
    assert inside.get(f"{VM}/serialPort?port=2")["contents"] == ""
