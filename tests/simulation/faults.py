"""What can go wrong in a schedule, and where: at the n-th request of any orchestrator, counted from the first.

A schedule is written as one word, so that it can be given to `make sim`: `12:lost,15:crash-after`, or `seed-7`.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from random import Random


class Kind(StrEnum):
    """One thing that goes wrong."""

    # to the request itself
    LOST = "lost"  # it never arrives; the caller waits for as long as it has patience
    REPLY_LOST = "reply-lost"  # it is done, and the connection breaks before anybody hears of it
    LATE = "late"  # it arrives just before its caller gives up, and is answered after
    OPERATION_ERROR = "operation-error"  # the operation that it begins ends in an error (a change of the cloud's)
    UNAVAILABLE = "5xx"  # it is refused, and not done
    # to whoever sends it
    CRASH_BEFORE = "crash-before"
    CRASH_AFTER = "crash-after"  # done, and its sender dies on hearing of it
    SIGTERM = "sigterm"
    PAUSE = "pause"  # before it is sent, for longer than the lease lives
    # to the world, meanwhile
    STOPPED = "stopped"  # a person stops the VM
    PREEMPTED = "preempted"  # Google takes the VM away: half a minute's notice
    HOST_ERROR = "host-error"  # the power fails under the VM
    SECOND_TRIGGER = "second-trigger"  # another execution, with a key of its own, wants the same VM
    SWEEP = "sweep"


AT_REQUESTS = tuple(Kind)[:9]
AT_ANY_TIME = tuple(Kind)[9:]


@dataclass(frozen=True)
class Schedule:
    """What happens, and when. `seed` decides the order of what is ready and how long things take; None: no luck."""

    faults: dict[int, tuple[Kind, ...]] = field(default_factory=dict)
    seed: int | None = None

    def __str__(self) -> str:
        if self.seed is not None:
            return f"seed-{self.seed}"
        return ",".join(f"{at}:{kind}" for at, kinds in self.faults.items() for kind in kinds) or "nominal"

    @property
    def command(self) -> str:
        """How to see it again."""
        return f"make sim SEED={self.seed}" if self.seed is not None else f"make sim SCHEDULE={self}"


def of_seed(seed: int) -> Schedule:
    """One in five times all is well; else some faults, most of them near each other and early, as real ones are."""
    random = Random(f"schedule {seed}")
    faults: dict[int, tuple[Kind, ...]] = {}
    at = 0
    for _ in range(random.choice((0, 1, 2, 3, 5))):
        at += int(random.expovariate(1 / 12))
        faults[at] = (*faults.get(at, ()), random.choice(tuple(Kind)))
    return Schedule(faults, seed)


def parsed(text: str) -> Schedule:
    """The schedule that `str` wrote so."""
    if text.startswith("seed-"):
        return of_seed(int(text.removeprefix("seed-")))
    faults: dict[int, tuple[Kind, ...]] = {}
    for part in text.split(",") if text not in {"", "nominal"} else ():
        at, _, kind = part.partition(":")
        faults[int(at)] = (*faults.get(int(at), ()), Kind(kind))
    return Schedule(faults)
