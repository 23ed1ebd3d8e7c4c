"""Power: start, stop, reset, and what instances do by themselves.

    TERMINATED -> PROVISIONING -> STAGING -> RUNNING -> STOPPING -> TERMINATED
         \\______________/ (no capacity)                     \\-> gone

How they come to be: `creation`; how they cease to: `removal`.
"""

from typing import TYPE_CHECKING

from gcp_emulator import operations
from gcp_emulator.errors import WITHOUT_EFFECT, ApiError, OperationError, invalid, not_ready
from gcp_emulator.fault_kinds import BootFailure, DiskFull
from gcp_emulator.instances import (
    ONE,
    PROVISIONING,
    RUNNING,
    STAGING,
    STOPPING,
    TERMINATED,
    Instance,
    find,
    touched,
)
from gcp_emulator.links import short
from gcp_emulator.operations import Operation
from gcp_emulator.outside import connect
from gcp_emulator.removal import begin_delete
from gcp_emulator.routes import Answer, Call, Route
from gcp_emulator.scheduling import termination_of
from gcp_emulator.shutdown import power_down
from gcp_emulator.turns import Begin, end_turn, move, take_turn
from gcp_emulator.wire import Boot, PoweredOff, PullPlug

if TYPE_CHECKING:
    from gcp_emulator.world import World

NO_ROOT = "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)"
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
    return take_turn(world, vm, operations.opened(world, call, vm), begin_start).as_json()


def stop(world: "World", call: Call) -> Answer:
    """Switch it off gently. One that is TERMINATED already stays as it is, and the operation ends well."""
    vm = find(world, call)
    if vm.local_ssd and "discardLocalSsd" not in call.query:
        message = "You must specify discardLocalSsd: stopping this instance would discard the data of its local SSDs."
        raise ApiError(400, "badRequest", message)
    _refuse_while_starting(world, vm)
    return take_turn(world, vm, operations.opened(world, call, vm), begin_stop).as_json()


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


def begin_start(world: "World", vm: Instance, operation: Operation) -> None:
    """Find it a machine to run on, if there is one."""
    if vm.status == RUNNING or operation.doom is WITHOUT_EFFECT:
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
    vm.preempted = False
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
        if vm.status == RUNNING and vm.boots == boot:
            _switch_on(world, vm)

    vm.hung, vm.cut_at = False, None
    world.later("boot", switch_on)


def _switch_on(world: "World", vm: Instance) -> None:
    room = None
    for fault in world.faults_at_boot(vm):
        match fault:
            case BootFailure(at=None):
                hang(world, vm, NO_ROOT)
                return
            case BootFailure(at=text):
                vm.cut_at, vm.booted_at_byte = text, vm.serial.end
            case DiskFull(room_bytes=room_bytes):
                room = room_bytes
    vm.guest_up = True
    script = vm.metadata.get("startup-script", "")
    world.effects.append(Boot(vm.key, vm.name, vm.id, vm.internal_ip, script, room))


def hang(world: "World", vm: Instance, last_words: str) -> None:
    """Nothing runs in the guest, and nothing in it hears a power button; the VM is RUNNING all the same."""
    vm.guest_up, vm.hung = False, True
    vm.serial.write(f"{last_words}\r\n".encode())
    world.history.add(world.now, "guest", resource=short(vm.key), event="Hung", text=last_words)
    touched(world, vm)


# --- stop --------------------------------------------------------------------------------------------------------


def begin_stop(world: "World", vm: Instance, operation: Operation) -> None:
    """Shut it down; TERMINATED once nothing is left of the guest."""
    if vm.status == TERMINATED or operation.doom:
        end_turn(world, vm, operation, operation.doom)
        return

    def off() -> None:
        move(world, vm, TERMINATED)
        end_turn(world, vm, operation)

    power_down(world, vm, off)


def _run_is_over(world: "World", vm: Instance, run: int) -> None:
    if vm.status == RUNNING and vm.run == run:
        end_of_run(world, vm, world.knobs.max_run_operation)


def end_of_run(world: "World", vm: Instance, kind: str) -> None:
    """Stop it or delete it without having been asked, whichever its scheduling says."""
    deletes = vm.scheduling.get("instanceTerminationAction") == "DELETE"
    by_itself(world, vm, kind, begin_delete if deletes else begin_stop)


def by_itself(world: "World", vm: Instance, kind: str, begin: Begin) -> None:
    """Do this without having been asked, by an operation of Google's own."""
    take_turn(world, vm, operations.opened(world, None, vm, kind), begin)


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
        by_itself(world, vm, GUEST_TERMINATE, begin_stop)


ROUTES = (
    Route("POST", f"{ONE}/start", "instances.start", start),
    Route("POST", f"{ONE}/stop", "instances.stop", stop),
    Route("POST", f"{ONE}/reset", "instances.reset", reset),
)
