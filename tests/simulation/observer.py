"""The omniscient observer: what must never be, looked for behind every step; and what must be in the end.

S1  at most one accepted start per key and attempt        S2  no two live runs on one VM
S3  no stop hits the run of another key, unless its sender was frozen between its look and the stop (then: counted)
S4  the IP never on two VMs, never taken from a live run  S5  SUCCEEDED only if the ledger says so
S6  nothing without our label is touched                  C1  no VM is on for longer than its limit and a little
L0  the VM is never on, or on its way, while nobody holds or owes its lease
L1  when faults cease: VM off, IP as the policy says, lease free or expired

What is not promised yet is in `NOT_YET`: each time that it happens is counted, never passed over.
"""

import sqlite3
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice

from gcp_emulator.instances import RUNNING, TERMINATED
from orchestrator.lease import Phase, read_lease
from orchestrator.run import Outcome
from tests.simulation.platform import POLICY, Attempt, Execution
from tests.simulation.universe import BYSTANDER, Universe
from vm_agent.process import Order
from vm_agent.protocol import LEASE_ATTRIBUTE

GOOGLE_IS_LATE = 30.0  # with a stop by maxRunDuration
GRACE_AND_STOPPING = 120.0 + 40.0
SETTLED_SECONDS = 60.0  # after which no request of a dead orchestrator is under way any more


# What happened -> why it may, today.
NOT_YET = {
    "a clean-up owed": "no attempt is left that could come down (the execution was cancelled, or its last attempt "
    "died): the dead-man or maxRunDuration turns the VM off, but the IP and the lease wait for the sweep, which this "
    "simulation does not run yet",
    "a stop from a frozen orchestrator": "Compute Engine's stop takes no precondition: who is frozen between look and "
    "stop for longer than the lease lives may hit the next run (docs/reliability.md, residual window)",
}


@dataclass(frozen=True)
class Violation:
    """Which promise was broken, when, and how."""

    promise: str
    at: float
    how: str

    def __str__(self) -> str:
        return f"{self.promise} at {self.at:.3f} s: {self.how}"


