"""On the way down: how long an instance is STOPPING, before it is off or gone."""

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from gcp_emulator.instances import STOPPING, Instance
from gcp_emulator.outside import disconnect
from gcp_emulator.turns import move
from gcp_emulator.wire import PressPowerButton

if TYPE_CHECKING:
    from gcp_emulator.world import World


def power_down(world: "World", vm: Instance, off: Callable[[], None]) -> None:
    """STOPPING, and `off` once the least time has passed *and* nothing is left of the guest."""
    disconnect(world, vm)
    vm.termination = None
    move(world, vm, STOPPING)
    if vm.guest_up:
        world.effects.append(PressPowerButton(vm.key, _grace(world, vm)))
    if vm.hung:
        run = vm.run
        world.agenda.put(world.now + timedelta(seconds=_grace(world, vm)), lambda: _hard_off(vm, run))
    stopping = _Stopping(world, vm, off)
    vm.on_guest_down = stopping.look
    world.later("stopping", stopping.time_passed)


def _hard_off(vm: Instance, run: int) -> None:
    if vm.hung and vm.run == run:
        vm.hung = False
        if vm.on_guest_down:
            vm.on_guest_down()


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
        if not self.passed or vm.hung or (vm.guest_up and world.guests):
            return
        vm.guest_up, vm.on_guest_down = False, None
        vm.last_stop = world.now
        if not world.knobs.guest_attributes_survive_stop:
            vm.guest_attributes.clear()
        self.off()
