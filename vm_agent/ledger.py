"""The agent's memory, on disk before anything happens: which runs were accepted, how each ended, the highest epoch.

SQLite in WAL mode with synchronous=FULL: every commit is synced (one sync each), so an ACCEPTED that a caller was told
of survives the VM's power cut. One agent uses a ledger at a time.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from json import dumps, loads
from pathlib import Path
from typing import Any

from vm_agent.problems import AttemptRefused, Busy, KeyReused, LedgerLost, UnknownRun
from vm_agent.protocol import Mode, RunView, State

# The one table of how a run's life goes on. ACCEPTED fails when its process cannot be started.
NEXT: Mapping[State, frozenset[State]] = {
    State.ACCEPTED: frozenset({State.RUNNING, State.FAILED, State.INTERRUPTED}),
    State.RUNNING: frozenset(
        {State.SUCCEEDED, State.FAILED, State.CANCELLED, State.TIMED_OUT, State.INTERRUPTED},
    ),
    **{state: frozenset() for state in State if state.finished},
}

SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY,
    key TEXT NOT NULL,
    mode TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    fingerprint TEXT NOT NULL,  -- of the job and its params: the same key must mean the same work
    state TEXT NOT NULL,
    live INTEGER,               -- 1 while it may still change, else NULL
    view TEXT NOT NULL,         -- the RunView
    mark TEXT,                  -- how to recognise its process after a restart
    UNIQUE (key, mode, attempt),
    UNIQUE (live)               -- at most one live run, whatever the code above believes
);
CREATE TABLE IF NOT EXISTS epoch (one INTEGER PRIMARY KEY CHECK (one = 1), highest INTEGER NOT NULL);
INSERT OR IGNORE INTO epoch VALUES (1, 0);
"""


@dataclass(frozen=True)
class Mark:
    """How to recognise a process again: the pid alone may have been given to a stranger since."""

    pid: int
    started: str  # the kernel's own start time of that pid
    boot_id: str = ""


class IllegalTransition(Exception):
    """A run cannot go from the one state to the other."""


