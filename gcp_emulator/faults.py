"""Faults on purpose: rules that count themselves. The grammar is in docs/emulator.md.

    {"on": "instances.start", "resource": "*/gpu-vm/*", "times": 2, "skip": 1, "reply": {"status": 503}}
    {"on": "instances.setMetadata", "moment": "before", "write_metadata": {"key": "ssh-keys"}}
    {"after": 3, "vm": "gpu-vm", "preempt": {}}

A further kind is one more class in fault_kinds.py, and the place that carries it out.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeVar

from gcp_emulator.fault_kinds import NAMES, AtBoot, Event, Fault, KillTasks, RateLimit

F = TypeVar("F", bound=Fault)
Moment = Literal["before", "after"]


@dataclass(slots=True)
class Rule:
    """What goes wrong, when, and how often it has."""

    id: str
    fault: Fault
    on: str | None = None  # patterns of verbs, with | between them; None: by itself, or at a boot
    resource: str = "*"  # pattern of the request's path
    vm: str = "*"  # pattern of the VM's name: whom it happens to
    times: int | None = 1
    skip: int = 0
    for_seconds: float = 0  # once it has happened, it meets every further match for so long, and counts as once
    after: float = 0  # seconds from the moment until it happens
    moment: Moment = "before"  # the request is carried out, or after
    seen: int = 0
    fired: int = 0
    coming: int = 0  # begun, and still to happen
    missed: list[str] | None = None  # why it could not happen when it should have
    until: datetime | None = None  # end of `for_seconds`

    @property
    def spent(self) -> bool:
        """It has happened as often as it was meant to."""
        return self.times is not None and self.fired >= self.times

    def meets(self, verb: str, path: str, now: datetime) -> bool:
        """Count this request in, and tell whether it meets the fault."""
        if not self._is_about(verb, path):
            return False
        if self.until is not None and now < self.until:
            return True
        if self.times is not None and self.fired + self.coming >= self.times:
            return False
        self.seen += 1
        if self.seen <= self.skip:
            return False
        self.until = self._until(now)
        return True

    def _is_about(self, verb: str, path: str) -> bool:
        if self.fault.only and verb not in self.fault.only:
            return False
        wanted = (self.on or "").split("|")
        return any(fnmatchcase(verb, one) for one in wanted) and fnmatchcase(path, self.resource)

    def _until(self, now: datetime) -> datetime | None:
        if isinstance(self.fault, RateLimit):
            return now.replace(second=0, microsecond=0) + timedelta(minutes=1)
        return now + timedelta(seconds=self.for_seconds) if self.for_seconds else None

    def as_json(self) -> dict[str, Any]:
        """Show the rule and its counts."""
        words: dict[str, Any] = {"id": self.id, "times": self.times, "fired": self.fired, "spent": self.spent}
        if self.on:
            words |= {"on": self.on, "resource": self.resource, "skip": self.skip}
        if isinstance(self.fault, AtBoot):
            words |= {"vm": self.vm, "skip": self.skip}
        if isinstance(self.fault, Event):
            words |= {"after": self.after, "coming": self.coming}
            words |= {} if isinstance(self.fault, KillTasks) else {"vm": self.vm}
            words |= {"moment": self.moment} if self.on else {}
        if self.for_seconds:
            words["for_seconds"] = self.for_seconds
        if self.missed:
            words["missed"] = self.missed
        return words | {NAMES[type(self.fault)]: asdict(self.fault)}


class Faults:
    """The rules of one world, in the order they were given."""

    def __init__(self, verbs: Collection[str] = ()) -> None:
        self.verbs = verbs  # that a request can have here
        self.rules: list[Rule] = []
        self._given = 0

    def next_id(self, later: int = 0) -> str:
        """Name the next rule, or one of those after it."""
        return f"fault-{self._given + 1 + later}"

    def add(self, rule: Rule) -> None:
        """Take in one rule."""
        self._given += 1
        self.rules.append(rule)

    def clear(self) -> None:
        """Forget all rules."""
        self.rules.clear()

    def take(self, kind: type[F], verb: str, path: str, now: datetime) -> tuple[F, Rule] | None:
        """Find the fault of this kind that this request meets, and count it."""
        for rule in self.rules:
            fault = rule.fault
            if isinstance(fault, kind) and self._fires(rule, verb, path, now):
                return fault, rule
        return None

    def begun(self, verb: str, path: str, moment: Moment, now: datetime) -> list[Rule]:
        """Find the events that this request sets off. They are counted when they have happened."""
        rules = [rule for rule in self.rules if isinstance(rule.fault, Event) and rule.moment == moment]
        return [rule for rule in rules if rule.on and rule.meets(verb, path, now)]

    def at_boot(self, vm: str) -> list[tuple[AtBoot, Rule]]:
        """Find what the boot of the VM of this name comes to, and count it."""
        found = []
        for rule in self.rules:
            if not isinstance(rule.fault, AtBoot) or rule.spent or not fnmatchcase(vm, rule.vm):
                continue
            rule.seen += 1
            if rule.seen > rule.skip:
                rule.fired += 1
                found.append((rule.fault, rule))
        return found

    @staticmethod
    def _fires(rule: Rule, verb: str, path: str, now: datetime) -> bool:
        lasting = rule.until is not None and now < rule.until
        meets = rule.meets(verb, path, now)
        rule.fired += meets and not lasting
        return meets
