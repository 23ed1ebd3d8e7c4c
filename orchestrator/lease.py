"""The lease: one JSON value in the VM's metadata says who may use the VM, until when, and how earlier runs ended."""

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

# Where the leases of VMs are kept that do not outlive their run: an object each, below it.
STATE_URL = re.compile(r"gs://(?P<bucket>[a-z0-9][a-z0-9._-]{1,220}[a-z0-9])(?:/(?P<prefix>[^?#]*?))?/?")


class AddressPolicy(StrEnum):
    """What becomes of the static IP when the VM is off."""

    DETACH = "detach"
    KEEP = "keep"
    RELEASE = "release"


class Phase(StrEnum):
    """What the holder is doing: what somebody who finds the lease must expect."""

    FREE = "free"
    CLAIMED = "claimed"  # going up; the agent was not asked for anything yet
    INVOKING = "invoking"  # the agent may have accepted our run
    STOPPING = "stopping"  # a stop may be on its way: finish it before anything is started


@dataclass(frozen=True)
class Found:
    """How the VM was before we touched it: we leave on what was on."""

    running: bool = False
    ip: str | None = None


@dataclass(frozen=True)
class Remembered:
    """How a finished run ended: a retry or a doubled tick is answered from this."""

    key: str
    outcome: str
    exit_code: int
    ended_at: datetime
    result: Any = None
    mode: str = "run"
    meaning: str = ""  # what the key stood for: job and params, as a hash
    attempts: int = 1


@dataclass(frozen=True)
class Window:
    """The key that an execution's task worked out once: its later attempts use it, whatever the clock says by then."""

    execution: str
    task: int
    key: str


@dataclass(frozen=True)
class Lease:
    """Who holds the VM. `nonce` makes it ours; `epoch` is the fencing token and only ever grows."""

    epoch: int
    nonce: str = ""
    key: str = ""
    mode: str = "run"
    meaning: str = ""  # what the key stands for: job and params, as a hash
    holder: str = ""
    phase: Phase = Phase.FREE
    asked: bool = False  # the agent may have been asked for the run, by us or by one whom we took over from
    execution: str = ""  # the Cloud Run execution and its task: who may go on with this run at once
    task: int = 0
    task_attempt: int = 0  # which of Cloud Run's tries
    address: str | None = None  # the reserved address that goes with the run: whoever cleans up takes it off
    address_policy: AddressPolicy = AddressPolicy.DETACH
    expires_at: datetime | None = None
    run_deadline: datetime | None = None
    found: Found = Found()
    outcomes: tuple[Remembered, ...] = field(default=())
    windows: tuple[Window, ...] = field(default=())

    def held(self, now: datetime) -> bool:
        """Somebody holds it and has not let it expire."""
        return self.phase is not Phase.FREE and self.expires_at is not None and now < self.expires_at

    def released(self) -> "Lease":
        """The same lease, free: the epoch, and what is to be remembered, stay."""
        return Lease(epoch=self.epoch, outcomes=self.outcomes, windows=self.windows)

    def remembering(self, ended: Remembered, most: int) -> "Lease":
        """With one more outcome; the oldest beyond `most` are forgotten."""
        others = tuple(known for known in self.outcomes if (known.key, known.mode) != (ended.key, ended.mode))
        return replace(self, outcomes=(*others, ended)[-most:])

    def recall(self, key: str, mode: str) -> Remembered | None:
        """How the run of that key ended, if we still know."""
        return next((known for known in self.outcomes if (known.key, known.mode) == (key, mode)), None)

    def with_window(self, window: Window, most: int) -> "Lease":
        """With one more window; the oldest beyond `most` are forgotten."""
        others = tuple(known for known in self.windows if known != window)
        return replace(self, windows=(*others, window)[-most:])

    def window_of(self, execution: str, task: int) -> str | None:
        """The key that an earlier attempt of that task worked out."""
        keys = (known.key for known in self.windows if (known.execution, known.task) == (execution, task))
        return next(keys, None)

    def to_json(self) -> str:
        """The metadata value: compact JSON, times in RFC 3339."""
        return json.dumps(asdict(self), default=_plain, separators=(",", ":"))


def read_lease(value: str | None) -> Lease | None:
    """The lease in a metadata value, or None if there is none or it is not one of ours.

    What it does not say is as `Lease` has it by default, and what we do not know is passed over: another release of
    ours may have written it.
    """
    try:
        fields = json.loads(value or "")
        return Lease(**{name: read(fields[name]) for name, read in _READ.items() if name in fields})
    except (TypeError, ValueError, KeyError):
        return None


def next_epoch(previous: Lease | None, now: datetime) -> int:
    """Larger than any epoch before, even if the value that held the last one was wiped."""
    return max((previous.epoch if previous else 0) + 1, int(now.timestamp()))


def _remembered(fields: dict[str, Any]) -> Remembered:
    return Remembered(**{**fields, "ended_at": datetime.fromisoformat(fields["ended_at"])})


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="seconds")
    raise TypeError(f"{type(value).__name__} has no place in a lease")


_READ: dict[str, Callable[[Any], Any]] = {
    "epoch": int,
    "nonce": str,
    "key": str,
    "mode": str,
    "meaning": str,
    "holder": str,
    "phase": Phase,
    "asked": bool,
    "execution": str,
    "task": int,
    "task_attempt": int,
    "address": lambda name: name,
    "address_policy": AddressPolicy,
    "expires_at": _time,
    "run_deadline": _time,
    "found": lambda fields: Found(**fields),
    "outcomes": lambda known: tuple(_remembered(fields) for fields in known),
    "windows": lambda known: tuple(Window(**fields) for fields in known),
}
