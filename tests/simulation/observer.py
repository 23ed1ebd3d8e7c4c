"""The omniscient observer: what must never be, looked for behind every step; and what must be in the end.

S1  at most one accepted start per key and attempt        S2  no two live runs on one VM
S3  no stop hits the run of another key, and a sweep's no run at all, unless its sender was frozen between its look and
    the stop (then: counted); the run that it cut is INTERRUPTED, and never begun again
S4  the IP never on two VMs, never taken from a live run  S5  no end is told that the ledger does not say
S6  nothing without our label is touched                  C1  idle-billed seconds as promised (meter.py)
L0  the VM is never on, or on its way, while nobody holds or owes its lease (but for such a frozen one's start: counted)
L1  when faults cease: VM off, IP as the policy says, lease free, with the sweep as last net; and nobody says that it
    left everything clean while the lease is its own

What cannot be promised is in `NOT_PROMISED`: each time that it happens is counted, never passed over.
"""

import sqlite3
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from gcp_emulator.instances import RUNNING, TERMINATED
from orchestrator.lease import Lease, Phase, read_lease
from orchestrator.run import OnInterrupt, Outcome, Run
from tests.simulation.meter import GOOGLE_IS_LATE, Meter, most_idle
from tests.simulation.platform import POLICY, Attempt, Execution, TaskProcess
from tests.simulation.sweeper import Sweeper
from tests.simulation.universe import BYSTANDER, Universe
from vm_agent.process import Order

SETTLED_SECONDS = 60.0  # after which no request of a dead orchestrator is under way any more


# These it has from the agent: of a run that nobody can tell the end of it says INTERRUPTED.
_TOLD_BY_THE_LEDGER = {Outcome.SUCCEEDED, Outcome.FAILED, Outcome.CANCELLED, Outcome.TIMED_OUT}

