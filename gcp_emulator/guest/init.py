"""The first process of an emulated VM: `python -I init.py`, started by Guest; where possible PID 1 (see confine.py).

It readies the disk, runs the startup script, keeps services alive, and brings everything down when told to:

    standard input   a socket to the emulator. First line: the JSON order to boot; then "power-button SECONDS",
                     "kill script|service|matching WHOM". Its end means that the emulator is gone: then all
                     dies at once. So it does by SIGTERM.
    the power door   a FIFO on the disk for the shims inside: "poweroff", "reboot", "poweroff-in MINUTES", "cancel",
                     "service NAME", "say TEXT", a line each
    output           the serial console
    exit status      0 powered off · REBOOT: boot this machine again

Orphans come to us (to PID 1 by nature, else we are a "subreaper"), so having no children means that nothing is left.
Where the system knows neither (macOS), a process that outlives its parents cannot be found again.
"""

import contextlib
import ctypes
import json
import os
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

REBOOT = 75
SERVICE_REST_SECONDS = 1.0  # systemd's RestartSec, as the supervisor of startup.sh has it
LOOK_AGAIN_SECONDS = 0.03  # who is left? Without a PID namespace somebody may have forked while we signalled
PR_SET_CHILD_SUBREAPER = 36


class Init:
    """One boot of one machine."""

    def __init__(self, root: Path, control: int) -> None:
        self._root, self._control = root, control
        self._services: dict[str, int | None] = {}  # name -> its pid, None while it rests
        self._due: dict[str, float] = {}  # what will happen by itself: service name, or a power verb -> monotonic time
        self._buffers: dict[int, bytes] = {}
        self._script = 0
        self._grace_seconds = 0.0
        self._exit_status: int | None = None

    def run(self) -> int:
        """Live until the machine is off."""
        wake, wake_writer = os.pipe()
        os.set_blocking(wake_writer, False)
        signal.set_wakeup_fd(wake_writer)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self._pull_plug())
        self._boot(json.loads(self._first_line()))
        door = os.open(self._root / "run/mayfly-power", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        while self._exit_status is None:
            wait = max(0.0, min(self._due.values()) - time.monotonic()) if self._due else None
            readable, _, _ = select.select([self._control, door, wake], [], [], wait)
            if wake in readable:
                os.read(wake, 4096)
            self._reap()
            if self._control in readable:
                self._obey_emulator()
            if door in readable:
                self._obey_inside(door)
            self._do_what_is_due()
        return self._exit_status

    def _first_line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            line += os.read(self._control, 65536) or sys.exit("mayfly: the emulator went away before the boot")
        return line

    def _boot(self, order: dict[str, str | float]) -> None:
        self._grace_seconds = float(order["grace_seconds"])
        for folder in "etc", "opt", "root", "var/lib", "proc/sys/kernel/random":
            (self._root / folder).mkdir(parents=True, exist_ok=True)
        for folder in "run", "tmp":
            _empty(self._root / folder)
        (self._root / "tmp").chmod(0o1777)
        (self._root / "run/services").mkdir()
        os.mkfifo(self._root / "run/mayfly-power", 0o622)
        if os.getpid() == 1:  # programs called without MAYFLY_ROOT find the door, too
            Path("/run/mayfly-power").symlink_to(self._root / "run/mayfly-power")
        (self._root / "proc/sys/kernel/random/boot_id").write_text(f"{uuid.uuid4()}\n")
        _say(f"mayfly: booting; isolation: {order['isolation']}")
        self._run_startup_script(str(order["startup_script"]))

    def _run_startup_script(self, text: str) -> None:
        if not text:
            _say("google_metadata_script_runner: no startup scripts to run")
            return
        script = self._root / "run/startup-script"
        script.write_text(text)
        script.chmod(0o700)
        try:
            self._script = _spawn([str(script)], {})
        except OSError as error:  # no interpreter line, or an interpreter that is not there
            _say(f"google_metadata_script_runner: startup-script: {error}")

    def _obey_emulator(self) -> None:
        lines = self._lines(self._control)
        if lines is None:
            self._pull_plug()
        for line in lines or []:
            if line.startswith("power-button "):
                self._bring_down(0, float(line.split()[1]))
            elif line.startswith("kill "):
                self._kill(*line.split(" ", 2)[1:])

    def _obey_inside(self, door: int) -> None:
        for line in self._lines(door) or []:
            verb, _, rest = line.partition(" ")
            if verb == "say":
                _say(rest)
            elif verb == "service" and "/" not in rest:
                self._renew_service(rest)
            elif verb in {"poweroff", "reboot"}:
                self._due[verb] = time.monotonic()
            elif verb in {"poweroff-in", "reboot-in"} and rest.isdigit():
                self._due[verb.removesuffix("-in")] = time.monotonic() + 60 * int(rest)
            elif verb == "cancel":
                self._due = {name: at for name, at in self._due.items() if name not in {"poweroff", "reboot"}}

    def _lines(self, fd: int) -> list[str] | None:
        """Whole lines that have arrived; None when the other end is closed."""
        try:
            received = os.read(fd, 65536)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not received:
            return None
        *lines, rest = (self._buffers.get(fd, b"") + received).split(b"\n")
        self._buffers[fd] = rest[-65536:]
        return [line.decode(errors="replace") for line in lines]

    def _do_what_is_due(self) -> None:
        for name in [name for name, at in self._due.items() if at <= time.monotonic()]:
            if self._exit_status is not None:
                return
            del self._due[name]
            if name in {"poweroff", "reboot"}:
                self._bring_down(REBOOT if name == "reboot" else 0, self._grace_seconds)
            else:
                self._start_service(name.removeprefix("start "))

    # Services: the supervise shim leaves run/services/NAME = folder, environment file, command..., NUL after each

    def _renew_service(self, name: str) -> None:
        pid = self._services.get(name)
        if pid is None:
            self._start_service(name)
        else:
            os.kill(pid, signal.SIGTERM)  # it is started anew, as it is described now, when it has ended

    def _start_service(self, name: str) -> None:
        try:
            description = (self._root / "run/services" / name).read_text().split("\0")
            folder, environment_file, *command = description[:-1]
            settings = shlex.split(Path(environment_file).read_text(), comments=True)
            environment = dict(setting.split("=", 1) for setting in settings)
            change_folder = ["/bin/sh", "-c", 'cd "$0" && exec "$@"', folder]
            self._services[name] = _spawn(change_folder + command, environment)
        except (OSError, ValueError) as error:
            _say(f"supervise: {name}: {error}")
            self._rest(name)

    def _rest(self, name: str) -> None:
        self._services[name] = None
        self._due[f"start {name}"] = time.monotonic() + SERVICE_REST_SECONDS

    def _reap(self) -> bool:
        """Bury the dead. Returns whether anybody is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            self._bury(pid, os.waitstatus_to_exitcode(status))

    def _bury(self, pid: int, code: int) -> None:
        if pid == self._script:
            self._script = 0
            _say(f"google_metadata_script_runner: startup-script exit status {code}")
        for name in [name for name, its_pid in self._services.items() if its_pid == pid]:
            _say(f"supervise: {name} ended with status {code}")
            self._rest(name)

    def _kill(self, what: str, whom: str) -> None:
        """A fault on purpose: SIGKILL to the script's process group, a service, or all that match. Said aloud."""
        pids: set[int] = {-self._script if what == "script" else self._services.get(whom) or 0} - {0}
        if what == "matching":
            pids = {pid for pid in _descendants() if re.search(whom, _command_line(pid))}
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _say(f"mayfly: killed {what} {whom}: {len(pids)}")

    # The end

    def _bring_down(self, exit_status: int, grace_seconds: float) -> None:
        """SIGTERM to all, the grace, SIGKILL to what is left."""
        _say("mayfly: going down for " + ("reboot" if exit_status == REBOOT else "power-off"))
        deadline = time.monotonic() + grace_seconds
        told: set[int] = set()
        while self._reap() and (left := deadline - time.monotonic()) > 0:
            told |= _signal_all_but(told, signal.SIGTERM, signal.SIGCONT)  # a stopped process would not hear the first
            readable, _, _ = select.select([self._control], [], [], min(left, LOOK_AGAIN_SECONDS))
            if readable and self._lines(self._control) is None:
                break
        self._kill_all()
        self._exit_status = exit_status

    def _pull_plug(self) -> None:
        self._kill_all()
        os._exit(0)

    def _kill_all(self) -> None:
        while self._reap():
            _signal_all_but(set(), signal.SIGKILL)
            time.sleep(LOOK_AGAIN_SECONDS)


def _spawn(command: list[str], environment: dict[str, str]) -> int:
    """Not by subprocess: it waits on a pipe until the exec, and somebody inside might keep that pipe open."""
    defaults = [signal.SIGPIPE, signal.SIGXFSZ]  # which Python ignores
    return os.posix_spawn(command[0], command, os.environ | environment, setsid=True, setsigdef=defaults)


def _empty(folder: Path) -> None:
    """An empty folder, whatever was there: a link is not followed."""
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)
    else:
        folder.unlink(missing_ok=True)
    folder.mkdir()


