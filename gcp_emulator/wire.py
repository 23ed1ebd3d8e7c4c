"""What goes in and out of the model: requests and replies, effects on guests and tasks, and what these say.

Plain frozen values. Both doors (the HTTP server, and the in-process one with virtual time) speak them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Request:
    """One HTTP request: header names in lower case, path without the query, percent-decoded but for %2F.

    Compared by identity: a held request is asked again as the same object.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer; the headers always name a content type."""

    status: int
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Lost:
    """No answer, ever: end the connection without a word. What was done, the history tells."""


LOST = Lost()


@dataclass(frozen=True, slots=True)
class Held:
    """A long poll: ask the same request again once `Cloud.changes` has risen, or at `until`."""

    until: datetime


@dataclass(slots=True)
class Delayed:
    """A request whose answer is not given before its time."""

    until: datetime
    reply: Reply | None = None


# --- effects: what the door must do to guests, tasks and the network, in this order -----------------------------


@dataclass(frozen=True, slots=True)
class Boot:
    """The machine was switched on: run its startup script."""

    instance: str  # key: projects/P/zones/Z/instances/NAME
    name: str
    instance_id: str
    internal_ip: str
    startup_script: str
    disk_room_bytes: int | None = None  # a fault rule leaves no more than this on its disk


@dataclass(frozen=True, slots=True)
class PressPowerButton:
    """Ask the guest to end; after the grace nothing may be left. The door then says ShutDown."""

    instance: str
    grace_seconds: float


@dataclass(frozen=True, slots=True)
class PullPlug:
    """Kill the guest now. Nothing is said afterwards."""

    instance: str


@dataclass(frozen=True, slots=True)
class EraseDisk:
    """The instance is gone for good (reset to the seed, or deleted): so is its disk."""

    instance: str


@dataclass(frozen=True, slots=True)
class Forward:
    """From now on the external address leads to the internal one."""

    external: str
    internal: str


@dataclass(frozen=True, slots=True)
class Unforward:
    """The external address leads nowhere again; its open connections end too."""

    external: str


@dataclass(frozen=True, slots=True)
class Silence:
    """Nothing gets through to the external address, nor back: connections stay open, and are silent."""

    external: str


@dataclass(frozen=True, slots=True)
class EndSilence:
    """The external address is reached again; what was held up comes through."""

    external: str


@dataclass(frozen=True, slots=True)
class KillProcesses:
    """SIGKILL inside the guest, for exactly one of these."""

    instance: str
    service: str | None = None  # the main process of it; its supervisor goes on
    matching: str | None = None  # every process whose command line has a match of this regular expression
    startup_script: bool = False  # its process group


@dataclass(frozen=True, slots=True)
class StartTask:
    """One attempt of a task of a Cloud Run job: run its container."""

    task: str  # projects/P/locations/L/jobs/J/executions/E/tasks/T
    attempt: int
    image: str
    command: Sequence[str]  # instead of the image's entry point; empty: that one
    arguments: Sequence[str]  # empty: the image's own
    environment: Mapping[str, str]
    project: str
    project_number: str
    region: str
    service_account: str


@dataclass(frozen=True, slots=True)
class TermTask:
    """SIGTERM to the container's first process."""

    task: str
    attempt: int


@dataclass(frozen=True, slots=True)
class KillTask:
    """SIGKILL to the whole container."""

    task: str
    attempt: int


TaskEffect = StartTask | TermTask | KillTask
MachineEffect = Boot | PressPowerButton | PullPlug | EraseDisk | KillProcesses
NetworkEffect = Forward | Unforward | Silence | EndSilence
Effect = MachineEffect | NetworkEffect | TaskEffect


# --- what guests say ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PoweredOff:
    """The guest switched itself off; its processes are gone."""


@dataclass(frozen=True, slots=True)
class ShutDown:
    """After PressPowerButton: nothing is left of the guest."""


@dataclass(frozen=True, slots=True)
class SerialOutput:
    """Bytes written to serial port 1."""

    data: bytes


GuestEvent = PoweredOff | ShutDown | SerialOutput


# --- what tasks say ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TaskOutput:
    """Bytes that a task wrote, in no particular pieces."""

    attempt: int
    stream: Literal["stdout", "stderr"]
    data: bytes


@dataclass(frozen=True, slots=True)
class TaskEnded:
    """Nothing is left of this attempt: it exited with a code, or a signal ended it, or its container never began."""

    attempt: int
    exit_code: int | None = None
    signal: int | None = None
    failure: str | None = None


TaskEvent = TaskOutput | TaskEnded
