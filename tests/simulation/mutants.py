"""Bugs that others had, and that we must never have, to be switched on: what finds none of them finds nothing."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from orchestrator import goal, ladder
from orchestrator.ladder import ours_to_stop
from orchestrator.trip import Trip
from vm_agent.ledger import Ledger


@contextmanager
def lost_reply_of_start() -> Iterator[None]:
    """What became of a start that was sent is not waited for: it lands when everybody has left."""
    with (
        patch.object(Trip, "in_flight", _forgotten, create=True),
        patch.object(Trip, "start_unsettled", _forgotten, create=True),
    ):
        yield


_forgotten = property(lambda _: None, lambda *_: None)


@contextmanager
def takeover_without_waiting() -> Iterator[None]:
    """A lease is taken over as soon as somebody wants it."""
    with patch.object(goal, "_still_taken", lambda *_: None):
        yield


@contextmanager
def lease_released_before_terminated() -> Iterator[None]:
    """Coming down, a VM that was asked to stop is taken for one that is off."""

    def hardly(seen: Any, run: Any) -> bool:
        return ours_to_stop(seen, run) and not seen.machine.going_off

    rungs = tuple(
        replace(rung, remains=lambda seen, aim: hardly(seen, aim.run)) if rung.name == "machine" else rung
        for rung in ladder.RUNGS
    )
    with patch.object(ladder, "RUNGS", rungs):
        yield


@contextmanager
def ledger_without_sync() -> Iterator[None]:
    """The ledger's last words are still in memory when the power goes."""
    init = Ledger.__init__

    def hasty(self: Ledger, *arguments: Any) -> None:
        init(self, *arguments)
        self._db.execute("PRAGMA synchronous=OFF")

    with patch.object(Ledger, "__init__", hasty):
        yield


@dataclass(frozen=True)
class Mutant:
    """A bug, and the requests at which faults show it soonest."""

    bug: Callable[[], AbstractContextManager[None]]
    hunted_at: str


MUTANTS: dict[str, Mutant] = {
    "lost-reply-of-start": Mutant(lost_reply_of_start, "instances.start"),
    "takeover-without-waiting": Mutant(takeover_without_waiting, "instances.get"),
    "lease-released-before-terminated": Mutant(lease_released_before_terminated, "stopping.stop"),
    "ledger-without-sync": Mutant(ledger_without_sync, "agent GET /runs/"),
}


@contextmanager
def switched_on(name: str | None) -> Iterator[None]:
    """That bug, while the block lasts."""
    if name is None:
        yield
        return
    with MUTANTS[name].bug():
        yield
