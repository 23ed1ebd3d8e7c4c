"""The proof that a run went as promised: each step in the cloud's own history, after the one before it."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.run import Receipt
from vm_agent.protocol import LEASE_ATTRIBUTE, PUBLICATION

Entry = dict[str, Any]
OK = 200


@dataclass(frozen=True)
class Step:
    """One step of the run, when it was seen (None: not, or not in its place) and by what."""

    what: str
    at: datetime | None
    evidence: str


def prove(history: Iterable[Entry], receipt: Receipt) -> list[Step]:
    """Walk through the history once: every step has to come after the one before it."""
    entries = [entry for entry in history if entry["kind"] in {"request", "state", "guest"}]
    steps: list[Step] = []
    for what, evidence, shows in _steps(receipt.vm.instance if receipt.vm else "", receipt.run_key):
        found = next((index for index, entry in enumerate(entries) if shows(entry)), None)
        at = None if found is None else datetime.fromisoformat(entries[found]["at"])
        steps.append(Step(what, at, evidence))
        entries = entries if found is None else entries[found + 1 :]
    return steps


def _steps(machine: str, key: str) -> Sequence[tuple[str, str, Callable[[Entry], bool]]]:
    off = {"resource": f"instances/{machine}", "to": "TERMINATED"}
    return (
        ("lease taken", "instances.setMetadata, phase claimed", _lease("claimed")),
        ("deadline armed", "instances.setScheduling, maxRunDuration", _asked("instances.setScheduling")),
        ("static IP attached", "instances.addAccessConfig", _asked("instances.addAccessConfig")),
        ("VM started", "instances.start", _asked("instances.start")),
        ("start of the job noted", "instances.setMetadata, phase invoking", _lease("invoking")),
        ("agent's certificate read", f"instances.getGuestAttributes, {PUBLICATION}", _published(PUBLICATION)),
        ("job accepted", "serial console, the agent's log", _printed(machine, f" accepted: key={key} ")),
        ("job done", "serial console, the agent's log", _printed(machine, " SUCCEEDED")),
        ("VM stopped", "instances.stop", _asked("instances.stop")),
        ("VM off", f"{off['resource']} TERMINATED", lambda entry: off.items() <= entry.items()),
        ("VM seen off", "instances.get", _asked("instances.get")),
        ("static IP taken off", "instances.deleteAccessConfig", _asked("instances.deleteAccessConfig")),
        ("lease given back", "instances.setMetadata, phase free", _lease("free")),
    )


def _asked(verb: str) -> Callable[[Entry], bool]:
    return lambda entry: entry.get("verb") == verb and entry["status"] == OK


def _published(attribute: str) -> Callable[[Entry], bool]:
    read = _asked("instances.getGuestAttributes")
    return lambda entry: read(entry) and entry["query"].get("queryPath") == attribute


def _printed(machine: str, words: str) -> Callable[[Entry], bool]:
    return lambda entry: entry.get("resource") == f"instances/{machine}" and words in entry.get("text", "")


def _lease(phase: str) -> Callable[[Entry], bool]:
    def shows(entry: Entry) -> bool:
        if not _asked("instances.setMetadata")(entry):
            return False
        items = entry["body"].get("items", [])
        leases = [json.loads(item["value"]) for item in items if item["key"] == LEASE_ATTRIBUTE]
        return any(lease["phase"] == phase for lease in leases)

    return shows
