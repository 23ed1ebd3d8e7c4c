"""How an instance ceases to exist, whoever wanted it."""

from typing import TYPE_CHECKING

from gcp_emulator import addresses
from gcp_emulator.disks import Disk
from gcp_emulator.errors import ApiError
from gcp_emulator.instances import Instance, touched
from gcp_emulator.links import short
from gcp_emulator.wire import EraseDisk

if TYPE_CHECKING:
    from gcp_emulator.world import World


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


def protected() -> ApiError:
    """Its deletionProtection is on."""
    message = "Invalid resource usage: 'Resource cannot be deleted if it's protected against deletion.'."
    return ApiError(400, "invalidResourceUsage", message)
