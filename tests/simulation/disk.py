"""A guest's disk, which forgets what was not synced, and the real ledger on it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vm_agent.ledger import Ledger


@dataclass
class Disk:
    """What a power cut leaves: the ledger as it was when it was last synced."""

    path: Path
    synced: bytes | None = None

    def power_cut(self) -> None:
        """Whatever was not synced has never been."""
        for leftover in self.path.parent.glob(self.path.name + "*"):
            leftover.unlink()
        if self.synced is not None:
            self.path.write_bytes(self.synced)


class SyncedLedger(Ledger):
    """The real ledger, watched: what SQLite syncs by its settings is on the disk, and no more."""

    def __init__(self, disk: Disk, *, synchronous: str | None = None) -> None:
        self._disk = disk
        super().__init__(disk.path)
        if synchronous is not None:
            self._db.execute(f"PRAGMA synchronous={synchronous}")
        self._keep()

    def _ask(self, statement: str, *values: Any) -> list[Any]:
        rows = super()._ask(statement, *values)
        if not statement.startswith(("SELECT", "BEGIN")):
            self._keep()
        return rows

    def _keep(self) -> None:
        full = 2  # in WAL mode only FULL syncs every commit
        if not self._db.in_transaction and self._db.execute("PRAGMA synchronous").fetchone()[0] >= full:
            self._disk.synced = self._db.serialize()
