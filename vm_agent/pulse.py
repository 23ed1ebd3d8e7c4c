"""The agent's pulse: a small file by which the watch of startup.sh knows when to power off, should the agent not do it.

    off=4210 run=0 keeper=0 heard=4030.12 lease=5feceb66ffc86f38 held=0 hold=e3b0c44298fc1c14

Moments are seconds on the boot clock. The line stands there twice: a reader that finds two different ones came in the
middle of a write. It is written in place, into the same page: that needs no room on a disk that a job has filled.
"""

import logging
import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

log = logging.getLogger(__name__)

NEVER = 99_999_999_999  # three thousand years, in whole seconds that a shell can compare
_WIDTH = 255
_LINE = re.compile(r"off=(\d+) run=(\d+) keeper=(\d+) heard=(\d+\.\d+) lease=(\w*) held=(\d+) hold=(\w*) *")


@dataclass(frozen=True)
class Pulse:
    """What the agent knew last."""

    off: float  # silence, or the hold, is over then
    heard: float  # the last word
    run: float = 0.0  # until then a run in progress may take, graces included; 0: there is none; may be inf
    keeper: int = 0  # the pid of that run's keeper; 0 until it has one. When it is gone, so is the run
    lease: str = ""  # a digest of the lease that was seen last
    held: float = 0.0  # a person is at work until then
    hold: str = ""  # a digest of the words that say so


@dataclass
class PulseFile:
    """The pulse on disk. A failure to write it is told once: the agent's own dead-man needs no file."""

    path: Path
    _failed: bool = field(default=False, init=False)

    def read(self) -> Pulse | None:
        """What the agent before this one left; None if there is nothing that can be understood."""
        try:
            first, second, *_ = self.path.read_text(encoding="ascii").splitlines()
        except (OSError, ValueError):
            return None
        match = _LINE.fullmatch(first)
        if match is None or first != second:
            return None
        off, run, keeper, heard, lease, held, hold = match.groups()
        return Pulse(float(off), float(heard), float(run), int(keeper), lease, float(held), hold)

    def write(self, pulse: Pulse) -> None:
        """Put this in the place of what is there."""
        line = f"off={_whole(pulse.off)} run={_whole(pulse.run)} keeper={pulse.keeper} "
        line += f"heard={pulse.heard:.2f} lease={pulse.lease} held={_whole(pulse.held)} hold={pulse.hold}"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                os.pwrite(file, f"{line:<{_WIDTH}}\n".encode("ascii") * 2, 0)
            finally:
                os.close(file)
        except OSError as problem:
            if not self._failed:
                log.warning("the pulse cannot be written to %s: %s", self.path, problem)
            self._failed = True
        else:
            self._failed = False


def _whole(moment: float) -> int:
    return min(math.ceil(moment), NEVER) if math.isfinite(moment) else NEVER
