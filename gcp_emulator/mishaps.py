"""What nobody asked for: preemption, host errors, crashes, cut wires, other writers, killed tasks.

A mishap that cannot happen (only a RUNNING VM is preempted) does not count: its rule stays unspent, and says why.
"""

from datetime import timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from gcp_emulator import operations
from gcp_emulator.fault_kinds import (
    NAMES,
    Event,
    GuestCrash,
    HostError,
    Kill,
    KillTasks,
    Partition,
    Preempt,
    WriteMetadata,
)
from gcp_emulator.faults import Rule
from gcp_emulator.instances import RUNNING, TERMINATED, Instance, touched
from gcp_emulator.links import short
from gcp_emulator.outside import disconnect
from gcp_emulator.power import begin_start, end_of_run, hang
from gcp_emulator.run_executions import State
from gcp_emulator.turns import move, take_turn
from gcp_emulator.wire import EndSilence, KillProcesses, KillTask, PullPlug, Silence

if TYPE_CHECKING:
    from gcp_emulator.world import World

PREEMPTED = "compute.instances.preempted"
HOST_ERROR = "compute.instances.hostError"
AUTOMATIC_RESTART = "compute.instances.automaticRestart"
PANIC = "Kernel panic - not syncing: Fatal exception in interrupt"


class CannotHappenError(Exception):
    """Why the cloud as it is does not allow this now."""


def set_off(world: "World", rule: Rule, path: str = "") -> None:
    """Let the event of this rule happen once its time has passed. `path` is that of the request that set it off."""
    rule.coming += 1

    def happening() -> None:
        if rule in world.faults.rules:
            _happen(world, rule, path)

    if rule.after:
        world.agenda.put(world.now + timedelta(seconds=rule.after), happening)
    else:
        happening()


def _happen(world: "World", rule: Rule, path: str) -> None:
    event = rule.fault
    assert isinstance(event, Event)  # noqa: S101 - nothing else is set off
    rule.coming -= 1
    facts = {"rule": rule.id, "fault": NAMES[type(event)]}
    try:
        resource = _befall_whom_it_may(world, rule, event, path)
    except CannotHappenError as why:
        rule.missed = [*(rule.missed or []), str(why)]
        world.history.add(world.now, "fault", **facts, missed=str(why))
        return
    rule.fired += 1
    world.history.add(world.now, "fault", **facts, resource=resource)


def _befall_whom_it_may(world: "World", rule: Rule, event: Event, path: str) -> str:
    if isinstance(event, KillTasks):
        return _kill_tasks(world, event)
    vm = _whom(world, rule, path)
    befall(world, vm, event)
    return short(vm.key)


def _kill_tasks(world: "World", event: KillTasks) -> str:
    running = [
        KillTask(task.name, task.attempt)
        for execution in world.executions.values()
        for task in execution.tasks
        if task.state is State.RUNNING and fnmatchcase(execution.job.rpartition("/")[2], event.job)
    ]
    if not running:
        raise CannotHappenError(f"no task runs of a job like {event.job!r}")
    world.effects += running
    return "executions/" + running[0].task.split("/")[-3]


def _whom(world: "World", rule: Rule, path: str) -> Instance:
    """The VM that the request was about, or else the only one of that name."""
    named = [vm for vm in world.instances.values() if fnmatchcase(vm.name, rule.vm)]
    found = [vm for vm in named if f"{path}/".find(f"/{vm.key}/") >= 0] or named
    if len(found) == 1:
        return found[0]
    raise CannotHappenError(f"{len(found)} instances match vm {rule.vm!r}: it needs exactly one")


def befall(world: "World", vm: Instance, event: Event) -> None:
    """Let it happen to this VM, now. Raises CannotHappenError."""
    match event:
        case Preempt():
            _preempt(world, vm)
        case HostError():
            _host_error(world, vm)
        case GuestCrash():
            _needs(vm.guest_up, vm, "has no guest that runs")
            world.effects.append(PullPlug(vm.key))
            hang(world, vm, PANIC)
        case Kill(service=service, matching=matching):
            _needs(vm.guest_up, vm, "has no guest that runs")
            world.effects.append(KillProcesses(vm.key, service, matching))
        case Partition():
            _cut_off(world, vm, event)
        case WriteMetadata(key=key, value=value):
            _write(world, vm, key, value)


def _needs(holds: bool, vm: Instance, otherwise: str) -> None:
    if not holds:
        raise CannotHappenError(f"{vm.name} {otherwise}")


def _preempt(world: "World", vm: Instance) -> None:
    _needs(vm.status == RUNNING and not vm.power_busy, vm, f"is {vm.status}: only a RUNNING VM is preempted")
    _needs(vm.scheduling["provisioningModel"] == "SPOT", vm, "is no Spot VM: only those are preempted")
    vm.preempted = True
    end_of_run(world, vm, PREEMPTED)


def _host_error(world: "World", vm: Instance) -> None:
    """Google's documents do not say which states such a VM goes through; here it is TERMINATED until it restarts."""
    _needs(vm.status == RUNNING and not vm.power_busy, vm, f"is {vm.status}: it runs on no host that could fail")
    operations.finish(world, operations.opened(world, None, vm, HOST_ERROR))
    disconnect(world, vm)
    world.effects.append(PullPlug(vm.key))
    vm.guest_up, vm.hung, vm.termination, vm.last_stop = False, False, None, world.now
    vm.boots += 1  # a boot that was still to come does not
    move(world, vm, TERMINATED)
    if vm.scheduling["automaticRestart"]:
        take_turn(world, vm, operations.opened(world, None, vm, AUTOMATIC_RESTART), begin_start)


def _cut_off(world: "World", vm: Instance, partition: Partition) -> None:
    until = world.now + timedelta(seconds=partition.seconds)
    vm.cut_off_until = until
    if partition.metadata:
        vm.deaf_until = until
    if vm.external_ip and vm.status == RUNNING:
        world.effects.append(Silence(vm.external_ip))
    world.agenda.put(until, lambda: _heal(world, vm))


def _heal(world: "World", vm: Instance) -> None:
    if vm.cut_off_until is None or world.now < vm.cut_off_until:
        return  # cut off anew meanwhile
    vm.cut_off_until = vm.deaf_until = None
    if vm.external_ip and vm.status == RUNNING:
        world.effects.append(EndSilence(vm.external_ip))
    touched(world, vm)


def _write(world: "World", vm: Instance, key: str, value: str | None) -> None:
    if value is None:
        _needs(key in vm.metadata, vm, f"has no metadata {key!r} to take off")
        vm.metadata = {name: kept for name, kept in vm.metadata.items() if name != key}
    else:
        vm.metadata = {**vm.metadata, key: value.replace("{n}", str(world.history.written))}
    touched(world, vm)
