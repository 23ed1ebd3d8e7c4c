"""The keeper of one run: a small process between the agent and the job, so that neither can take the other down.

    python -P -m vm_agent.runner FOLDER                      keep: started by the agent, which holds the end of stdin
    python -P -m vm_agent.runner FOLDER PID STARTED GROUP    clear away what a keeper that died (PID, start time) left

It waits for GO on stdin, starts the job, and ends everything the job started when the job ends, when its deadline
comes, on STOP, or when stdin closes because the agent is gone. Then it writes `outcome.json`, and `artifacts.json`
with sizes and hashes.
Orphans of the job become its children (subreaper); the job itself dies with it (parent death signal).
Files: the order is FOLDER/order.json; stdout and stderr are the run's log, which the job inherits; FOLDER/reserve keeps
room on the disk in which to tell how the run ended, even if the job filled the rest.
"""

import contextlib
import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vm_agent.job_user import become

GO, STOP = b"g", b"s"
RESERVE = "reserve"

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
SIGNALS_OUTLIVED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # the keeper must tell how the job took them


def main(arguments: list[str]) -> None:
    """Keep a run, or clear one away."""
    folder = Path(arguments[0])
    if len(arguments) > 1:
        _, pid, started, group = arguments
        order = _order_of_the_dead(folder, group)
        _family(order, leader=(int(pid), started)).end(order["leftover_grace_seconds"])
        (folder / RESERVE).unlink(missing_ok=True)
    else:
        order = json.loads((folder / "order.json").read_bytes())
        outcome = keep(order)
        (folder / RESERVE).unlink(missing_ok=True)
        write_whole(folder / "outcome.json", outcome)
        _close(order["group"])
    with contextlib.suppress(OSError):  # without it, what there is can still be listed and served
        _take_stock(folder)


def keep(order: Mapping[str, Any]) -> dict[str, Any]:
    """Start the job when told to, follow it to its end, and say how it ended."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    watch = Watch()
    if reason := watch.until_go():
        return {"reason": reason}
    try:
        job = _start(order)
    except (OSError, ValueError, subprocess.SubprocessError) as problem:  # ValueError: a NUL in an argument
        return {"reason": None, "error": _why_not(order, problem)}
    deadline = None if order["timeout_seconds"] is None else time.monotonic() + order["timeout_seconds"]
    family = _family(
        order, unseen=watch.has_children
    )  # imports now, while the job works, not when somebody waits for its end
    reason = watch.until_end_of(job, deadline)
    grace = order["stop_grace_seconds"] if reason else order["leftover_grace_seconds"]
    count = family.end(grace)
    if count and not reason:
        print(f"mayfly: the job left {count} processes behind; they were ended", file=sys.stderr)  # noqa: T201
    status = watch.status_of(job)
    return {"reason": reason, "exit_code": max(status, 0) if status >= 0 else None, "signal": _name(-status)}


class Watch:
    """Sleeps until the agent speaks, a child ends or a moment comes; collects the status of every child."""

    def __init__(self) -> None:
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        os.set_blocking(reading, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, *SIGNALS_OUTLIVED):
            signal.signal(number, lambda *_: None)  # a handler, not SIG_IGN: the job must not inherit deafness
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS_OUTLIVED)  # the agent held them back until there was one
        self._wakeups = reading
        self._selector = selectors.DefaultSelector()
        self._selector.register(reading, selectors.EVENT_READ)
        self._selector.register(0, selectors.EVENT_READ)
        self._statuses: dict[int, int] = {}

    def until_go(self) -> str | None:
        """None once the agent says GO; else why the job must not start."""
        while True:
            heard = self._heard(None)
            if heard is not None:
                return None if heard == GO else _reason(heard)

    def until_end_of(self, job: int, deadline: float | None) -> str | None:
        """None once the job's first process has ended; else why it must be ended."""
        while True:
            self._collect()
            if job in self._statuses:
                return None
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return "deadline"
            heard = self._heard(left)
            if heard is not None and heard != GO:
                return _reason(heard)

    def status_of(self, job: int) -> int:
        """The exit code, or minus the signal. The process has been seen gone."""
        while job not in self._statuses:
            time.sleep(0.001)
            self._collect()
        return self._statuses[job]

    def _heard(self, seconds: float | None) -> bytes | None:
        """What the agent said (b"": it is gone), or None if something else woke us or the time is over."""
        for key, _ in self._selector.select(seconds):
            if key.fd == 0:
                return os.read(0, 1)
            os.read(self._wakeups, 4096)
        return None

    def has_children(self) -> bool:
        """Whether anything of the job is alive: whoever loses its parent becomes our child."""
        return self._collect()

    def _collect(self) -> bool:
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return True
                self._statuses[pid] = os.waitstatus_to_exitcode(status)
        except ChildProcessError:
            return False


