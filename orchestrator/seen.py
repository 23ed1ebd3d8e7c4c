"""What a look at the world shows. Facts only; what to do about them is `ladder` and `goal`."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Generic, TypeVar

from orchestrator.lease import Lease
from vm_agent.protocol import Greeting, RunView

ABSENT = "ABSENT"  # our own word, in the place of a status: there is no such VM (now)

RESERVED_FOR_A_RUN = "Reserved by Mayfly for a run, and released after it."  # the description of such an address

T = TypeVar("T")

OUR_LABEL = ("mayfly", "managed")  # what carries it, a sweep may touch
RUN_LABEL = "mayfly-run"  # of a VM that was made for one run: for which
STATE_ATTRIBUTE = "mayfly-state"  # of such a VM, in its metadata: where its lease is kept


@dataclass(frozen=True)
class AccessConfig:
    """How nic0 is reached from outside. `ip` is None while none is assigned (an ephemeral one on a stopped VM)."""

    name: str
    ip: str | None


@dataclass(frozen=True)
class Machine:
    """One VM as instances.get shows it."""

    name: str
    id: str  # the numeric id: a VM made anew under the old name has another one
    status: str  # Google adds values now and then: unknown ones are to be tolerated
    metadata_fingerprint: str
    metadata: dict[str, str] = field(repr=False)
    lease: Lease | None
    internal_ip: str
    access_config: AccessConfig | None
    max_run: timedelta | None
    termination_action: str | None
    automatic_restart: bool
    last_start: datetime | None
    last_stop: datetime | None
    seen_at: datetime  # by Google's clock (the Date header of the answer)
    nic: str = "nic0"
    scheduling: dict[str, object] = field(default_factory=dict, repr=False)  # the whole block, to write it back
    has_local_ssd: bool = False  # such a VM cannot be stopped without saying that its scratch data may go
    labels: dict[str, str] = field(default_factory=dict, repr=False)
    lease_generation: int = 0  # of the object that holds the lease, where that is not in the VM's metadata

    @classmethod
    def absent(cls, name: str, seen_at: datetime) -> "Machine":
        """There is none of that name: what a created VM is before and after its run."""
        return cls(
            name=name,
            id="",
            status=ABSENT,
            metadata_fingerprint="",
            metadata={},
            lease=None,
            internal_ip="",
            access_config=None,
            max_run=None,
            termination_action=None,
            automatic_restart=False,
            last_start=None,
            last_stop=None,
            seen_at=seen_at,
        )

    @property
    def labelled_ours(self) -> bool:
        """Its owner has put it into our hands."""
        return _ours(self.labels)

    @property
    def running(self) -> bool:
        """It executes our code (or is about to be reachable)."""
        return self.status == "RUNNING"

    @property
    def stopped(self) -> bool:
        """It can be started, and takes a deadline."""
        return self.status in {"TERMINATED", "STOPPED"}

    @property
    def gone(self) -> bool:
        """There is no such VM."""
        return self.status == ABSENT

    @property
    def off(self) -> bool:
        """Seen off: gone, or stopped and later than it was last started. Anything else may be billed."""
        started, ended = self.last_start, self.last_stop
        return self.gone or (self.stopped and (started is None or (ended is not None and ended >= started)))

    @property
    def made_for_one_run(self) -> bool:
        """We made it, and it is ours to delete. A VM that only has the name is not."""
        return self.labelled_ours and RUN_LABEL in self.labels

    def made_for(self, key: str) -> bool:
        """We made it for the run of that key."""
        return self.labelled_ours and self.labels.get(RUN_LABEL) == run_label(key)

    def down(self, *, ephemeral: bool) -> bool:
        """Nothing is left to undo: it is off, or deleted if it was made for one run, for its disk costs as well."""
        return not self.made_for_one_run if ephemeral else self.off

    @property
    def going_off(self) -> bool:
        """On its way down: asking again adds nothing."""
        return self.status in {"STOPPING", "PENDING_STOP"}


@dataclass(frozen=True)
class Address:
    """One reserved regional address."""

    name: str
    ip: str
    users: tuple[str, ...]  # URLs of the resources that use it
    network_tier: str = "PREMIUM"  # an access config must say the same
    labels: dict[str, str] = field(default_factory=dict)
    description: str = ""
    created: datetime | None = None

    @classmethod
    def absent(cls, name: str) -> "Address":
        """None of that name is reserved: Mayfly may do it for the time of a run."""
        return cls(name, "", ())

    @property
    def reserved(self) -> bool:
        """There is one."""
        return bool(self.ip)

    @property
    def reserved_for_a_run(self) -> bool:
        """We reserved it, and it is ours to release. Labels would not tell: addresses.insert takes none."""
        return self.description == RESERVED_FOR_A_RUN

    @property
    def labelled_ours(self) -> bool:
        """It was reserved for us, or by us."""
        return _ours(self.labels) or self.reserved_for_a_run


@dataclass(frozen=True)
class Listed(Generic[T]):
    """One thing in a list of the whole project, and its zone or region."""

    place: str
    thing: T


@dataclass(frozen=True)
class Listing(Generic[T]):
    """What Google listed, and the places that it could not look into."""

    found: tuple[Listed[T], ...]
    unseen: tuple[str, ...] = ()


@dataclass(frozen=True)
class Seen:
    """One look. None is "not seen", which is never the same as "not there"."""

    machine: Machine
    address: Address | None = None
    greeting: Greeting | None = None
    run: RunView | None = None
    in_flight: bool = False  # a request of ours was sent, and what came of it is not known yet
    since: datetime | None = None  # when this run first looked, by Google's clock
    start_unsettled: bool = False  # a START was sent, and nobody told us how it ended: it may still land

    @property
    def epoch(self) -> int:
        """The fencing token that goes with every word to the agent; 0 where there is no lease."""
        return self.machine.lease.epoch if self.machine.lease else 0


def run_label(key: str) -> str:
    """A label that says for which run key a VM was made: a key itself may hold what no label can."""
    return sha256(key.encode()).hexdigest()[:32]


def _ours(labels: dict[str, str]) -> bool:
    name, value = OUR_LABEL
    return labels.get(name) == value
