"""What can go wrong, sorted by what the caller must do. The docstring of each says when; its text says how to mend it.

MayflyError
 |- BadUsage             exit 2   settings or arguments; nothing was touched
 |- NoMachine            exit 3   no VM to work on
 |   |- NotFound                  a named thing is not there
 |   |- Forbidden                 a permission is missing
 |   |- QuotaExceeded             the project may not have that much
 |   |- Stockout                  Google has no such machine free right now; later may help
 |   |- BadResource               the thing is there, but cannot be used like this
 |   |   `- AlreadyExists         something of that name is there already
 |- AgentFault           exit 4   the VM is up, and its agent is not ready or not who it should be
 |   |- BootFailed                startup.sh or the agent itself says so
 |   |- AgentSilent               nobody answered in time
 |   |- WrongMachine              somebody else answered
 |   |- AgentUnproven             somebody answers, and has not proved (yet) to be our agent
 |   |   `- Stranger              nor has the key that our agent has published
 |   |- AgentRefused              it does not know our key
 |- Busy                 exit 6   somebody else holds it; nothing was touched
 |   |- Taken                     another run holds the lease: it can be waited for
 |   `- LeaseLost                 it was ours
 |- CleanupOwed          exit 7   something may still be on
 |- Transient                     (inside) worth another try, at once or a little later
 `- Conflict                      (inside) somebody wrote between our look and our write: look again
"""

from enum import IntEnum


class Exit(IntEnum):
    """What the process's exit code says (README, "Exit codes")."""

    SUCCEEDED = 0
    JOB_FAILED = 1
    USAGE = 2
    NO_MACHINE = 3
    AGENT = 4
    INTERRUPTED = 5
    BUSY = 6
    CLEANUP_OWED = 7
    TIMED_OUT = 8
    TERMINATED = 143


class MayflyError(Exception):
    """The root: its text is a sentence for the user that says what to do."""

    exit: Exit = Exit.CLEANUP_OWED


class BadUsage(MayflyError):
    """Settings or arguments are wrong; nothing was touched."""

    exit = Exit.USAGE


class NoMachine(MayflyError):
    """There is no VM to run on."""

    exit = Exit.NO_MACHINE


class NotFound(NoMachine):
    """A thing that the settings name does not exist."""


class Forbidden(NoMachine):
    """Our service account lacks a permission."""


class QuotaExceeded(NoMachine):
    """The project's quota does not allow it; retrying does not help."""


class Stockout(NoMachine):
    """Google has no such machine free in this zone at the moment."""


class BadResource(NoMachine):
    """The resource exists but cannot serve: an IP that is used elsewhere, a request that Google calls invalid."""


class AlreadyExists(BadResource):
    """What was to be made has a name that something else has."""


class AgentFault(MayflyError):
    """The VM is up, and its agent is not ready or not the one it should be."""

    exit = Exit.AGENT


class BootFailed(AgentFault):
    """The VM itself says that its start-up failed, and at which stage."""


class AgentSilent(AgentFault):
    """Nobody answered at the agent's address in time."""


class WrongMachine(AgentFault):
    """Somebody answered, but not the VM that we started."""


class AgentUnproven(AgentFault):
    """Somebody answers at the agent's address, and has not proved (yet) to be our agent: no word was said to them."""


class Stranger(AgentUnproven):
    """Somebody answers who has not the key that the VM's own agent has published, under the lease of that `epoch`."""

    def __init__(self, message: str, *, epoch: int) -> None:
        super().__init__(message)
        self.epoch = epoch  # 0: not known


class AgentRefused(AgentFault):
    """The agent does not accept our credentials or our request."""


class RunLost(MayflyError):
    """The run was cut off: how the job ended is not known."""

    exit = Exit.INTERRUPTED


class RunOverdue(MayflyError):
    """The run is past its deadline, and its agent did not end it."""

    exit = Exit.TIMED_OUT


class Busy(MayflyError):
    """Another run holds the lease, or somebody is using the VM; nothing was touched."""

    exit = Exit.BUSY


class Taken(Busy):
    """A run holds the lease for now. `same_run`: it is this one, in the hands of another process or of a dead one."""

    def __init__(self, message: str, *, same_run: bool) -> None:
        super().__init__(message)
        self.same_run = same_run


class LeaseLost(Busy):
    """The lease is no longer ours."""


class CleanupOwed(MayflyError):
    """The clean-up could not be confirmed: something may still be on."""

    exit = Exit.CLEANUP_OWED


class Transient(MayflyError):
    """Worth another try: a lost connection, a 5xx, a rate limit."""

    exit = Exit.NO_MACHINE


class Conflict(MayflyError):
    """A write refused because the thing changed since we looked (412): look again, then decide again."""

    exit = Exit.BUSY