def _reason(heard: bytes) -> str:
    return "cancelled" if heard == STOP else "abandoned"


def _start(order: Mapping[str, Any]) -> int:
    job = subprocess.Popen(
        order["argv"],
        cwd=order["cwd"],
        env={**os.environ, **order["environment"]},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_within(order),  # noqa: PLW1509 - this process has one thread
    )
    job.returncode = 0  # its status is collected by Watch, with those of its orphans
    return job.pid


def _within(order: Mapping[str, Any]) -> Callable[[], None]:
    """What the job's process does to itself before it becomes the job. Only to become another user may not fail."""

    def precautions() -> None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.nice(order["niceness"])
        _put("/proc/self/autogroup", order["niceness"])  # where sessions are scheduled against each other
        _put("/proc/self/oom_score_adj", order["oom_score"])
        if order["group"]:
            _put(f"{order['group']}/cgroup.procs", 0)
        if order["user"]:
            become(order["user"])
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # the kernel forgot it as the user changed

    return precautions


def _why_not(order: Mapping[str, Any], problem: Exception) -> str:
    if isinstance(problem, OSError) and problem.filename == order["cwd"]:
        return f"cannot enter the job's folder {order['cwd']}: {problem.strerror}"
    if isinstance(problem, subprocess.SubprocessError):
        return f"cannot become the user {order['user']['name']!r}"
    return f"cannot start {order['argv'][0]!r}: {problem.strerror if isinstance(problem, OSError) else problem}"


def _order_of_the_dead(folder: Path, group: str) -> dict[str, Any]:
    """What was ordered; what can be known without it where the job has damaged the file."""
    known = {"run_id": folder.name, "group": group or None, "leftover_grace_seconds": 0}
    with contextlib.suppress(OSError, ValueError, TypeError):
        known |= json.loads((folder / "order.json").read_bytes())
    return known


def _take_stock(folder: Path) -> None:
    """Count the artifacts once: sizes, hashes, and what has to be left out."""
    from vm_agent.artifacts import inventory, left_out  # noqa: PLC0415 - the job has ended: imports cost nobody anything

    if (folder / "artifacts.json").exists():
        return
    for path in left_out(folder / "artifacts"):
        print(f"mayfly: the artifact {path!r} cannot be listed: its name is not UTF-8", file=sys.stderr)  # noqa: T201
    write_whole(folder / "artifacts.json", inventory(folder / "artifacts"))


def _family(order: Mapping[str, Any], **known: Any) -> Any:
    from vm_agent.family import Family  # noqa: PLC0415 - psutil takes 40 ms to import, and the job has been started by now

    group = Path(order["group"]) if order["group"] else None
    return Family(order["run_id"], group=group, spared=frozenset({os.getpid()}), **known)


def _close(group: str | None) -> None:
    """A job that never began has left its control group behind."""
    with contextlib.suppress(OSError):
        Path(group).rmdir() if group else None


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _put(path: str, value: int) -> None:
    with contextlib.suppress(OSError):
        Path(path).write_text(str(value), encoding="ascii")


def _name(number: int) -> str | None:
    if number <= 0:
        return None
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def write_whole(path: Path, value: Any) -> None:
    """The whole file or none of it, on disk before it has its name; for nobody else to read."""
    draft = path.with_suffix(".new")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


if __name__ == "__main__":
    main(sys.argv[1:])
