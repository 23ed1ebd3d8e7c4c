"""Keeps one container's process: `python -I task_keeper.py PLAN`, started by the executor of tasks.

PLAN is JSON: {"program": [...], "afterwards": [...]}. The program is what PID 1 is in a container: SIGTERM is for it
alone, its end is the end of everything that it started, and its exit status is ours. Standard input is a pipe whose
other end X
`afterwards` is run when the program is gone (docker: the client's end is not the container's).
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
NOT_FOUND = 127  # as a shell says it


def main(plan: dict[str, Sequence[str]]) -> int:
    """Run the program to its end, or to ours. Returns its exit status, negative for a signal."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)  # who is left over comes to us
    wake, wake_writer = os.pipe()
    os.set_blocking(wake_writer, False)
    signal.set_wakeup_fd(wake_writer)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    terms: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: terms.append(1))
    try:
        nothing = subprocess.DEVNULL
        child = subprocess.Popen(plan["program"], stdin=nothing, start_new_session=True, preexec_fn=_die_with_us)  # noqa: PLW1509
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return NOT_FOUND
    watched = [0, wake]
    while child.poll() is None:
        readable, _, _ = select.select(watched, [], [])
        if wake in readable:
            os.read(wake, 4096)
        while terms:
            terms.pop()
            child.send_signal(signal.SIGTERM)
        if 0 in readable and not os.read(0, 4096):
            watched.remove(0)
            child.kill()
    _kill_what_is_left(child.pid)
    if plan["afterwards"]:
        subprocess.run(plan["afterwards"], check=False, stdin=subprocess.DEVNULL, capture_output=True)
    return child.returncode


def _die_with_us() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _kill_what_is_left(group: int) -> None:
    """Whatever the program has started, however it has hidden: first its group, then all that became our children."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
    while sys.platform == "linux":
        with open(f"/proc/self/task/{os.getpid()}/children") as file:  # noqa: PTH123 - no pathlib: it takes time
            children = [int(pid) for pid in file.read().split()]
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)


if __name__ == "__main__":
    status = main(json.loads(sys.argv[1]))
    if status < 0:
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)
