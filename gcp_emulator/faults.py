"""Faults on purpose: rules that count themselves.

    {"on": "instances.start", "resource": "*/gpu-vm*", "times": 2, "skip": 0,
     "reply": {"status": 503, "reason": "backendError", "message": "Try again"}}
    {"on": "instances.start", "operation_error": {"code": "QUOTA_EXCEEDED", "message": "...", "status": 403}}

`on` and `resource` (the path) are shell patterns; `times` null is for ever; `skip` lets the first matches pass.
A further kind of fault is one more class in `Fault`, one more name in `FAULTS`, and the place that takes it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from gcp_emulator.errors import OperationError


class BadFaultError(ValueError):
    """The rule is not one."""


@dataclass(frozen=True, slots=True)
class ReplyWith:
    """Do nothing and answer with this error."""

    status: int
    reason: str = "backendError"
    message: str = "The service is currently unavailable."


Fault = ReplyWith | OperationError
FAULTS: Mapping[str, type[Fault]] = {"reply": ReplyWith, "operation_error": OperationError}
F = TypeVar("F", ReplyWith, OperationError)


@dataclass(slots=True)
class Rule:
    """Which requests meet which fault, and how often it has happened."""

    id: str
    fault: Fault
    on: str = "*"
    resource: str = "*"
    times: int | None = 1
    skip: int = 0
    seen: int = 0
    fired: int = 0

    @property
    def spent(self) -> bool:
        """It has happened as often as it was meant to."""
        return self.times is not None and self.fired >= self.times

    def fires_on(self, verb: str, path: str) -> bool:
        """Count this request in, and tell whether it meets the fault."""
        if self.spent or not fnmatchcase(verb, self.on) or not fnmatchcase(path, self.resource):
            return False
        self.seen += 1
        if self.seen <= self.skip:
            return False
        self.fired += 1
        return True

    def as_json(self) -> dict[str, Any]:
        """Show the rule and its counts."""
        kind = next(name for name, made in FAULTS.items() if isinstance(self.fault, made))
        return {
            "id": self.id,
            "on": self.on,
            "resource": self.resource,
            "times": self.times,
            "skip": self.skip,
            "fired": self.fired,
            "spent": self.spent,
            kind: asdict(self.fault),
        }


class Faults:
    """The rules of one world, in the order they were given."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []
        self._given = 0

    def add(self, document: object) -> Rule:
        """Take in one rule in its JSON form."""
        rule = _rule_from_json(f"fault-{self._given + 1}", document)
        self._given += 1
        self.rules.append(rule)
        return rule

    def clear(self) -> None:
        """Forget all rules."""
        self.rules.clear()

    def take(self, kind: type[F], verb: str, path: str) -> tuple[F, Rule] | None:
        """Find the fault of this kind that this request meets, and count it."""
        for rule in self.rules:
            if isinstance(rule.fault, kind) and rule.fires_on(verb, path):
                return rule.fault, rule
        return None


def _rule_from_json(identifier: str, document: object) -> Rule:
    if not isinstance(document, Mapping):
        raise BadFaultError("a fault is an object")
    kinds = document.keys() & FAULTS.keys()
    if len(kinds) != 1:
        raise BadFaultError(f"a fault has exactly one of {', '.join(FAULTS)}")
    [kind] = kinds
    rest = {name: value for name, value in document.items() if name != kind}
    if unknown := rest.keys() - {"on", "resource", "times", "skip"}:
        raise BadFaultError(f"a fault has no {', '.join(sorted(unknown))}")
    try:
        return Rule(identifier, FAULTS[kind](**document[kind]), **rest)
    except TypeError as wrong:
        raise BadFaultError(f"{kind}: {wrong}") from wrong