# What happened -> why it may.
NOT_PROMISED = {
    "a stop from a frozen orchestrator": "Compute Engine's stop takes no precondition: who is frozen between look and "
    "stop for longer than the lease lives may hit the next run (docs/reliability.md, residual window)",
    "a start from a frozen orchestrator": "nor does its start: if others have put everything right by then, it brings "
    "the VM on under nobody's lease; its dead-man turns it off, or its own limit",
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

    def __init__(self, universe: Universe, executions: list[Execution], sweeper: Sweeper) -> None:
        self.universe, self.executions, self.sweeper = universe, executions, sweeper
        self.meter = Meter(universe)
        self.violations: list[Violation] = []
        self.excused: Counter[str] = Counter()  # by the names of NOT_PROMISED
        self._starts: Counter[tuple[str, int]] = Counter()
        self._guest = universe.guest()
        self._heard = 0  # lines of the trace: whoever ends, says so there
        self._read = 0  # entries of the cloud's history
        self._started_late = False  # the last start came from one who was frozen, and had lost the lease
        self._cut: set[str] = set()  # whose run was live when another's stop landed
        self._judged: set[str] = set()  # the names of processes whose answer was heard
        self._over_at: float | None = None
        universe.on_job.append(self._job_began)
        universe.on_cut.append(self._address_taken)
        universe.on_power.append(self._power_landed)

    def note(self, promise: str, how: str) -> None:
        """A promise was broken."""
        violation = Violation(promise, self.universe.loop.time(), how)
        if not any((known.promise, known.how) == (promise, how) for known in self.violations):
            self.violations.append(violation)
            self.universe.tell(f"VIOLATION {violation}")

    def look(self) -> None:
        """Behind every step."""
        universe = self.universe
        self.meter.look()
        if len(self._guest.jobs) > 1:
            self.note("S2", f"live at once: {sorted(self._guest.jobs)}")
        if universe.cloud.history.written != self._read:
            self._read_history()
            self._address_on_one_vm()
            self._how_long_on()
            self._on_with_a_lease()
        if len(universe.trace) != self._heard:
            self._heard = len(universe.trace)
            self._hear_answers()

    # --- the end -------------------------------------------------------------------------------------------------

    def all_over(self) -> bool:
        """All executions and sweeps are over, the VM is off, and its lease is nobody's."""
        at_work = not all(execution.over for execution in self.executions) or not self.sweeper.at_rest
        if at_work or not self.universe.is_down() or self._owed() is not None:
            self._over_at = None
        elif self._over_at is None:
            self._over_at = self.universe.loop.time()
        return self._over_at is not None

    def quiet_at(self) -> float:
        """When all that was sent has landed, and every event has happened."""
        last = max((event.at for event in self.universe.schedule.events), default=0.0)
        return max(self._over_at or 0.0, last) + SETTLED_SECONDS

    def judge_the_end(self) -> None:
        """What must be once the faults have ceased."""
        vm, lease = self.universe.machine(), self._owed()
        if vm is not None and not self.universe.is_down():
            self.note("L1", f"the VM is {vm.status}")
        if lease is not None:
            self.note("L1", f"the lease is {lease.phase}, of {lease.holder}")
        elif vm is not None and vm.access_config is not None:
            self.note("L1", f"the lease is free, and the IP {vm.external_ip} is still on the VM")
        for idle in self.meter.stretches:
            most = most_idle(self.universe.schedule, idle)
            if most is not None and not self.excused["a start from a frozen orchestrator"] and idle.span > most:
                self.note("C1", f"{idle.span} on and idle, from {idle.since:%H:%M:%S}; no more than {most} is promised")
        for key in self._cut:
            states = self._in_ledger(key)
            if not {"INTERRUPTED", "SUCCEEDED"}.issuperset(states):
                self.note("S3", f"the run of {key} was cut by another's stop, and its ledger says {states}")

    def _owed(self) -> Lease | None:
        """The lease, if somebody has it. One that ran out over a VM that is gone stands in nobody's way."""
        lease = _lease(self.universe.lease_value())
        if lease is None or lease.phase is Phase.FREE:
            return None
        gone = self.universe.schedule.made and self.universe.is_down()
        ran_out = lease.expires_at is not None and lease.expires_at + POLICY.request < self.universe.now
        return None if gone and ran_out else lease

    def _hear_answers(self) -> None:
        for attempt in (one for execution in self.executions for one in execution.attempts[-1:]):
            if attempt.exit_code is not None and attempt.process.name not in self._judged:
                self._judged.add(attempt.process.name)
                self._judge_receipt(attempt)
        for sweep in self.sweeper.sweeps:
            if sweep.exit_code is not None and sweep.process.name not in self._judged:
                self._judged.add(sweep.process.name)
                if any(sweep.put_right):
                    self._judge_clean(sweep)

    # --- single promises -----------------------------------------------------------------------------------------

    def _job_began(self, instance: str, order: Order, key: tuple[str, int]) -> None:
        del instance
        self._starts[key] += 1
        if key[1] > 1 and self.universe.schedule.trade != OnInterrupt.RERUN:
            self.note("S3", f"{key} was begun again, though it may not be (ON_INTERRUPT=fail)")
        if self._starts[key] > 1:
            self.note("S1", f"{key} was started again, as {order.run_id}")

    def _address_taken(self, ip: str) -> None:
        for vm in self.universe.cloud.world.instances.values():
            cut_off = vm.status == RUNNING and vm.external_ip != ip
            if cut_off and self.universe.guests[vm.key].jobs and vm.internal_ip == self.universe.led_to.get(ip):
                self.note("S4", f"{ip} was taken from a live run on {vm.name}")

    def _power_landed(self, sender: TaskProcess, verb: str, frozen: bool) -> None:
        if verb == "start":
            self._started_late = frozen and not sender.holds(self._owed())
            if self._started_late:
                self.excused["a start from a frozen orchestrator"] += 1
            return
        for _, key in self.universe.live_keys():
            if sender.may_stop(key):
                continue
            self._cut.add(key)
            if frozen:
                self.excused["a stop from a frozen orchestrator"] += 1
            else:
                self.note("S3", f"{sender.process.name} stopped a run of {key}")

    def _on_with_a_lease(self) -> None:
        status, lease = self.universe.status(), self._owed()
        if status != TERMINATED and lease is None and not self._started_late:
            self.note("L0", f"the VM is {status}, and nobody has its lease")
        if lease is not None and lease.run_deadline is not None:
            self.meter.saw_deadline(lease.run_deadline)

    def _address_on_one_vm(self) -> None:
        held = Counter(vm.external_ip for vm in self.universe.cloud.world.instances.values() if vm.external_ip)
        for ip, count in held.items():
            if count > 1:
                self.note("S4", f"{ip} is on {count} VMs")

    def _how_long_on(self) -> None:
        longest = max((run.max_run for run in self._runs()), default=None)
        if longest is not None and self.meter.on > longest + GOOGLE_IS_LATE:
            self.note("C1", f"the VM is on for longer than its own limit, {longest}")

    def _runs(self) -> list[Run]:
        return [attempt.run for execution in self.executions for attempt in execution.attempts if attempt.run]

    def _read_history(self) -> None:
        history = self.universe.cloud.history
        fresh = history.written - self._read
        for entry in islice(reversed(history.entries), fresh):
            if entry["kind"] == "request" and f"/instances/{BYSTANDER}" in entry["path"]:
                self.note("S6", f"{entry['verb']} on {BYSTANDER}")
        self._read = history.written

    def _judge_receipt(self, attempt: Attempt) -> None:
        receipt = attempt.receipt
        if receipt is None:
            return
        if receipt.outcome in _TOLD_BY_THE_LEDGER:
            states = self._in_ledger(receipt.run_key)
            if receipt.outcome.name not in states:
                self.note("S5", f"{attempt.process.name} said {receipt.outcome}, the ledger says {states or 'nothing'}")
        if receipt.cleanup == "confirmed":
            self._judge_clean(attempt)

    def _judge_clean(self, who: TaskProcess) -> None:
        if who.holds(self._owed()):
            self.note("L1", f"{who.process.name} says that it left everything clean, and still has the lease")

    def _in_ledger(self, key: str) -> list[str]:
        """What a power cut now would leave, and what was on the disks of VMs that were deleted."""
        disks = [*self.universe.erased, self.universe.guest().disk]
        return [state for disk in disks if disk.synced is not None for state in _states(disk.synced, key)]


def _states(image: bytes, key: str) -> list[str]:
    ledger = sqlite3.connect(":memory:")
    try:
        ledger.deserialize(image[:18] + b"\1\1" + image[20:])  # a database in memory has no write-ahead log
        return [state.upper() for (state,) in ledger.execute("SELECT state FROM runs WHERE key = ?", (key,))]
    finally:
        ledger.close()


_lease = lru_cache(maxsize=64)(read_lease)
