"""From the JSON of a fault to a rule, strictly: what is wrong with it is said in the words of docs/emulator.md."""

import re
import types
import typing
from collections.abc import Collection, Mapping
from dataclasses import fields
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from gcp_emulator.fault_kinds import KINDS, AtBoot, AtTick, Event, Fault, Kill, KillTasks
from gcp_emulator.faults import Rule

WHEN = ("on", "resource", "times", "skip", "vm", "after", "moment", "for_seconds")
_TYPES: Mapping[str, Any] = typing.get_type_hints(Rule)


class BadFaultError(ValueError):
    """The rule is not one."""


def rule_from_json(identifier: str, document: object, verbs: Collection[str]) -> Rule:
    """Read one rule; `verbs` are those that a request can have."""
    if not isinstance(document, Mapping):
        raise BadFaultError(f"a fault is an object, not {document!r}")
    names = document.keys() & KINDS.keys()
    if len(names) != 1:
        raise BadFaultError(f"a fault has exactly one of {', '.join(KINDS)}{_nearest(document.keys())}")
    [name] = names
    kind = KINDS[name]
    when = {key: value for key, value in document.items() if key != name}
    _refuse_unknown(name, when, _allowed(kind, when))
    for key, value in when.items():
        _check(key, value, _TYPES[key])
    rule = Rule(identifier, _fault(name, kind, document[name]), **when)
    _check_sense(rule, verbs)
    rule.on = rule.on or kind.on
    return rule


def _nearest(given: Collection[str]) -> str:
    near = [found[0] for name in given if (found := get_close_matches(str(name), KINDS, 1)) and name not in WHEN]
    return f"; did you mean {near[0]}?" if near else ""


def _allowed(kind: type[Fault], when: Mapping[str, Any]) -> tuple[str, ...]:
    if issubclass(kind, AtBoot):
        return ("vm", "times", "skip")
    if issubclass(kind, AtTick):
        return ("resource", "times", "skip")
    if not issubclass(kind, Event):
        return ("on", "resource", "times", "skip", "for_seconds")
    whom = () if issubclass(kind, KillTasks) else ("vm",)
    if "on" in when:
        return ("on", "resource", "times", "skip", "moment", *whom, "after")
    return (*whom, "after")


def _refuse_unknown(name: str, when: Mapping[str, Any], allowed: tuple[str, ...]) -> None:
    unknown = sorted(when.keys() - set(allowed))
    if unknown:
        without = " without `on`" if issubclass(KINDS[name], Event) and "after" in allowed and "on" not in when else ""
        raise BadFaultError(f"{name}{without} has no {', '.join(unknown)}; beside it there may be {', '.join(allowed)}")


def _fault(name: str, kind: type[Fault], given: object) -> Fault:
    if not isinstance(given, Mapping):
        raise BadFaultError(f"{name} is an object such as {{}}, not {given!r}")
    wanted, known = typing.get_type_hints(kind), [field.name for field in fields(kind)]
    if unknown := sorted(given.keys() - set(known)):
        raise BadFaultError(f"{name} has no {', '.join(unknown)}; it has {', '.join(known) or 'no fields'}")
    for key, value in given.items():
        _check(f"{name}.{key}", value, wanted[key])
    try:
        return kind(**given)
    except TypeError as missing:
        raise BadFaultError(f"{name}: {str(missing).partition('__init__() ')[2] or missing}") from missing


def _check(where: str, value: object, wanted: Any) -> None:
    if typing.get_origin(wanted) is types.UnionType:
        options = typing.get_args(wanted)
        if value is None and type(None) in options:
            return
        wanted = options[0]
    if typing.get_origin(wanted) is typing.Literal:
        if value not in typing.get_args(wanted):
            raise BadFaultError(f"{where} is one of {', '.join(typing.get_args(wanted))}, not {value!r}")
        return
    accepted = (int, float) if wanted is float else wanted
    if not isinstance(value, accepted) or (isinstance(value, bool) and wanted is not bool):
        raise BadFaultError(f"{where} is a {wanted.__name__}, not {value!r}")
    if isinstance(value, int | float) and value < 0:
        raise BadFaultError(f"{where} cannot be negative: {value}")


def _check_sense(rule: Rule, verbs: Collection[str]) -> None:
    if rule.times == 0:
        raise BadFaultError("times is at least 1, or null for ever")
    for pattern in rule.on.split("|") if rule.on else ():
        _check_verb(pattern, verbs)
        if rule.fault.only and not any(fnmatchcase(verb, pattern) for verb in rule.fault.only):
            raise BadFaultError(f"on: this fault is for {', '.join(rule.fault.only)} only")
    if isinstance(rule.fault, Kill):
        _check_kill(rule.fault)


def _check_verb(pattern: str, verbs: Collection[str]) -> None:
    if not any(fnmatchcase(verb, pattern) for verb in verbs):
        near = get_close_matches(pattern, sorted(verbs), 3)
        known = ", ".join(near or ("instances.start", "zoneOperations.wait", "metadata.get"))
        raise BadFaultError(f"on: no request has a verb like {pattern!r}; there are {known}")


def _check_kill(kill: Kill) -> None:
    if (kill.service is None) == (kill.matching is None):
        raise BadFaultError("kill has a service or matching, one of the two")
    if "\n" in (kill.service or kill.matching or ""):
        raise BadFaultError("kill: one line")
    try:
        re.compile(kill.matching or "")
    except re.error as wrong:
        raise BadFaultError(f"kill.matching is a regular expression: {wrong}") from wrong