def _signal_all_but(told: set[int], *numbers: signal.Signals) -> set[int]:
    """Returns who it was sent to. To PID 1 the kernel gives everybody at once, and nobody slips through."""
    everybody = {-1} if os.getpid() == 1 else _descendants()
    for pid in everybody - told:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            for number in numbers:
                os.kill(pid, number)
    return everybody


def _descendants() -> set[int]:
    pairs = _pairs_of_proc()
    if not pairs:  # no /proc
        listing = subprocess.check_output(["ps", "-A", "-o", "pid=,ppid="])
        pairs = [line.split() for line in listing.decode().splitlines()]
    found = {os.getpid()}
    while more := {int(pid) for pid, parent in pairs if int(parent) in found} - found:
        found |= more
    return found - {os.getpid()}


def _command_line(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    return ""


def _pairs_of_proc() -> list[list[str]]:
    """(pid, parent) of every process; a name may hold anything, so fields are counted from its closing bracket."""
    pairs = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            pairs.append([stat.parent.name, stat.read_bytes().rpartition(b")")[2].split()[1].decode()])
    return pairs


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads the console any more: its end is handled where we read
        os.write(1, text.encode(errors="replace") + b"\r\n")


def main() -> int:
    """Adopt orphans, keep standard input to ourselves, and live."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    control = os.dup(0)
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    root = Path(os.environ["MAYFLY_ROOT"])
    os.chdir(root)
    return Init(root, control).run()


if __name__ == "__main__":
    sys.exit(main())
