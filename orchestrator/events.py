"""What the orchestrator says while it works. The edges turn it into log lines or a live view."""

from dataclasses import dataclass
from datetime import datetime

from orchestrator.run import Receipt


@dataclass(frozen=True)
class PhaseStarted:
    """A phase (lease, deadline, address, start, boot, job, collect, stop, detach, release) has begun."""

    name: str
    at: datetime
    sentence: str  # "Starting gpu-vm in us-central1-a"


@dataclass(frozen=True)
class PhaseEnded:
    """It is over; `error` says why it failed, None if it did what it should."""

    name: str
    at: datetime
    seconds: float
    error: str | None = None


@dataclass(frozen=True)
class JobProgress:
    """The job's own word on how far it is."""

    fraction: float | None
    message: str


@dataclass(frozen=True)
class JobOutput:
    """Bytes that the job printed, in order, as they come; a character may be cut between two of them."""

    data: bytes


@dataclass(frozen=True)
class Note:
    """Something the user should know; severity as in Cloud Logging (INFO, NOTICE, WARNING, ERROR)."""

    severity: str
    message: str


@dataclass(frozen=True)
class Ended:
    """The last event."""

    receipt: Receipt


Event = PhaseStarted | PhaseEnded | JobProgress | JobOutput | Note | Ended
