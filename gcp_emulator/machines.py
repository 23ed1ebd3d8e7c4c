"""The VMs' insides: the model's effects become boots and power buttons, and what guests say goes back to the model."""

import asyncio
import os
import re
import shutil
import sys
import traceback
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path

from gcp_emulator.exports import certs_url
from gcp_emulator.guest import Guest, Machine
from gcp_emulator.loopback import LOCALHOST
from gcp_emulator.wire import (
    Boot,
    EraseDisk,
    GuestEvent,
    KillProcesses,
    MachineEffect,
    PoweredOff,
    PressPowerButton,
    PullPlug,
    SerialOutput,
    ShutDown,
)

TO_REACH_PACKAGES = re.compile(r"UV|UV_(CACHE_DIR|.*INDEX.*|OFFLINE|NATIVE_TLS)|(?i:\w+_proxy)|SSL_CERT_\w+")
Says = Callable[[str, GuestEvent], None]


class Machines:
    """All guests, by instance key. Effects on one VM happen one after the other; VMs do not wait for each other."""

    def __init__(self, disks: Path, port: int, says: Says, *, readable: Sequence[Path] = ()) -> None:
        self._disks = disks
        self._port = port
        self._says = says
        self._readable = readable
        self._guests: dict[str, Guest] = {}
        self._latest: dict[str, asyncio.Task[None]] = {}  # the last effect on each VM that was begun

    def carry_out(self, effect: MachineEffect) -> None:
        """Begin it; guests take their time."""
        key = effect.instance
        self._latest[key] = asyncio.create_task(self._after(self._latest.get(key), effect))

    async def switch_all_off(self, grace_seconds: float) -> None:
        """Press every power button, pull every plug after the grace, and return when nothing is left."""
        for key in self._latest:
            self.carry_out(PressPowerButton(key, grace_seconds))
        if self._latest:  # a shutdown with a longer grace may be under way already
            await asyncio.wait(self._latest.values(), timeout=grace_seconds)
        for key in self._latest:
            self.carry_out(PullPlug(key))
        await asyncio.gather(*self._latest.values())

    async def _after(self, earlier: asyncio.Task[None] | None, effect: MachineEffect) -> None:
        try:
            if isinstance(effect, PullPlug | EraseDisk):
                await self._pull_plug(effect.instance)  # now: it also ends a shutdown that is under way
            if earlier:
                await earlier
            await self._do(effect)
        except Exception:  # noqa: BLE001 - one broken guest must not end the emulator
            self._tell_of_failure(effect)

    def _do(self, effect: MachineEffect) -> Coroutine[None, None, None]:
        match effect:
            case Boot():
                return self._boot(effect)
            case PressPowerButton():
                return self._press_power_button(effect)
            case PullPlug():
                return self._pull_plug(effect.instance)
            case KillProcesses():
                return self._kill(effect)
            case EraseDisk():
                return self._erase_disk(effect.instance)

    async def _boot(self, effect: Boot) -> None:
        if not effect.startup_script:
            return  # a machine without anything to do: nothing to run, and nothing that could end
        if effect.instance not in self._guests:
            self._guests[effect.instance] = self._guest(effect.instance)
        host = f"{LOCALHOST}:{self._port}"
        await self._guests[effect.instance].boot(
            Machine(
                name=effect.name,
                instance_id=effect.instance_id,
                folder=self._disk(effect.instance),
                internal_ip=effect.internal_ip,
                metadata_host=f"{effect.internal_ip}:{self._port}",
                environment={
                    "SECRET_MANAGER_EMULATOR_HOST": host,
                    "MAYFLY_CERTS_URL": certs_url(host),
                    **_to_reach_packages(),
                },
                startup_script=effect.startup_script,
                disk_room_bytes=effect.disk_room_bytes,
            )
        )

    async def _press_power_button(self, effect: PressPowerButton) -> None:
        if effect.instance in self._guests:
            await self._guests[effect.instance].press_power_button(effect.grace_seconds)
        self._says(effect.instance, ShutDown())

    async def _pull_plug(self, key: str) -> None:
        if key in self._guests:
            await self._guests[key].pull_plug()

    async def _kill(self, effect: KillProcesses) -> None:
        guest = self._guests.get(effect.instance)
        if guest is None:
            return
        if effect.startup_script:
            await guest.kill("script")
        elif effect.service is not None:
            await guest.kill("service", effect.service)
        else:
            await guest.kill("matching", effect.matching or "")

    async def _erase_disk(self, key: str) -> None:
        await self._pull_plug(key)
        self._guests.pop(key, None)
        await asyncio.to_thread(shutil.rmtree, self._disk(key), ignore_errors=True)

    def _guest(self, key: str) -> Guest:
        return Guest(
            on_serial=lambda data: self._says(key, SerialOutput(data)),
            on_off=lambda: self._says(key, PoweredOff()),
            readable=self._readable,
        )

    def _disk(self, key: str) -> Path:
        """projects/P/zones/Z/instances/I -> P/Z/I below the emulator's folder."""
        return self._disks.joinpath(*key.split("/")[1::2])

    def _tell_of_failure(self, effect: MachineEffect) -> None:
        """On the VM's console, where its user looks, and on the emulator's own."""
        trace = traceback.format_exc()
        sys.stderr.write(f"emulator: {effect} failed\n{trace}")
        self._says(effect.instance, SerialOutput(f"emulator: {trace}".encode()))


def _to_reach_packages() -> dict[str, str]:
    """What a VM's uv needs to install as fast as this machine's: its cache, its proxies, its indexes."""
    passed_on = {name: value for name, value in os.environ.items() if TO_REACH_PACKAGES.fullmatch(name)}
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "uv"
    found = {"UV": uv} if (uv := shutil.which("uv")) else {}
    return {"UV_CACHE_DIR": str(cache), **found, **passed_on}
