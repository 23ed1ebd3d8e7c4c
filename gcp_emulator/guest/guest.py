"""A VM's inside: started, powered off and unplugged by the emulator, and able to power itself off."""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gcp_emulator.guest.init import REBOOT
from gcp_emulator.guest.isolation import SHIMS, SPARES, Isolation, init_command, strongest_isolation

SYSTEMD_STOP_SECONDS = 90.0  # what a machine that shuts itself down gives its services
LATE_SECONDS = 10.0  # an init that has not brought its machine down by then is stuck


@dataclass(frozen=True)
class Machine:
    """What a boot needs to know. The folder is the disk: what is written there is there at the next boot."""

    name: str
    instance_id: str
    folder: Path
    internal_ip: str
    metadata_host: str  # host:port
    environment: Mapping[str, str]
    startup_script: str
    disk_room_bytes: int | None = None  # what is free on it; what is written then is gone with this boot


class Guest:
    """The processes of one VM, from boot to the last one's end, boot after boot.

    `on_off` is called when the guest powered itself off (or its init died), after its processes are gone. A reboot from
    inside is a new boot of the same machine and no news to the emulator. Host folders guests must read (a checkout)
    are named in `readable`; its uv cache (UV_CACHE_DIR) is writable, and shared by all who use it.
    """

    def __init__(
        self,
        on_serial: Callable[[bytes], None],
        on_off: Callable[[], None],
        *,
        isolation: Isolation | None = None,  # None: the strongest that this system allows
        readable: Sequence[Path] = (),
        shutdown_seconds: float = SYSTEMD_STOP_SECONDS,
    ) -> None:
        self._on_serial, self._on_off = on_serial, on_off
        self._isolation, self._readable, self._shutdown_seconds = isolation, tuple(readable), shutdown_seconds
        self._life: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process
        self._control: socket.socket  # its end is how a VM learns that the emulator has died
        self._told_to_end = False

    @property
    def running(self) -> bool:
        """Whether anything of this machine may still be alive."""
        return self._life is not None and not self._life.done()

    async def boot(self, machine: Machine) -> None:
        """Start the machine's init, which runs the startup script. Returns at once."""
        if self.running:
            raise RuntimeError(f"{machine.name} is already on")
        self._told_to_end = False
        await self._power_on(machine)
        self._life = asyncio.create_task(self._live(machine))

    async def press_power_button(self, grace_seconds: float) -> None:
        """SIGTERM to everything, SIGKILL after the grace. Returns when nothing is left; fine if already off."""
        if self._life is None:
            return
        self._told_to_end = True
        with contextlib.suppress(OSError):  # it is going down by itself
            await self._tell(f"power-button {grace_seconds}")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._life), grace_seconds + LATE_SECONDS)
        await self.pull_plug()

    async def kill(self, what: Literal["script", "service", "matching"], whom: str = "") -> None:
        """SIGKILL inside: to the startup script, a service's main process, or whatever matches; the console tells."""
        if self.running:
            with contextlib.suppress(OSError):  # it is going down
                await self._tell(f"kill {what} {whom}")

    async def pull_plug(self) -> None:
        """SIGKILL to everything. Returns when nothing is left; fine if already off."""
        if self._life is None:
            return
        self._told_to_end = True
        self._signal(self._process.terminate)  # init, or the keeper of its namespaces, kills all before it ends
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._life), LATE_SECONDS)
        self._signal(self._process.kill)
        await self._life

    async def _live(self, machine: Machine) -> None:
        """Show the console until the machine is off; a reboot goes on."""
        while await self._until_init_ends() == REBOOT and not self._told_to_end:
            await self._power_on(machine)
        if not self._told_to_end:
            self._on_off()

    async def _power_on(self, machine: Machine) -> None:
        isolation = self._isolation
        if isolation is None:
            isolation = await asyncio.to_thread(strongest_isolation)
        environment = _environment(machine)
        command = init_command(
            isolation,
            machine.name,
            *_folders(machine, environment, self._readable),
            disk_room_bytes=machine.disk_room_bytes,
        )
        self._control, theirs = socket.socketpair()
        self._control.setblocking(False)
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=theirs.fileno(),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl-C in the emulator's terminal is not for its machines
            )
        order = {
            "startup_script": machine.startup_script,
            "isolation": isolation.value,
            "grace_seconds": self._shutdown_seconds,
        }
        with contextlib.suppress(OSError):  # it died at once: seen, with its last words, in _live
            await self._tell(json.dumps(order))
        if self._told_to_end:  # while it was rebooting, and could not hear
            self._signal(self._process.terminate)

    async def _tell(self, line: str) -> None:
        await asyncio.get_running_loop().sock_sendall(self._control, line.encode() + b"\n")

    async def _until_init_ends(self) -> int:
        """Pass the console on, to the last word. Returns init's exit status."""
        console = asyncio.create_task(self._pass_console_on())
        status = await self._process.wait()
        await asyncio.wait([console], timeout=LATE_SECONDS)  # only a process that got away (macOS) could hold it open
        console.cancel()
        self._control.close()
        return status

    async def _pass_console_on(self) -> None:
        output = self._process.stdout
        assert output is not None  # noqa: S101  (we asked for a pipe)
        while received := await output.read(65536):
            self._on_serial(received)

    @staticmethod
    def _signal(send: Callable[[], None]) -> None:
        with contextlib.suppress(ProcessLookupError):
            send()


def _environment(machine: Machine) -> dict[str, str]:
    """All that the machine's processes inherit: nothing of the emulator's own environment but where programs are."""
    root = machine.folder.resolve()
    given = dict(machine.environment)
    path = given.pop("PATH", os.pathsep.join(os.get_exec_path()))
    return given | {
        "PATH": os.pathsep.join([str(SHIMS), path, str(SPARES)]),
        "HOME": f"{root}/root",
        "TMPDIR": f"{root}/tmp",  # noqa: S108
        "LANG": "C.UTF-8",
        "MAYFLY_ROOT": str(root),
        "MAYFLY_POWEROFF": str(SHIMS / "poweroff"),
        "MAYFLY_SUPERVISOR": str(SHIMS / "supervise"),
        "GCE_METADATA_HOST": machine.metadata_host,
        "GCE_METADATA_IP": machine.metadata_host,
        # The disk and the cache are different mounts, and a file of a VM must not be a file of the cache.
        "UV_LINK_MODE": "copy",
    }


_Folders = tuple[list[Path], list[Path]]  # readable, writable


def _folders(machine: Machine, environment: Mapping[str, str], readable: Sequence[Path]) -> _Folders:
    """What the machine may read beyond the system's own folders, and what it may write: its disk first."""
    machine.folder.mkdir(parents=True, exist_ok=True)
    writable = [machine.folder]
    if cache := environment.get("UV_CACHE_DIR"):
        Path(cache).mkdir(parents=True, exist_ok=True)
        writable.append(Path(cache))
    tools = [Path(folder) for folder in environment["PATH"].split(os.pathsep) if folder.startswith("/")]
    if uv := environment.get("UV"):
        tools.append(Path(uv).parent)
    return [*readable, *tools], writable
