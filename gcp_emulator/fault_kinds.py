"""What can go wrong: one frozen class each, with its fields as the JSON names them. What it does is done elsewhere.

OnTheWay   the connection between caller and service          cloud.py
Instead    the answer that a request gets, and nothing else   cloud.py
Ending     how the operation that a request begins ends       operations.py
JobFails   what a change of a Cloud Run job comes to          run_job_methods.py
AtBoot     what the next boot of a VM comes to                power.py
AtTick     what a tick of Cloud Scheduler comes to            scheduler_ticks.py
Event      what happens to a VM, or a task, at some moment    mishaps.py
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from gcp_emulator.errors import OperationError

EVERYTHING = "*"
READS_WITH_A_PAST = ("instances.get", "addresses.get")


@dataclass(frozen=True)
class Fault:
    """Any of them. `on`: the verbs of a rule that names none; `only`: the verbs that make sense at all."""

    on: ClassVar[str | None] = EVERYTHING
    only: ClassVar[tuple[str, ...]] = ()


# --- between caller and service ----------------------------------------------------------------------------------


class OnTheWay(Fault):
    """The request or its reply gets lost, or comes late."""


@dataclass(frozen=True)
class LoseRequest(OnTheWay):
    """It never arrives: nothing is done, and the connection ends without an answer."""


@dataclass(frozen=True)
class LoseReply(OnTheWay):
    """It is done, and the connection ends without an answer."""


@dataclass(frozen=True)
class Late(OnTheWay):
    """It is answered after so many seconds, whoever is still there to hear it. It is done at once, or only then."""

    seconds: float
    effect: Literal["at_once", "at_the_end"] = "at_once"


# --- another answer ----------------------------------------------------------------------------------------------


class Instead(Fault):
    """Nothing is done; the request is answered by this."""


@dataclass(frozen=True)
class ReplyWith(Instead):
    """An error."""

    status: int
    reason: str = "backendError"
    message: str = "The service is currently unavailable."


@dataclass(frozen=True)
class RateLimit(Instead):
    """403 rateLimitExceeded, for this request and every one like it until the next full minute."""

    message: str = "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute' of service 'compute'."


@dataclass(frozen=True)
class Stale(Instead):
    """What was true so many seconds ago, but never before the rule was given."""

    on: ClassVar[str | None] = "|".join(READS_WITH_A_PAST)
    only: ClassVar[tuple[str, ...]] = READS_WITH_A_PAST
    seconds: float


# --- how an operation ends ---------------------------------------------------------------------------------------


class Ending(Fault):
    """The request is accepted; its operation comes to this."""


_NO_MACHINE = "The zone '{zone}' does not have enough resources available to fulfill the request.  "
_KNOWN: Mapping[str, tuple[int, str]] = {  # code -> HTTP status, message
    "CONDITION_NOT_MET": (412, "Supplied fingerprint does not match current metadata fingerprint."),
    "INTERNAL_ERROR": (500, "Internal error. Please try again or contact Google Support."),
    "IP_IN_USE_BY_ANOTHER_RESOURCE": (400, "IP is already being used by another resource."),
    "QUOTA_EXCEEDED": (403, "Quota 'NVIDIA_T4_GPUS' exceeded.  Limit: 0.0 in region."),
    "RESOURCE_NOT_READY": (400, "The resource is not ready"),
    "ZONE_RESOURCE_POOL_EXHAUSTED": (
        503,
        _NO_MACHINE + "Try a different zone, or try again later.",
    ),
    "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS": (
        503,
        _NO_MACHINE + "'(resource type:compute)'.",
    ),
}


@dataclass(frozen=True)
class OperationFails(Ending):
    """DONE with an error, and without effect. Of codes that we know, status and message need not be said."""

    code: str
    message: str | None = None
    status: int | None = None

    def error(self, zone: str) -> OperationError:
        """How the operation ends; `zone` is its scope: projects/P/zones/Z."""
        status, message = _KNOWN.get(self.code, (400, ""))
        words = message.format(zone=zone) if self.message is None else self.message
        return OperationError(self.code, words, self.status or status)


@dataclass(frozen=True)
class Stockout(Ending):
    """The zone has no such machine left: ZONE_RESOURCE_POOL_EXHAUSTED, or the same _WITH_DETAILS."""

    on: ClassVar[str | None] = "instances.start|instances.insert"
    details: bool = False

    def error(self, zone: str) -> OperationError:
        """How the operation ends."""
        return OperationFails("ZONE_RESOURCE_POOL_EXHAUSTED" + ("_WITH_DETAILS" if self.details else "")).error(zone)


@dataclass(frozen=True)
class WithoutEffect(Ending):
    """DONE without error, and nothing has changed: a VM that was "stopped" is RUNNING."""


@dataclass(frozen=True)
class NeverEnds(Ending):
    """It is never DONE; what it was to do happens all the same, or does not."""

    effect: bool = True


# --- jobs of Cloud Run -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class JobFails(Fault):
    """The change is accepted, and the job is there and never ready: for a secret without a version, say."""

    on: ClassVar[str | None] = "run.jobs.create|run.jobs.update"
    only: ClassVar[tuple[str, ...]] = ("run.jobs.create", "run.jobs.update")
    message: str = "Secret projects/1/secrets/key/versions/latest was not found"


# --- boots -------------------------------------------------------------------------------------------------------


class AtBoot(Fault):
    """Meets the next boot of a VM."""

    on: ClassVar[str | None] = None


@dataclass(frozen=True)
class BootFailure(AtBoot):
    """The startup script is cut off as soon as the console shows this text; without one the kernel never comes up."""

    at: str | None = None


@dataclass(frozen=True)
class DiskFull(AtBoot):
    """The disk has room for so many bytes more. What is written on it meanwhile is gone at the end of this boot."""

    room_bytes: int = 0


# --- ticks -------------------------------------------------------------------------------------------------------


class AtTick(Fault):
    """Meets a tick of Cloud Scheduler; the rule's `resource` is a pattern of the job's path."""

    on: ClassVar[str | None] = "cloudscheduler.tick"
    only: ClassVar[tuple[str, ...]] = ("cloudscheduler.tick",)


@dataclass(frozen=True)
class TickTwice(AtTick):
    """The target is called twice for one tick, the second time so many seconds later."""

    after: float = 0


# --- events ------------------------------------------------------------------------------------------------------


class Event(Fault):
    """Happens to a VM: now, later, or when a request comes."""

    on: ClassVar[str | None] = None


@dataclass(frozen=True)
class Preempt(Event):
    """Compute Engine takes a Spot VM back: `preempted` is TRUE, the guest has 30 s, then it is off."""


@dataclass(frozen=True)
class HostError(Event):
    """The machine underneath fails: all is gone at once; restarted elsewhere if its scheduling says so."""


@dataclass(frozen=True)
class GuestCrash(Event):
    """The kernel panics: no process is left, the VM stays RUNNING and hears no power button."""


@dataclass(frozen=True)
class Kill(Event):
    """SIGKILL, for a service by the name that its supervisor knows, or for every process whose command line matches."""

    service: str | None = None
    matching: str | None = None  # regular expression


@dataclass(frozen=True)
class Partition(Event):
    """For so long nothing gets through to the VM's external address, nor from it to its metadata server if so said."""

    seconds: float
    metadata: bool = False


@dataclass(frozen=True)
class WriteMetadata(Event):
    """Another writer sets one item of the VM's metadata, or takes it off (null). {n} is a new number each time."""

    key: str
    value: str | None = "{n}"


@dataclass(frozen=True)
class KillTasks(Event):
    """SIGKILL for the container of every task of Cloud Run that runs now and whose job's name matches the pattern."""

    job: str = "*"


KINDS: Mapping[str, type[Fault]] = {
    "reply": ReplyWith,
    "rate_limit": RateLimit,
    "stale": Stale,
    "lose_request": LoseRequest,
    "lose_reply": LoseReply,
    "late": Late,
    "operation_error": OperationFails,
    "stockout": Stockout,
    "operation_without_effect": WithoutEffect,
    "operation_never_ends": NeverEnds,
    "job_fails": JobFails,
    "boot_failure": BootFailure,
    "disk_full": DiskFull,
    "preempt": Preempt,
    "host_error": HostError,
    "guest_crash": GuestCrash,
    "kill": Kill,
    "partition": Partition,
    "write_metadata": WriteMetadata,
    "tick_twice": TickTwice,
    "kill_tasks": KillTasks,
}
NAMES: Mapping[type[Fault], str] = {kind: name for name, kind in KINDS.items()}
