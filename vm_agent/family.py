"""Every process of one run: found, however far it wandered, and ended to the last.

A process belongs to the run if it is in its control group, carries the run's id in its environment (which children
inherit through setsid and double forks), is the recorded process itself, or descends from one that belongs. A recorded
pid counts only with its start time: the kernel may have given the number to a stranger.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

COOKIE = "MAYFLY_RUN_ID"  # the environment variable that marks a run's processes

_LOOK_SECONDS = 0.01  # between two looks for survivors
_KILL_SECONDS = 0.2  # between two rounds of SIGKILL: the second is for what was born meanwhile
_FIELD_STARTED = 19  # of /proc/PID/stat behind the name: starttime, in ticks since boot


@dataclass(frozen=True)
class Family:
    """The processes of one run.

    `leader`: the recorded process and its start time. `spared` are never signalled. `unseen` says that somebody is left
    whom a look may miss: what forks and exits all the time has no pid for long enough. Without a control group such a
    job can be known to be there, but not caught if it also takes a new session each time.
    """

    run_id: str
    cookie: str = COOKIE
    leader: tuple[int, str] | None = None
    group: Path | None = None
    spared: frozenset[int] = frozenset()
    unseen: Callable[[], bool] = lambda: False

    def members(self) -> list[psutil.Process]:
        """Those alive now."""
        alive = [process for process in psutil.process_iter() if _alive(process)]
        grouped = set(_pids_of(self.group)) if self.group else set()
        ours = {process.pid for process in alive if process.pid in grouped or self._recognised(process)}
        parents = {process.pid: _parent(process) for process in alive}
        while found := {pid for pid, parent in parents.items() if parent in ours and pid not in ours}:
            ours |= found
        return [process for process in alive if process.pid in ours - self.spared]

    def end(self, grace_seconds: float) -> int:
        """SIGTERM to all, SIGKILL after the grace, until none is seen. Returns how many there were."""
        members = self.members()
        _send(members, signal.SIGTERM)
        if not self._gone_within(grace_seconds):
            self._kill()
            while not self._gone_within(_KILL_SECONDS):
                self._kill()
        if self.group:
            _remove(self.group)
        return len(members)

    def _recognised(self, process: psutil.Process) -> bool:
        if self.leader and process.pid == self.leader[0] and started(process.pid) == self.leader[1]:
            return True
        with contextlib.suppress(psutil.Error, OSError):
            return process.environ().get(self.cookie) == self.run_id
        return False

    def _gone_within(self, seconds: float) -> bool:
        """Seen empty twice running: in the middle of an exec a process shows no environment."""
        until, empty = time.monotonic() + seconds, 0
        while True:
            empty = 0 if self.members() or self._hidden() else empty + 1
            if empty > 1:
                return True
            if not empty and time.monotonic() >= until:
                return False
            time.sleep(_LOOK_SECONDS)

    def _hidden(self) -> bool:
        return self.unseen() or (self.group is not None and any(_pids_of(self.group)))

    def _kill(self) -> None:
        """Faster than they can fork: in one stroke where the kernel offers one, else one by one."""
        if self.group:
            _put(self.group / "cgroup.kill", "1")  # version 2
            _put(self.group / "pids.max", "0")  # version 1: who cannot fork cannot run away from a kill
        members = self.members()
        for process_group in {_process_group(process) for process in members} - {0, os.getpgrp()}:
            with contextlib.suppress(OSError):
                os.killpg(process_group, signal.SIGKILL)
        _send(members, signal.SIGKILL)


def started(pid: int) -> str:
    """The start time of this pid as the kernel keeps it (not as the wall clock shows it), or "" if it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return text.rpartition(")")[2].split()[_FIELD_STARTED]
    except OSError:
        with contextlib.suppress(psutil.Error):  # a system without /proc
            return str(psutil.Process(pid).create_time())
    return ""


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _parent(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return process.ppid()
    return 0


def _process_group(process: psutil.Process) -> int:
    with contextlib.suppress(OSError):
        return os.getpgid(process.pid)
    return 0


def _put(path: Path, text: str) -> None:
    with contextlib.suppress(OSError):  # the other version has no such file
        path.write_text(text, encoding="ascii")


def _send(members: list[psutil.Process], number: signal.Signals) -> None:
    for process in members:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)  # psutil refuses a pid that was recycled since it looked


def _pids_of(group: Path) -> Iterator[int]:
    """Those in this control group and in groups that the job made inside it."""
    for folder, _, _ in os.walk(group):
        with contextlib.suppress(OSError):
            yield from map(int, (Path(folder) / "cgroup.procs").read_text(encoding="ascii").split())


def _remove(group: Path) -> None:
    for folder, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            Path(folder).rmdir()
