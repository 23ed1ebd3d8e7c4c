"""What the verbs need of the world. Adaptors implement these; each docstring is the contract, idempotence included.

All methods raise only `orchestrator.errors`. Transient failures were already tried again within `policy` when they
surface. A method that changes something returns once the change is done and known to have succeeded; cancelled
before that, it first sees through what it has sent, for a request in flight cannot be unsent.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Protocol

from orchestrator.events import Event
from orchestrator.lease import Lease
from orchestrator.policy import Policy
from orchestrator.seen import Address, Listing, Machine
from vm_agent.protocol import Artifact, Greeting, Mode, RunView, StartRequest


class Machines(Protocol):
    """VMs of one project and zone."""

    async def look(self, name: str) -> Machine:
        """The VM as it is now. NotFound if there is none."""

    async def start(self, machine: Machine, again: Callable[[], Awaitable[None]] | None = None) -> None:
        """Ask for a start and see the operation through. Fine if it is already running. Stockout, QuotaExceeded.

        Google takes it from anybody at any time, so `again` is awaited before each further try, to look once more:
        what it raises is raised, and nothing is sent.
        """

    async def stop(self, machine: Machine, again: Callable[[], Awaitable[None]] | None = None) -> None:
        """Ask for a stop and see the operation through; `again` as above. Fine if it is already off or gone.

        Never waits behind other requests; cancelled, it does not see the operation through. "Off" is what `look`
        shows afterwards, not what this returns.
        """

    async def arm(self, machine: Machine, limit: timedelta) -> None:
        """Write maxRunDuration=limit, STOP, no automatic restart. Compute Engine takes it only while the VM is off."""

    async def published(self, machine: Machine, attribute: str) -> str | None:
        """What the VM last wrote into that guest attribute, in this boot or an older one; None if nothing."""

    async def console(self, machine: Machine, last_lines: int) -> str:
        """The tail of the serial console."""


class Creation(Protocol):
    """VMs that are made for one run, from an instance template, and deleted after it."""

    async def create(
        self,
        machine: Machine,
        address: Address | None,
        limit: timedelta,
        again: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Make the VM that `machine` shows to be absent, and see the operation through; `again` as for a start.

        It comes with the time limit, our labels, the address and a copy of the lease: there is no moment in which it
        runs unarmed. Fine if it is there already and was made for this run; BadResource if it was not. Stockout,
        QuotaExceeded: then there is no VM.
        """

    async def delete(self, machine: Machine, again: Callable[[], Awaitable[None]] | None = None) -> None:
        """Ask for its deletion and see the operation through; `again` as for a stop. Fine if it is gone.

        Never waits behind other requests; cancelled, it does not see the operation through. "Gone" is what `look`
        shows afterwards, not what this returns.
        """


class Leases(Protocol):
    """The one value that says who may use the VM."""

    async def write(self, machine: Machine, lease: Lease) -> None:
        """Replace the lease that `machine` shows by this one, or raise Conflict if anything changed since that look.

        Returns once the operation is clean; the caller re-reads to see its nonce.
        """


class Addresses(Protocol):
    """Reserved regional addresses, and the NIC they are attached to."""

    async def find(self, name: str) -> Address:
        """The reserved address. NotFound if there is none of that name in the region."""

    async def reserve(self, name: str) -> None:
        """Reserve one under that name, marked as ours to release. Fine if it is there."""

    async def release(self, address: Address) -> None:
        """Give it back to Google. Fine if it is gone; BadResource while something uses it."""

    async def attach(self, machine: Machine, address: Address) -> None:
        """Give nic0 this address; an access config that is there already is taken off first."""

    async def detach(self, machine: Machine) -> None:
        """Take nic0's access config off, by the name it was read with. Fine if there is none."""


class Credential(Protocol):
    """What we show an agent, so that it obeys us."""

    async def headers(self) -> Mapping[str, str]:
        """Of each request. Forbidden if there is nothing to show."""

    def refused(self, shown: Mapping[str, str]) -> bool:
        """The agent refused these: whether the next `headers` may be better."""

    @property
    def advice(self) -> str:
        """What to set where, for the person whose credential is refused."""


class Agent(Protocol):
    """The agent in one VM, at one address: who it is, and the run.

    Whoever has not proved to be that VM's agent hears nothing of what these say: AgentUnproven, or WrongMachine.
    """

    async def greet(self, epoch: int | None) -> Greeting | None:
        """Who is there, in one short try; None if nobody answers. AgentRefused if it does not know us.

        The agent keeps the epoch: from then on it refuses every lower one. None only asks, and fences nobody off.
        """

    async def find(self, key: str, mode: Mode) -> RunView | None:
        """The last attempt at the run of that key, if its ledger knows any."""

    async def start(self, key: str, epoch: int, mode: Mode, order: StartRequest) -> RunView:
        """Ask for the run. Asking twice is asking once. Busy if another run is live."""

    async def follow(self, run: RunView) -> RunView:
        """The run as soon as it differs from what we know, or as it is after `policy.log_poll`."""


class Output(Protocol):
    """What a run left on the VM: its log and its files."""

    async def read_log(self, run_id: str, offset: int) -> tuple[bytes, int, bool]:
        """(bytes, next offset, complete): what the log holds from offset, waiting up to `policy.log_poll` for more."""

    async def artifacts(self, run_id: str) -> list[Artifact]:
        """The files that the run wrote."""

    def download(self, run_id: str, path: str) -> AsyncIterator[bytes]:
        """One of them, in pieces."""


class Inventory(Protocol):
    """What a whole project has of ours, in all zones and regions."""

    async def machines(self) -> Listing[Machine]:
        """The VMs that carry our label."""

    async def addresses(self) -> Listing[Address]:
        """The reserved addresses that carry our label."""


class Clock(Protocol):
    """Time as an argument."""

    def now(self) -> datetime:
        """The local wall clock, UTC: for people. Leases go by Google's Date."""

    def monotonic(self) -> float:
        """Seconds that never jump: for deadlines."""

    async def sleep(self, span: timedelta) -> None:
        """Let that much time pass."""


class World(Protocol):
    """Everything above, for one run, and the numbers it goes by."""

    policy: Policy
    machines: Machines
    leases: Leases
    addresses: Addresses
    creation: Creation | None  # where VMs are made for their runs
    clock: Clock
    agent: Callable[[Machine, str], Agent]  # the agent of that VM, by IP
    output: Callable[[Machine, str], Output]  # likewise
    tell: Callable[[Event], None]


class Fleet(Protocol):
    """All of a project's VMs, for a sweep."""

    policy: Policy
    inventory: Inventory
    clock: Clock
    tell: Callable[[Event], None]

    def addresses(self, region: str) -> Addresses:
        """The reserved addresses of one region."""

    async def world(self, zone: str, machine: Machine, tell: Callable[[Event], None]) -> World:
        """The world of that VM: of all others of its zone too, unless it was made for one run."""