class Observer:
    """Watches one universe."""

    def __init__(self, universe: Universe, executions: list[Execution]) -> None:
        self.universe, self.executions = universe, executions
        self.violations: list[Violation] = []
        self.excused: Counter[str] = Counter()  # by the names of NOT_YET
        self._starts: Counter[tuple[str, int]] = Counter()
        self._read = 0  # entries of the cloud's history
        self._judged: set[tuple[str, int]] = set()
        self._on_since: float | None = None
        self._over_at: float | None = None
        universe.on_job.append(self._job_began)
        universe.on_cut.append(self._address_taken)
        universe.on_stop.append(self._stop_landed)

    def note(self, promise: str, how: str) -> None:
        """A promise was broken."""
        violation = Violation(promise, self.universe.loop.time(), how)
        if not any((known.promise, known.how) == (promise, how) for known in self.violations):
            self.violations.append(violation)
            self.universe.tell(f"VIOLATION {violation}")

    def look(self) -> None:
        """Behind every step."""
        universe = self.universe
        for guest in universe.guests.values():
            if len(guest.jobs) > 1:
                self.note("S2", f"live at once: {sorted(guest.jobs)}")
        if universe.cloud.history.written != self._read:
            self._read_history()
            self._address_on_one_vm()
            self._how_long_on()
            self._on_with_a_lease()
        for execution in self.executions:
            for attempt in execution.attempts:
                if attempt.exit_code is not None and (execution.name, attempt.number) not in self._judged:
                    self._judged.add((execution.name, attempt.number))
                    self._judge_receipt(attempt)

    # --- the end -------------------------------------------------------------------------------------------------

    def all_over(self) -> bool:
        """All executions are over, none will be triggered any more, and no VM is on."""
        if not all(execution.over for execution in self.executions):
            self._over_at = None
            return False
        if self._over_at is None:
            self._over_at = self.universe.loop.time()
        return all(vm.status == TERMINATED for vm in self.universe.cloud.world.instances.values())

    def quiet_at(self) -> float:
        """When all that was sent has landed, and every event has happened."""
        last = max((event.at for event in self.universe.schedule.events), default=0.0)
        return max(self._over_at or 0.0, last) + SETTLED_SECONDS

    def judge_the_end(self) -> None:
        """What must be once the faults have ceased."""
        vm, now = self.universe.machine(), self.universe.now
        if vm.status != TERMINATED:
            self.note("L1", f"the VM is {vm.status}")
        lease = read_lease(vm.metadata.get(LEASE_ATTRIBUTE))
        if lease is not None and lease.phase is not Phase.FREE:
            assert lease.expires_at is not None
            if lease.expires_at > now + POLICY.lease_ttl:
                self.note("L1", f"the lease is {lease.phase} until {lease.expires_at}")
        owed = lease is not None and lease.phase is not Phase.FREE
        if owed and all(execution.attempts[-1].exit_code == 0 for execution in self.executions):
            self.note("L1", f"all is said to be well, and the lease is {lease.phase if lease else None}")
        elif owed:
            self.excused["a clean-up owed"] += 1
        elif vm.access_config is not None:
            self.note("L1", f"the lease is free, and the IP {vm.external_ip} is still on the VM")

    # --- single promises -----------------------------------------------------------------------------------------

    def _job_began(self, instance: str, order: Order, key: tuple[str, int]) -> None:
        del instance
        self._starts[key] += 1
        if self._starts[key] > 1:
            self.note("S1", f"{key} was started again, as {order.run_id}")

    def _address_taken(self, ip: str) -> None:
        for vm in self.universe.cloud.world.instances.values():
            cut_off = vm.status == RUNNING and vm.external_ip != ip
            if cut_off and self.universe.guests[vm.key].jobs and vm.internal_ip == self.universe.led_to.get(ip):
                self.note("S4", f"{ip} was taken from a live run on {vm.name}")

    def _stop_landed(self, attempt: Attempt, frozen: bool) -> None:
        for _, key in self.universe.live_keys():
            if attempt.run is None or key == attempt.run.key:
                continue
            if frozen:
                self.excused["a stop from a frozen orchestrator"] += 1
            else:
                self.note("S3", f"{attempt.process.name} stopped a run of {key}")

    def _on_with_a_lease(self) -> None:
        vm = self.universe.machine()
        lease = read_lease(vm.metadata.get(LEASE_ATTRIBUTE))
        if vm.status != TERMINATED and (lease is None or lease.phase is Phase.FREE):
            self.note("L0", f"the VM is {vm.status}, and nobody has its lease")

    def _address_on_one_vm(self) -> None:
        held = Counter(vm.external_ip for vm in self.universe.cloud.world.instances.values() if vm.external_ip)
        for ip, count in held.items():
            if count > 1:
                self.note("S4", f"{ip} is on {count} VMs")

    def _how_long_on(self) -> None:
        vm, now = self.universe.machine(), self.universe.loop.time()
        if vm.status == TERMINATED:
            self._on_since = None
        elif self._on_since is None:
            self._on_since = now
        limit = _limit(self.executions)
        if self._on_since is not None and limit is not None and now - self._on_since > limit:
            self.note("C1", f"the VM is on for more than {limit:.0f} s")

    def _read_history(self) -> None:
        history = self.universe.cloud.history
        fresh = history.written - self._read
        for entry in islice(reversed(history.entries), fresh):
            if entry["kind"] == "request" and f"/instances/{BYSTANDER}" in entry["path"]:
                self.note("S6", f"{entry['verb']} on {BYSTANDER}")
        self._read = history.written

    def _judge_receipt(self, attempt: Attempt) -> None:
        if attempt.receipt is None or attempt.receipt.outcome is not Outcome.SUCCEEDED:
            return
        states = self._in_ledger(attempt.receipt.run_key)
        if "SUCCEEDED" not in states:
            self.note("S5", f"{attempt.process.name} said succeeded, the ledger says {states or 'nothing'}")

    def _in_ledger(self, key: str) -> list[str]:
        """What a power cut now would leave."""
        image = self.universe.guest().disk.synced
        if image is None:
            return []
        ledger = sqlite3.connect(":memory:")
        try:
            ledger.deserialize(image[:18] + b"\1\1" + image[20:])  # a database in memory has no write-ahead log
            return [state.upper() for (state,) in ledger.execute("SELECT state FROM runs WHERE key = ?", (key,))]
        finally:
            ledger.close()


def _limit(executions: list[Execution]) -> float | None:
    runs = [attempt.run for execution in executions for attempt in execution.attempts if attempt.run]
    longest = max((run.max_run for run in runs), default=None)
    start: timedelta = POLICY.start
    return None if longest is None else (longest + start).total_seconds() + GOOGLE_IS_LATE + GRACE_AND_STOPPING
