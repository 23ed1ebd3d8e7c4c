"""What a look at a resource means: which step is next, and how a plan of steps reads. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mayfly.deploy.differences import Difference
from mayfly.deploy.resource import Resource
from orchestrator.google_admin import Json


class Action(StrEnum):
    """What is to be done about one resource."""

    MAKE = "make"
    CHANGE = "change"
    REMOVE = "remove"
    KEEP = "keep"  # it is as it should be; or, on the way down, not there
    LEAVE = "leave"  # somebody else made it, or needs it: used as it is, and not touched


NOT_OURS = "there already, not made by mayfly deploy"
AS_WANTED = "as it should be"
SIGNS = {Action.MAKE: "+", Action.CHANGE: "~", Action.REMOVE: "-", Action.KEEP: " ", Action.LEAVE: "="}


@dataclass(frozen=True)
class Step:
    """One line of a plan."""

    kind: str
    name: str
    action: Action
    differences: tuple[Difference, ...] = ()
    remark: str = ""
    why: str = NOT_OURS  # it is left

    @property
    def does_something(self) -> bool:
        """It is work, not a remark."""
        return self.action not in {Action.KEEP, Action.LEAVE}

    def __str__(self) -> str:
        return f"{self.action} the {self.kind} {self.name}"


def up(resource: Resource, seen: Json | None) -> Step:
    """What brings it about."""
    if seen is None:
        return Step(resource.kind, resource.name, Action.MAKE, tuple(resource.made_of()))
    if not resource.is_ours(seen):
        return Step(resource.kind, resource.name, Action.LEAVE)
    found = tuple(resource.differences(seen))
    return Step(resource.kind, resource.name, Action.CHANGE if found else Action.KEEP, found, resource.remark(seen))


def down(resource: Resource, seen: Json | None) -> Step:
    """What undoes it."""
    if seen is None or resource.is_gone(seen):
        return Step(resource.kind, resource.name, Action.KEEP)
    if not resource.is_ours(seen):
        return Step(resource.kind, resource.name, Action.LEAVE)
    if why := resource.stays(seen):
        return Step(resource.kind, resource.name, Action.LEAVE, why=why)
    return Step(resource.kind, resource.name, Action.REMOVE)


def in_words(steps: Sequence[Step], kept: str = AS_WANTED) -> Iterator[str]:
    """The plan as a diff, a line each; `kept` is what the rest is."""
    width = max((len(step.kind) for step in steps), default=0)
    for step in steps:
        if step.action is Action.LEAVE:
            yield f"= {step.kind:{width}}  {step.name}  ({step.why}: left as it is)"
        elif step.does_something:
            yield f"{SIGNS[step.action]} {step.kind:{width}}  {step.name}"
            yield from (f"      {difference}" for difference in step.differences)
    yield summary(steps, kept=kept)


def summary(steps: Sequence[Step], *, kept: str = AS_WANTED, done: bool = False) -> str:
    """12 to make, 1 to change; 5 as they should be."""
    counts = {action: sum(step.action is action for step in steps) for action in Action}
    work = [f"{counts[action]} {_word(action, done=done)}" for action in (Action.MAKE, Action.CHANGE, Action.REMOVE)
            if counts[action]]  # fmt: skip
    rest = counts[Action.KEEP]
    others = [f"{rest} {'is' if rest == 1 else 'are'} {kept}"] if rest else []
    return f"{'; '.join([', '.join(work) or 'Nothing to do', *others])}."


def _word(action: Action, *, done: bool) -> str:
    made = {Action.MAKE: "made", Action.CHANGE: "changed", Action.REMOVE: "removed"}
    return made[action] if done else f"to {action}"


def as_json(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """For programs; values as people see them, so that no secret and no script is in it."""
    return [
        {
            "action": step.action.value,
            "kind": step.kind,
            "name": step.name,
            "differences": list(map(str, step.differences)),
        }
        for step in steps
    ]
