"""A sweep as ordered, and its account: what was found, what it was to us, and what was done about it."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from orchestrator.errors import Exit
from orchestrator.run import PhaseTime, Reach


class Standing(StrEnum):
    """What one VM or address is to a sweep."""

    AT_REST = "at-rest"  # off, and nobody's
    HELD = "held"  # somebody's lease holds, or ran out so lately that a request of theirs may still land
    LIVE = "live"  # a run is at work on it, or may be
    ON_BY_HAND = "on-by-hand"  # on, and not by a run of ours that died over it: somebody's, or a lease was wiped
    STUCK = "stuck"  # left behind, and only a person can put it right
    ABANDONED = "abandoned"  # left behind: ours to put right
    NOT_OURS = "not-ours"  # without our label
    GONE = "gone"  # it was there when we listed, and is no more
    UNUSED = "unused"  # a reserved address that nothing uses: it costs money


@dataclass(frozen=True)
class SweepOrder:
    """What to sweep. `nonce` is what tells our claims from everybody else's."""

    project: str
    zone: str | None  # None: all
    holder: str  # who we are, for the person who finds our claim
    nonce: str
    reach: Reach = Reach.EXTERNAL
    agent_port: int = 8000
    dry_run: bool = False


@dataclass(frozen=True)
class Finding:
    """One thing of ours, and what became of it."""

    kind: str  # "vm" or "address"
    name: str
    place: str  # its zone or region
    standing: Standing
    why: str  # in a sentence
    status: str = ""  # as Google says it: RUNNING, RESERVED
    id: str = ""
    moves: tuple[str, ...] = ()  # what was done; in a dry run, what would be
    phases: tuple[PhaseTime, ...] = field(default=())
    owed: bool = False  # something is left to do, or was not seen done
    acted: bool = False  # something was changed, or was asked to


@dataclass(frozen=True)
class SweepReceipt:
    """What a sweep saw and did: the only thing it prints on stdout."""

    project: str
    zone: str | None
    started_at: datetime
    findings: tuple[Finding, ...]
    unseen: tuple[str, ...] = ()  # what could not be listed, and why
    dry_run: bool = False
    called_off: bool = False

    @property
    def owed(self) -> bool:
        """Something may still be on, or could not be seen."""
        return bool(self.unseen) or any(finding.owed for finding in self.findings)

    @property
    def acted(self) -> bool:
        """It had to act."""
        return any(finding.acted for finding in self.findings)

    @property
    def exit_code(self) -> Exit:
        """A sweep that was called off says so; what it left is in its findings and in the leases."""
        if self.called_off:
            return Exit.TERMINATED
        return Exit.CLEANUP_OWED if self.owed else Exit.SUCCEEDED
