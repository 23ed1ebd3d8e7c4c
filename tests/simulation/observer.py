"""Sees everything, and says after each event whether a promise was broken (S1..S6), and at the end whether all is well.

It trusts nobody's own account: jobs are witnessed where they run, stops where they take effect, receipts are held
against the ledger on the VM's disk.
"""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from orchestrator.lease import Phase, read_lease
from orchestrator.run import Outcome, Receipt
from tests.simulation.cloud_door import CloudDoor
from vm_agent.ending import Verdict
from vm_agent.protocol import LEASE_ATTRIBUTE, RunView

OURS = re.compile(r"/(instances/gpu-vm|addresses/gpu-ip|zones/[^/]+/operations|_emulator)(/|$)")


class Violation(AssertionError):
    """A promise was broken."""


@dataclass
class Work:
    """One execution of a job."""

    key: str
    attempt: int
    vm: str
    began: datetime
    ended: datetime | None = None
    verdict: Verdict | None = None  # None at its end: cut off


@dataclass
class Observer:
    """The facts so far, and the rules."""

    door: CloudDoor
    longest_request: timedelta  # L
    trace: list[tuple[datetime, str, str]] = field(default_factory=list)
    works: list[Work] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    looked_at: dict[str, datetime] = field(default_factory=dict)  # when each process last saw the VM
    sent_by: dict[str, str] = field(default_factory=dict)  # requestId -> process
    left: set[str] = field(default_factory=set)  # processes that said, leaving, that all is cleaned up
    key_of: dict[str, str] = field(default_factory=dict)  # process -> run key
    late_cuts: int = 0  # runs cut by a stop that landed too late: what is not promised, counted
    billed: dict[str, list[tuple[datetime, datetime | None]]] = field(default_factory=lambda: defaultdict(list))
    violation: Violation | None = None  # the first; code under simulation that catches everything cannot hide it
    _read: int = 0

    def note(self, kind: str, text: str) -> None:
        self.trace.append((self.door.now(), kind, text))

    def broken(self, promise: str, what: str) -> None:
        self.note("VIOLATION", f"{promise}: {what}")
        self.violation = self.violation or Violation(f"{promise}: {what}")
        raise self.violation

    # --- what is witnessed -----------------------------------------------------------------------------------------

    def job_began(self, vm: str, run: RunView) -> None:
        key, attempt = run.key, run.attempt
        self.note("job", f"{key} attempt {attempt} begins on {vm.rpartition('/')[2]}")
        before = [work for work in self.works if work.key == key]
        self.works.append(Work(key, attempt, vm, self.door.now()))
        if before:
            self.broken("S1", f"the job of {key} began {len(before) + 1} times")
        if alive := [work for work in self.works[:-1] if work.vm == vm and work.ended is None]:
            self.broken("S2", f"{key} begins while {alive[0].key} is live on the same VM")

    def job_ended(self, vm: str, run: RunView, verdict: Verdict | None) -> None:
        key, attempt = run.key, run.attempt
        self.note("job", f"{key} attempt {attempt} {'is cut off' if verdict is None else 'ends ' + verdict.state}")
        for work in self.works:
            if (work.key, work.attempt, work.ended) == (key, attempt, None):
                work.ended, work.verdict = self.door.now(), verdict

    def ended(self, process: str, receipt: Receipt, ledger_says: set[str]) -> None:
        """An orchestrator has left, with this receipt; `ledger_says` are the states of that key's runs on the disk."""
        self.receipts.append(receipt)
        if receipt.cleanup == "confirmed":
            self.left.add(process)
        self.note("exit", f"{process}: {receipt.exit_code} {receipt.outcome}: {receipt.detail}")
        if receipt.outcome is Outcome.SUCCEEDED and "SUCCEEDED" not in ledger_says:
            self.broken(
                "S5", f"{receipt.run_key} is told as SUCCEEDED, and the ledger knows {ledger_says or 'nothing'}"
            )

    def heard(self, process: str, call: str, request_id: str | None) -> None:
        """An orchestrator sends a call, or has its answer."""
        if call == "instances.get answered":
            self.looked_at[process] = self.door.now()
        if request_id:
            self.sent_by[request_id] = process

    # --- after every event -------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Read what the cloud has written down since the last event."""
        if self.violation is not None:
            raise self.violation
        history = self.door.cloud.history
        if history.written == self._read:
            return
        fresh = history.written - self._read
        self._read = history.written
        for entry in [history.entries[index] for index in range(-fresh, 0)]:
            getattr(self, f"_{entry['kind']}", self._other)(entry)
        self._address_is_safe()

    def _other(self, entry: dict[str, Any]) -> None:
        self.note(
            entry["kind"], " ".join(f"{name}={value}" for name, value in entry.items() if name not in {"at", "kind"})
        )

    def _request(self, entry: dict[str, Any]) -> None:
        verb, path = entry["verb"], entry["path"]
        if verb.startswith("metadata."):
            return
        self.note("request", f"{verb} {entry['status']}")
        if entry["method"] != "GET" and not OURS.search(path):
            self.broken("S6", f"{verb} on {path}, which is not ours")

    def _operation(self, entry: dict[str, Any]) -> None:
        self.note("operation", f"{entry['verb']} {entry['status']} {entry['error'] or ''}")
        if entry["verb"] == "instances.setMetadata" and entry["status"] == "DONE":
            for vm in self.door.cloud.world.instances.values():
                lease = read_lease(vm.metadata.get(LEASE_ATTRIBUTE))
                if lease is not None and lease.phase is Phase.FREE and vm.status != "TERMINATED":
                    self.broken("P4", f"the lease was given back while the VM is {vm.status}")

    def _state(self, entry: dict[str, Any]) -> None:
        vm, after = str(entry["resource"]), entry["to"]
        self.note("state", f"{vm} {entry['from']} -> {after}")
        if after == "PROVISIONING":
            self.billed[vm].append((entry["at"], None))
            for sender in self._senders("instances.start"):
                if sender in self.left:
                    self.broken("P4", f"a start of {sender} lands, which had left and said that all was cleaned up")
        if after == "TERMINATED" and self.billed[vm]:
            self.billed[vm][-1] = (self.billed[vm][-1][0], entry["at"])
        if after == "STOPPING":
            self._stop_lands(vm)

    def _stop_lands(self, vm: str) -> None:
        cut = [work for work in self.works if work.ended is None and work.vm.endswith(vm)]
        for work in cut:
            for sender in self._senders("instances.stop"):
                if self.key_of.get(sender) == work.key:
                    continue
                self.late_cuts += 1
                since = self.door.now() - self.looked_at[sender]
                if since <= self.longest_request:
                    self.broken("S3", f"{sender} stops {work.key}, {since.total_seconds():.1f} s after its last look")

    def _senders(self, verb: str) -> list[str]:
        """Whose requests of that kind have their turn now."""
        under_way = [
            one for one in self.door.cloud.world.operations.values() if (one.status, one.verb) == ("RUNNING", verb)
        ]
        return [self.sent_by[one.request_id] for one in under_way if one.request_id in self.sent_by]

    def _address_is_safe(self) -> None:
        world = self.door.cloud.world
        holders = Counter(vm.external_ip for vm in world.instances.values() if vm.external_ip)
        if holders and max(holders.values()) > 1:
            self.broken("S4", f"one address on two VMs: {holders}")
        for work in self.works:
            if work.ended is None:
                vm = world.instances[work.vm]
                if vm.status == "RUNNING" and vm.external_ip is None:
                    self.broken("S4", f"the address was taken from {work.key} while it is live")

    # --- at the end ------------------------------------------------------------------------------------------------

    def idle_seconds(self) -> float:
        """Billed seconds in which no job was live."""
        total = 0.0
        for vm, spans in self.billed.items():
            for began, ended in spans:
                until = ended or self.door.now()
                live = sum(
                    max(0.0, (min(work.ended or until, until) - max(work.began, began)).total_seconds())
                    for work in self.works
                    if work.vm.endswith(vm)
                )
                total += (until - began).total_seconds() - live
        return total
