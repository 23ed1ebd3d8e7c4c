"""Power: start, stop, delete, reset, and what instances do by themselves.

    TERMINATED -> PROVISIONING -> STAGING -> RUNNING -> STOPPING -> TERMINATED
         \\______________/ (no capacity)                     \\-> gone

How they come to be: `creation`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from gcp_emulator import operations
from gcp_emulator.errors import ApiError, OperationError, invalid, not_ready
from gcp_emulator.instances import (
    ONE,
    PROVISIONING,
    RUNNING,
    STAGING,
    STOPPING,
    TERMINATED,
    Instance,
    find,
)
from gcp_emulator.links import short
from gcp_emulator.operations import Operation
from gcp_emulator.outside import connect, disconnect
from gcp_emulator.removal import protected, vanish
from gcp_emulator.routes import Answer, Call, Route
from gcp_emulator.scheduling import termination_of
from gcp_emulator.turns import Begin, end_turn, move, take_turn
from gcp_emulator.wire import Boot, PoweredOff, PressPowerButton, PullPlug

if TYPE_CHECKING:
    from gcp_emulator.world import World

GUEST_TERMINATE = "compute.instances.guestTerminate"


# --- requests ----------------------------------------------------------------------------------------------------


def start(world: "World", call: Call) -> Answer:
    """Switch it on. One that is RUNNING already stays as it is, and the operation ends well."""
    vm = find(world, call)
    if vm.status == STOPPING and world.knobs.start_while_stopping == "refuse":
        raise not_ready(vm.key)
    _refuse_while_starting(world, vm)
    if (end := termination_of(vm.scheduling, world.now)) and end <= world.now:
        raise invalid("resource.scheduling.terminationTime", vm.scheduling["terminationTime"], "It is in the past.")
    return take_turn(world, vm, operations.opened(world, call, vm), _begin_start).as_json()


def stop(world: "World", call: Call) -> Answer:
    """Switch it off gently. One that is TERMINATED already stays as it is, and the operation ends well."""
    vm = find(world, call)
    if vm.local_ssd and "discardLocalSsd" not in call.query:
        message = "You must specify discardLocalSsd: stopping this instance would discard the data of its local SSDs."
        raise ApiError(400, "badRequest", message)
    _refuse_while_starting(world, vm)
    return take_turn(world, vm, operations.opened(world, call, vm), _begin_stop).as_json()


def delete(world: "World", call: Call) -> Answer:
    """Switch it off gently if it is on, and let nothing be left of it but the disks that it does not take along."""
    vm = find(world, call)
    if vm.deletion_protection:
        raise protected()
    return take_turn(world, vm, operations.opened(world, call, vm), _begin_delete).as_json()


def reset(world: "World", call: Call) -> Answer:
    """Pull the plug and boot again; it is RUNNING all the while."""
    vm = find(world, call)
    if vm.status != RUNNING:
        raise not_ready(vm.key)
    return take_turn(world, vm, operations.opened(world, call, vm), _begin_reset).as_json()


def _refuse_while_starting(world: "World", vm: Instance) -> None:
    if vm.status in {PROVISIONING, STAGING} and world.knobs.power_while_starting == "refuse":
        raise not_ready(vm.key)


# --- start -------------------------------------------------------------------------------------------------------


def _begin_start(world: "World", vm: Instance, operation: Operation) -> None:
    if vm.status == RUNNING:
        end_turn(world, vm, operation, operation.doom)
        return
    move(world, vm, PROVISIONING)
    world.later("provisioning", lambda: _provisioned(world, vm, operation))


def _provisioned(world: "World", vm: Instance, operation: Operation) -> None:
    if operation.doom:
        move(world, vm, TERMINATED)
        end_turn(world, vm, operation, operation.doom)
        return
    stage(world, vm, operation)


def stage(world: "World", vm: Instance, operation: Operation) -> None:
    """It has a machine to run on: from here nothing keeps it from RUNNING."""
    vm.last_start = world.now
    move(world, vm, STAGING)
    world.later("staging", lambda: _started(world, vm, operation))


def _started(world: "World", vm: Instance, operation: Operation) -> None:
    enter_running(world, vm)
    end_turn(world, vm, operation)


def enter_running(world: "World", vm: Instance) -> None:
    """The machine is on: its addresses lead to it, its deadline is armed, its guest boots."""
    vm.run += 1
    vm.termination = termination_of(vm.scheduling, world.now)
    move(world, vm, RUNNING)
    connect(world, vm)
    if vm.termination:
        run = vm.run
        late = world.latency.draw("max_run_lateness", world.random)
        world.agenda.put(vm.termination + late, lambda: _run_is_over(world, vm, run))
    _boot(world, vm)


def _boot(world: "World", vm: Instance) -> None:
    vm.boots += 1
    boot = vm.boots

    def switch_on() -> None:
        if vm.status != RUNNING or vm.boots != boot:
            return
        vm.guest_up = True
        world.effects.append(Boot(vm.key, vm.name, vm.id, vm.internal_ip, vm.metadata.get("startup-script", "")))

    world.later("boot", switch_on)


# --- stop --------------------------------------------------------------------------------------------------------


def _begin_stop(world: "World", vm: Instance, operation: Operation) -> None:
    if vm.status == TERMINATED or operation.doom:
        end_turn(world, vm, operation, operation.doom)
        return

    def off() -> None:
        move(world, vm, TERMINATED)
        end_turn(world, vm, operation)

    power_down(world, vm, off)


def power_down(world: "World", vm: Instance, off: Callable[[], None]) -> None:
    """STOPPING, and `off` once the least time has passed *and* nothing is left of the guest."""
    disconnect(world, vm)
    vm.termination = None
    move(world, vm, STOPPING)
    if vm.guest_up:
        world.effects.append(PressPowerButton(vm.key, _grace(world, vm)))
    stopping = _Stopping(world, vm, off)
    vm.on_guest_down = stopping.look
    world.later("stopping", stopping.time_passed)


def _grace(world: "World", vm: Instance) -> float:
    spot = vm.scheduling.get("provisioningModel") == "SPOT"
    return world.knobs.grace_seconds_spot if spot else world.knobs.grace_seconds


class _Stopping:
    """Waits for time and guest."""

    def __init__(self, world: "World", vm: Instance, off: Callable[[], None]) -> None:
        self.world, self.vm, self.off = world, vm, off
        self.passed = False

    def time_passed(self) -> None:
        self.passed = True
        self.look()

    def look(self) -> None:
        world, vm = self.world, self.vm
        if not self.passed or (vm.guest_up and world.guests):
            return
        vm.guest_up, vm.on_guest_down = False, None
        vm.last_stop = world.now
        if not world.knobs.guest_attributes_survive_stop:
            vm.guest_attributes.clear()
        self.off()


def _run_is_over(world: "World", vm: Instance, run: int) -> None:
    if vm.status != RUNNING or vm.run != run:
        return
    if vm.scheduling.get("instanceTerminationAction") == "DELETE":
        _by_itself(world, vm, world.knobs.max_run_deletion, _begin_delete)
    else:
        _by_itself(world, vm, world.knobs.max_run_operation, _begin_stop)


def _by_itself(world: "World", vm: Instance, kind: str, begin: Begin) -> None:
    take_turn(world, vm, operations.opened(world, None, vm, kind), begin)


# --- delete ------------------------------------------------------------------------------------------------------


def _begin_delete(world: "World", vm: Instance, operation: Operation) -> None:
    if operation.doom:
        end_turn(world, vm, operation, operation.doom)
        return

    def off() -> None:
        vanish(world, vm)
        end_turn(world, vm, operation)

    power_down(world, vm, off)


# --- reset, and the guest's own word -----------------------------------------------------------------------------


def _begin_reset(world: "World", vm: Instance, operation: Operation) -> None:
    if vm.status != RUNNING or operation.doom:  # a stop had its turn first
        late = OperationError("RESOURCE_NOT_READY", f"The resource '{vm.key}' is not ready")
        end_turn(world, vm, operation, operation.doom or late)
        return
    vm.guest_up = False
    vm.boots += 1  # a boot that was still to come does not
    world.effects.append(PullPlug(vm.key))

    def end() -> None:
        _boot(world, vm)
        end_turn(world, vm, operation)

    world.later("reset", end)


def guest_is_down(world: "World", vm: Instance, event: object) -> None:
    """Take in PoweredOff or ShutDown: nothing runs in the guest any more."""
    if not vm.guest_up:
        return  # said too late: it was reset or stopped meanwhile
    world.history.add(world.now, "guest", resource=short(vm.key), event=type(event).__name__)
    vm.guest_up = False
    if vm.on_guest_down:
        vm.on_guest_down()
    elif isinstance(event, PoweredOff) and vm.status == RUNNING:
        _by_itself(world, vm, GUEST_TERMINATE, _begin_stop)


ROUTES = (
    Route("POST", f"{ONE}/start", "instances.start", start),
    Route("POST", f"{ONE}/stop", "instances.stop", stop),
    Route("POST", f"{ONE}/reset", "instances.reset", reset),
    Route("DELETE", ONE, "instances.delete", delete),
)
