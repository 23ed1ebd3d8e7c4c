"""instances.delete, and how an instance ceases to exist, whoever wanted it."""

from typing import TYPE_CHECKING

from gcp_emulator import addresses, operations
from gcp_emulator.disks import Disk
from gcp_emulator.errors import ApiError
from gcp_emulator.instances import ONE, Instance, find, touched
from gcp_emulator.links import short
from gcp_emulator.operations import Operation
from gcp_emulator.routes import Answer, Call, Route
from gcp_emulator.shutdown import power_down
from gcp_emulator.turns import end_turn, take_turn
from gcp_emulator.wire import EraseDisk

if TYPE_CHECKING:
    from gcp_emulator.world import World


def delete(world: "World", call: Call) -> Answer:
    """Switch it off gently if it is on, and let nothing be left of it but the disks that it does not take along."""
    vm = find(world, call)
    if vm.deletion_protection:
        message = "Invalid resource usage: 'Resource cannot be deleted if it's protected against deletion.'."
        raise ApiError(400, "invalidResourceUsage", message)
    return take_turn(world, vm, operations.opened(world, call, vm), begin_delete).as_json()


def begin_delete(world: "World", vm: Instance, operation: Operation) -> None:
    """Shut it down; gone once nothing is left of the guest."""
    if operation.doom:
        end_turn(world, vm, operation, operation.doom)
        return

    def off() -> None:
        vanish(world, vm)
        end_turn(world, vm, operation)

    power_down(world, vm, off)


def vanish(world: "World", vm: Instance, *, never_was: bool = False) -> None:
    """Nothing is left of it: its address is free, its name too. Its disk stays if it was told to, and ever was."""
    _free_address(world, vm)
    del world.instances[vm.key]
    vm.gone = True
    if vm.disk_auto_delete or never_was:
        world.effects.append(EraseDisk(vm.key))
    else:
        disk = Disk(vm.project, vm.zone, vm.name, world.new_id(), vm.created, vm.disk_gb, of=vm.key)
        world.disks[disk.key] = disk
    world.moved(short(vm.key), vm.status, "")
    vm.status = ""
    touched(world, vm)


def _free_address(world: "World", vm: Instance) -> None:
    for address in world.addresses.values():
        if address.user == vm.key:
            addresses.release(world, address)


ROUTES = (Route("DELETE", ONE, "instances.delete", delete),)
