"""How the outside reaches an instance: only while its access config is attached and it is RUNNING."""

from typing import TYPE_CHECKING

from gcp_emulator.instances import RUNNING, Instance, touched
from gcp_emulator.wire import Forward, Silence, Unforward

if TYPE_CHECKING:
    from gcp_emulator.world import World


def taken(world: "World") -> set[str]:
    """Collect the external addresses that are somebody's: reserved ones, and ephemeral ones in use."""
    ephemeral = {vm.external_ip for vm in world.instances.values() if vm.external_ip}
    return ephemeral | {address.ip for address in world.addresses.values()}


def connect(world: "World", vm: Instance) -> None:
    """Lead its external address to it, if it is RUNNING and has an access config; an ephemeral one is found first."""
    config = vm.access_config
    if config is None or vm.status != RUNNING:
        return
    if config.nat_ip is None:
        config.nat_ip = world.network.next_external(taken(world))
    if config.nat_ip:
        world.effects.append(Forward(config.nat_ip, vm.internal_ip))
        if vm.cut_off_until:
            world.effects.append(Silence(config.nat_ip))
    touched(world, vm)


def disconnect(world: "World", vm: Instance) -> None:
    """Let its external address lead nowhere; an ephemeral one is given back."""
    config = vm.access_config
    if config is None or config.nat_ip is None:
        return
    if vm.status == RUNNING:
        world.effects.append(Unforward(config.nat_ip))
    if not config.reserved:
        config.nat_ip = None
    touched(world, vm)
