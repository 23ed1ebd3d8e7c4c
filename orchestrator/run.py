"""What is asked for, and how it ended: the orders, the outcome and the receipt."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from orchestrator.errors import Exit
from orchestrator.lease import AddressPolicy
from vm_agent.protocol import Job, Mode


class OnRunning(StrEnum):
    """What to do about a VM that is already on, without a lease of ours."""

    REFUSE = "refuse"
    ADOPT = "adopt"


class OnInterrupt(StrEnum):
    """What to do about a run that was cut off in the middle."""

    FAIL = "fail"
    RERUN = "rerun"


class Reach(StrEnum):
    """By which of its addresses the agent is called."""

    EXTERNAL = "external"
    INTERNAL = "internal"


@dataclass(frozen=True)
class Run:
    """One run as ordered. `key` is what makes it one: the same key is never started twice."""

    key: str
    mode: Mode
    job: Job | None  # None: the agent's own default
    params: dict[str, Any]
    timeout: timedelta  # of the job, from its start
    max_run: timedelta  # of the VM, from RUNNING: boot + timeout + margin; Google stops it then
    holder: str  # who we are, for the person who finds our lease
    nonce: str  # what tells our lease from everybody else's
    project: str
    region: str
    zone: str
    instance: str
    address: str | None  # the reserved address's name
    ephemeral: bool = False  # the VM is made for this run, and deleted after it; its lease is kept elsewhere
    meaning: str = ""  # what the key stands for: job and params, as a hash
    windowed: bool = False  # the key is that of a window of time: an earlier attempt's word on it counts
    attempts_most: int = 1  # a run that was cut off is begun again until it has been begun this often
    wait_for_lease: timedelta = timedelta(0)  # how long to stand in line behind another run
    execution: str = ""  # the Cloud Run execution, "" elsewhere
    task: int = 0
    task_attempt: int = 0
    address_policy: AddressPolicy = AddressPolicy.DETACH
    on_running: OnRunning = OnRunning.REFUSE
    reach: Reach = Reach.EXTERNAL
    agent_port: int = 8000
    out: Path | None = None  # where artifacts and the log are copied to
    price_per_hour: float | None = None
    currency: str = "USD"


class Outcome(StrEnum):
    """How it ended, in one word."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    NO_MACHINE = "no-machine"
    AGENT_FAULT = "agent-fault"
    INTERRUPTED = "interrupted"
    BUSY = "busy"
    TIMED_OUT = "timed-out"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"
    CLEANUP_OWED = "cleanup-owed"

    @property
    def exit(self) -> Exit:
        """The exit code that says the same."""
        return _EXITS[self]


_EXITS = {
    Outcome.SUCCEEDED: Exit.SUCCEEDED,
    Outcome.FAILED: Exit.JOB_FAILED,
    Outcome.NO_MACHINE: Exit.NO_MACHINE,
    Outcome.AGENT_FAULT: Exit.AGENT,
    Outcome.INTERRUPTED: Exit.INTERRUPTED,
    Outcome.BUSY: Exit.BUSY,
    Outcome.TIMED_OUT: Exit.TIMED_OUT,
    Outcome.CANCELLED: Exit.JOB_FAILED,
    Outcome.TERMINATED: Exit.TERMINATED,
    Outcome.CLEANUP_OWED: Exit.CLEANUP_OWED,
}


@dataclass(frozen=True)
class Verdict:
    """Why we come down, and what we tell the user about it."""

    outcome: Outcome
    detail: str = ""
    result: Any = None
    settled: bool = True  # False: another try may learn more, so this is not what the key is remembered by
    attempts: int | None = None  # told from memory, of so many attempts; None: it is today's news


@dataclass(frozen=True)
class PhaseTime:
    """One phase of the run as the user saw it."""

    name: str
    started: datetime
    seconds: float


@dataclass(frozen=True)
class CopiedFile:
    """One file that was copied out of the VM."""

    path: str  # as the job named it; the log is "log.txt"
    size: int  # bytes
    sha256: str  # hex
    saved_to: str


@dataclass(frozen=True)
class VmUse:
    """What of the VM was used. Seconds are billed seconds: from PROVISIONING left until seen off."""

    instance: str
    zone: str
    id: str
    billed_seconds: float | None = None  # None: never seen on, or not seen off
    idle_seconds: float | None = None  # billed seconds in which no accepted run was live
    cost: float | None = None  # None where no price is set
    currency: str | None = None


@dataclass(frozen=True)
class Receipt:
    """What happened, for people and programs: the only thing we print on stdout."""

    run_key: str
    mode: Mode
    outcome: Outcome
    exit_code: int
    project: str
    job: str
    started_at: datetime
    detail: str = ""
    result: Any = None
    attempts: int = 1
    answered_from_memory: bool = False
    artifacts: tuple[CopiedFile, ...] = ()
    phases: tuple[PhaseTime, ...] = field(default=())
    vm: VmUse | None = None
    address: dict[str, str | None] | None = None  # name, ip, policy
    cleanup: str = "confirmed"  # or "owed"
