"""What a check is, and what it may find. The trouble-shooting page is made of these words."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mayfly.doctor.patient import Patient


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"  # a run will go well, and something else will not, or costs money
    FAIL = "fail"  # a run will not go well, or money is being spent
    SKIPPED = "skipped"  # it cannot be told, or does not apply; the sentence says why


@dataclass(frozen=True)
class Finding:
    """What one check found: a sentence, and if something is wrong, how to mend it."""

    level: Level
    says: str
    mend: str = ""
    command: str = ""  # to paste into a shell


@dataclass(frozen=True)
class Trouble:
    """Something that a check may find. What stands in braces is filled in where it is found."""

    level: Level
    says: str
    mend: str
    command: str = ""

    def found(self, names: dict[str, str], **facts: object) -> Finding:
        """It, with the names of this project and what was seen."""
        words = {**names, **{name: str(fact) for name, fact in facts.items()}}
        return Finding(
            self.level, self.says.format_map(words), self.mend.format_map(words), self.command.format_map(words)
        )


class NotLooked(Exception):
    """This check does not apply, or rests on something that another check has found to be missing."""


Look = Callable[["Patient"], Awaitable[list[Finding]]]


@dataclass(frozen=True)
class Check:
    """One fact, looked at: its name, what ought to be so, and what else may be found."""

    name: str
    ought: str  # a sentence
    look: Look
    troubles: tuple[Trouble, ...]


def well(says: str) -> list[Finding]:
    """All is as it ought to be."""
    return [Finding(Level.OK, says)]


def check(name: str, *troubles: Trouble) -> Callable[[Look], Check]:
    """Make a check of the function that looks; its docstring says what ought to be so."""
    return lambda look: Check(name, look.__doc__ or "", look, troubles)
