"""Whatever is asked in whatever order: states stay legal, and the outside reaches only what is on and attached."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gcp_emulator.knobs import Knobs
from gcp_emulator.seed import AddressSeed, Seed, TemplateSeed
from gcp_emulator.wire import Boot, EraseDisk, Forward, PoweredOff, PressPowerButton, PullPlug, ShutDown, Unforward
from tests.unit.emulator.inside import ADDRESS, SOME_TIME, VM, ZONE, Inside

LEGAL = {
    ("TERMINATED", "PROVISIONING"),
    ("PROVISIONING", "STAGING"),
    ("STAGING", "RUNNING"),
    ("RUNNING", "STOPPING"),
    ("STOPPING", "TERMINATED"),
}
COMING_AND_GOING = {("", "PROVISIONING"), ("TERMINATED", "STOPPING"), ("STOPPING", "")}
STEPS = ["start", "stop", "reset", "attach", "detach", "poweroff", "guest ends", "1 s", "4 s"]


def take(inside: Inside, step: str, ip: str) -> None:
    match step:
        case "start" | "stop" | "reset":
            inside.say("POST", f"{VM}/{step}")
        case "attach":
            inside.say("POST", f"{VM}/addAccessConfig?networkInterface=nic0", {"name": "nat", "natIP": ip})
        case "detach":
            inside.say("POST", f"{VM}/deleteAccessConfig?networkInterface=nic0&accessConfig=nat")
        case "insert":
            nic = {"accessConfigs": [{"name": "nat", "natIP": ip}]}
            body = {"name": "gpu-vm", "networkInterfaces": [nic]}
            inside.say("POST", f"{ZONE}/instances?sourceInstanceTemplate=global/instanceTemplates/worker", body)
        case "delete":
            inside.say("DELETE", VM)
        case "poweroff":
            inside.guest(PoweredOff())
            inside.effects.append(PullPlug(VM))  # the guest did it itself, and nothing of it is up
        case "guest ends":
            if any(isinstance(effect, PressPowerButton) for effect in inside.effects):
                inside.guest(ShutDown())
        case _:
            inside.passes(float(step.split(maxsplit=1)[0]))
    inside.passes(0)


def reachable(inside: Inside) -> bool:
    last = [effect for effect in inside.effects if isinstance(effect, Forward | Unforward)][-1:]
    return bool(last) and isinstance(last[0], Forward)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(STEPS), max_size=25), st.sampled_from(["refuse", "queue"]))
def test_states_stay_legal_and_the_address_leads_only_to_what_is_on_and_attached(steps: list[str], knob: str):
    inside = Inside(latency=SOME_TIME, guests=True, knobs=Knobs(start_while_stopping=knob, power_while_starting=knob))
    ip = inside.get(ADDRESS)["address"]
    for step in steps:
        take(inside, step, ip)
        vm = inside.vm()
        attached = "accessConfigs" in vm["networkInterfaces"][0]
        assert reachable(inside) == (attached and vm["status"] == "RUNNING")
        assert (inside.get(ADDRESS)["status"] == "IN_USE") == attached
    moves = [entry for entry in inside.get("/_emulator/history")["entries"] if entry["kind"] == "state"]
    assert {(one["from"], one["to"]) for one in moves if one["resource"] == "instances/gpu-vm"} <= LEGAL


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(STEPS), max_size=25))
def test_a_guest_boots_only_where_none_is_up_and_every_stop_comes_to_its_end(steps: list[str]):
    inside = Inside(latency=SOME_TIME)
    for step in steps:
        take(inside, step, inside.get(ADDRESS)["address"])
    inside.say("POST", f"{VM}/stop")
    inside.passes(300)
    inside.say("POST", f"{VM}/stop")
    inside.passes(300)
    assert inside.status() == "TERMINATED"
    up = False
    for effect in inside.effects:
        assert not (up and isinstance(effect, Boot))
        up = isinstance(effect, Boot) or (up and not isinstance(effect, PressPowerButton | PullPlug))
    operations = inside.get(f"{VM.partition('/instances')[0]}/operations").get("items", [])
    assert {operation["status"] for operation in operations} <= {"DONE"}


PROPERTIES = {
    "machineType": "e2-medium",
    "disks": [{"boot": True, "autoDelete": True}],
    "networkInterfaces": [{}],
    "metadata": {"items": [{"key": "startup-script", "value": "true"}]},
}
NOTHING = Seed(addresses=(AddressSeed("gpu-ip"),), templates=(TemplateSeed("worker", PROPERTIES),))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from([*STEPS, "insert", "insert", "delete"]), max_size=30))
def test_a_vm_that_comes_and_goes_leaves_no_address_no_guest_and_no_operation_behind(steps: list[str]):
    inside = Inside(NOTHING, latency=SOME_TIME)
    ip = inside.get(ADDRESS)["address"]
    for step in steps:
        take(inside, step, ip)
        status, vm = inside.say("GET", VM)
        attached = status == 200 and "accessConfigs" in vm["networkInterfaces"][0]
        assert (inside.get(ADDRESS)["status"] == "IN_USE") == attached
        assert reachable(inside) == (attached and vm["status"] == "RUNNING")
    inside.passes(300)
    inside.say("DELETE", VM)
    inside.passes(300)
    assert inside.say("GET", VM)[0] == 404
    assert inside.get(ADDRESS)["status"] == "RESERVED"
    up = False
    for effect in inside.effects:
        assert not (up and isinstance(effect, Boot | EraseDisk))
        up = isinstance(effect, Boot) or (up and not isinstance(effect, PressPowerButton | PullPlug))
    assert {one["status"] for one in inside.get(f"{ZONE}/operations").get("items", [])} <= {"DONE"}
    moves = [entry for entry in inside.get("/_emulator/history")["entries"] if entry["kind"] == "state"]
    seen = {(one["from"], one["to"]) for one in moves if one["resource"] == "instances/gpu-vm"}
    assert seen <= LEGAL | COMING_AND_GOING
