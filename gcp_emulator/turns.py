"""The changes of one instance's power take turns: each begins where the one before it ended."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from gcp_emulator import operations
from gcp_emulator.errors import OperationError
from gcp_emulator.instances import Instance, touched
from gcp_emulator.links import short
from gcp_emulator.operations import Operation

if TYPE_CHECKING:
    from gcp_emulator.world import World

Begin = Callable[["World", Instance, Operation], None]


def take_turn(world: "World", vm: Instance, operation: Operation, begin: Begin) -> Operation:
    """Let it begin once the changes of power before it are over. None begins on a VM that one of them deleted."""
    operation.status = operations.PENDING

    def turn() -> None:
        operation.status = operations.RUNNING
        if vm.gone:
            end_turn(world, vm, operation, operations.gone(vm))
        else:
            begin(world, vm, operation)

    vm.power_queue.append(turn)
    if not vm.power_busy:
        _next_turn(vm)
    return operation


def _next_turn(vm: Instance) -> None:
    if vm.power_queue:
        vm.power_busy = True
        vm.power_queue.popleft()()


def end_turn(world: "World", vm: Instance, operation: Operation, error: OperationError | None = None) -> None:
    """Finish the operation; the next change of power begins."""
    operations.finish(world, operation, error)
    vm.power_busy = False
    _next_turn(vm)


def move(world: "World", vm: Instance, status: str) -> None:
    """Give it another status, and write that down."""
    before, vm.status = vm.status, status
    touched(world, vm)
    world.moved(short(vm.key), before, status)
