"""Who may command this VM: the holder of the highest epoch, or anybody with credentials while no lease is live."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from pydantic_core import from_json

from vm_agent.ledger import Ledger
from vm_agent.problems import LeaseLive, StaleEpoch

EPOCH_MAX = 10**18 - 1  # what SQLite can hold, in whole digits


class Leases(Protocol):
    """Where the lease on this VM can be read."""

    async def lease(self) -> str | None:
        """The lease as it stands; None if there is none. Raises OSError when that cannot be told."""


@dataclass(frozen=True)
class Fence:
    """The epoch rule, kept in the ledger."""

    ledger: Ledger
    leases: Leases
    now: Callable[[], datetime]

    def hear(self, epoch: int) -> None:
        """A caller says its epoch: a higher one is remembered before anything else happens, a lower one is refused."""
        if epoch < (highest := self.ledger.epoch):
            raise StaleEpoch(f"epoch {epoch} is over: {highest} has spoken")
        self.ledger.raise_epoch(epoch)

    def observe(self, lease: str | None) -> None:
        """The lease in the VM's metadata has changed: its epoch counts from now on, even if nobody has called yet."""
        self.ledger.raise_epoch(epoch_of(lease))

    async def admit(self, epoch: int | None) -> None:
        """Let a command pass, or raise StaleEpoch or LeaseLive. The lease in the VM's metadata has its say too."""
        try:
            lease = _parsed(await self.leases.lease())
        except OSError as problem:
            if epoch is None:  # unknown is not absent
                raise LeaseLive(
                    f"the lease on this VM cannot be read ({problem}), and the call carries no epoch"
                ) from problem
            self.hear(epoch)  # again: a later one may have spoken while we asked
            return
        self.ledger.raise_epoch(_epoch(lease))
        if epoch is not None:
            self.hear(epoch)
        elif _live(lease, self.now()):
            raise LeaseLive(f"leased by {lease.get('holder')!r} until {lease['expires_at']}")


def epoch_of(lease: str | None) -> int:
    """The epoch of a lease as it is written in the metadata; 0 where there is none."""
    return _epoch(_parsed(lease))


def _parsed(lease: str | None) -> dict[str, Any]:
    try:
        value = from_json(lease or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _epoch(lease: dict[str, Any]) -> int:
    epoch = lease.get("epoch")
    return epoch if isinstance(epoch, int) and epoch <= EPOCH_MAX else 0


def _live(lease: dict[str, Any], now: datetime) -> bool:
    """Whether somebody holds it still. A released lease names no holder."""
    try:
        expires = datetime.fromisoformat(lease["expires_at"])
    except (KeyError, TypeError, ValueError):
        return False
    expires = expires if expires.tzinfo else expires.replace(tzinfo=UTC)
    return bool(lease.get("holder")) and now < expires