class Ledger:
    """Runs and epoch, durable. Every method is one transaction; reads see every write before them."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(SCHEMA)
        except sqlite3.Error as problem:
            raise LedgerLost(f"{path} cannot be opened: {problem}") from problem

    def close(self) -> None:
        """Let the file go."""
        self._db.close()

    @property
    def epoch(self) -> int:
        """The highest epoch ever heard."""
        return int(self._ask("SELECT highest FROM epoch")[0][0])

    def raise_epoch(self, epoch: int) -> None:
        """Remember this epoch if it is the highest so far."""
        if epoch > self.epoch:
            self._ask("UPDATE epoch SET highest = ? WHERE highest < ?", epoch, epoch)

    def accept(self, view: RunView, fingerprint: str) -> tuple[RunView, bool]:
        """Record a new run and say True, or give the run that was asked for already and say False.

        A further attempt is a new run only when the last one was INTERRUPTED; else it means that last one.
        Raises KeyReused, Busy or AttemptRefused.
        """
        with self._transaction():
            attempts = {run.attempt: run for run in self._attempts(view.key, view.mode, fingerprint)}
            if known := _meant(view.attempt, attempts):
                return known, False
            if live := self.live():
                raise Busy(f"run {live.id} (key {live.key!r}, {live.mode}) is {live.state}")
            self._insert(view, fingerprint)
            return view, True

    def advance(self, view: RunView, state: State, *, mark: Mark | None = None, **changes: Any) -> RunView:
        """Move a run on to `state`; `changes` are further fields of its view."""
        if state not in NEXT[view.state]:
            raise IllegalTransition(f"run {view.id}: {view.state} -> {state}")
        moved = view.model_copy(update={**changes, "state": state, "version": view.version + 1})
        done = self._ask(
            "UPDATE runs SET state = ?, live = ?, view = ?, mark = coalesce(?, mark)"
            " WHERE id = ? AND state = ? RETURNING id",
            *(state, None if state.finished else 1, moved.model_dump_json(), _json(mark), view.id, view.state),
        )
        if not done:
            raise IllegalTransition(f"run {view.id} is no longer {view.state}")
        return moved

    def find(self, run_id: str) -> RunView:
        """The run with this id, or UnknownRun."""
        for (view,) in self._ask("SELECT view FROM runs WHERE id = ?", run_id):
            return RunView.model_validate_json(view)
        raise UnknownRun(f"no run {run_id!r}")

    def live(self) -> RunView | None:
        """The run that is not finished, if there is one."""
        for (view,) in self._ask("SELECT view FROM runs WHERE live = 1"):
            return RunView.model_validate_json(view)
        return None

    def newest(self, limit: int, key: str | None = None) -> list[RunView]:
        """The last runs, newest first; of one key if asked."""
        rows = self._ask(
            "SELECT view FROM runs WHERE ? IS NULL OR key = ? ORDER BY rowid DESC LIMIT ?", key, key, limit
        )
        return [RunView.model_validate_json(view) for (view,) in rows]

    def mark(self, run_id: str) -> Mark | None:
        """How to recognise that run's process, if one was ever started."""
        for (mark,) in self._ask("SELECT mark FROM runs WHERE id = ? AND mark IS NOT NULL", run_id):
            return Mark(**loads(mark))
        return None

    def _attempts(self, key: str, mode: Mode, fingerprint: str) -> Iterator[RunView]:
        for view, theirs in self._ask("SELECT view, fingerprint FROM runs WHERE key = ? AND mode = ?", key, mode):
            if theirs != fingerprint:
                raise KeyReused(f"key {key!r} was used before, with another job or other params")
            yield RunView.model_validate_json(view)

    def _insert(self, view: RunView, fingerprint: str) -> None:
        self._ask(
            "INSERT INTO runs (id, key, mode, attempt, fingerprint, state, live, view) VALUES (?, ?, ?, ?, ?, ?, 1, ?)",
            *(view.id, view.key, view.mode, view.attempt, fingerprint, view.state, view.model_dump_json()),
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._ask("BEGIN IMMEDIATE")
        try:
            yield
            self._ask("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # a full disk may have rolled back already
                self._ask("ROLLBACK")
            raise

    def _ask(self, statement: str, *values: Any) -> list[Any]:
        """All rows of its answer; LedgerLost when there is none to be had."""
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as problem:
            raise LedgerLost(f"the ledger: {problem}") from problem


class LostLedger(Ledger):
    """Stands in for one that cannot be opened: about runs it says that it cannot tell, never that there are none."""

    def __init__(self, why: str) -> None:
        super().__init__(Path(":memory:"))
        self._why = why

    def accept(self, view: RunView, fingerprint: str) -> tuple[RunView, bool]:  # noqa: ARG002
        """Raise LedgerLost."""
        raise LedgerLost(self._why)

    def find(self, run_id: str) -> RunView:  # noqa: ARG002
        """Raise LedgerLost."""
        raise LedgerLost(self._why)

    def newest(self, limit: int, key: str | None = None) -> list[RunView]:  # noqa: ARG002
        """Raise LedgerLost."""
        raise LedgerLost(self._why)


def _meant(attempt: int, attempts: Mapping[int, RunView]) -> RunView | None:
    """The run that this attempt of a key means among those there were; None if it is to be a new one.

    A ledger without any takes the caller's word that there were others before: in create mode the VM is a new one.
    """
    if not attempts or attempt in attempts:
        return attempts.get(attempt)
    last = max(attempts)
    if attempt > last and attempts[last].state is not State.INTERRUPTED:
        return attempts[last]
    if attempt != last + 1:
        raise AttemptRefused(f"attempt {attempt}; those so far: {_list(attempts)}")
    return None


def _json(mark: Mark | None) -> str | None:
    return dumps(asdict(mark)) if mark else None


def _list(attempts: Mapping[int, RunView]) -> str:
    return ", ".join(f"{number} {run.state}" for number, run in sorted(attempts.items()))
