"""Bugs by name that no tool makes by changing one line: a guard left out, an incident's bug put in on purpose.

Each is an edit of our source, and the tests that must fail with it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Bug:
    """`old` is in the file once, and becomes `new`."""

    name: str
    file: str
    old: str
    new: str
    tests: str  # files, below tests/


MOVES = "unit/orchestrator/test_moves.py"
DOWN = "unit/orchestrator/test_coming_down.py"
LADDER = "unit/orchestrator/test_ladder.py"
KEEPER = "unit/orchestrator/test_lease_keeper.py"
SETTLING = "unit/orchestrator/test_google_settling.py"
SWEEP = "unit/orchestrator/test_sweep.py"
LEDGER = "unit/agent/test_ledger.py"
FENCE = "unit/agent/test_fence.py"
ADAPTORS = "contract/test_orchestrator_leases_and_addresses.py contract/test_orchestrator_google_calls.py"

COMPARE_AND_SWAP = (
    Bug(
        "a lease is written whatever changed since the look",
        "orchestrator/google_leases.py",
        "fingerprint=machine.metadata_fingerprint",
        'fingerprint=""',
        ADAPTORS,
    ),
    Bug(
        "a lease is renewed under another's nonce",
        "orchestrator/lease_keeper.py",
        "if machine.lease is None or machine.lease.nonce != self._run.nonce:",
        "if machine.lease is None:",
        KEEPER,
    ),
    Bug(
        "a write that was refused counts as written",
        "orchestrator/lease_keeper.py",
        "continue  # somebody else's metadata",
        "pass  # somebody else's metadata",
        KEEPER,
    ),
    Bug(
        "a refused write is repeated from the old look",
        "orchestrator/lease_keeper.py",
        """            for _ in range(self._world.policy.lease_conflicts):
                machine = await self.look()
""",
        """            machine = await self.look()
            for _ in range(self._world.policy.lease_conflicts):
""",
        KEEPER,
    ),
    Bug(
        "a run is moved on from a state that it has left",
        "vm_agent/ledger.py",
        "WHERE id = ? AND state = ? RETURNING id",
        "WHERE id = ? AND (state = ? OR 1) RETURNING id",
        LEDGER,
    ),
    Bug(
        "the epoch of a wiped lease begins at one again",
        "orchestrator/lease.py",
        "return max((previous.epoch if previous else 0) + 1, int(now.timestamp()))",
        "return (previous.epoch if previous else 0) + 1",
        "unit/orchestrator/test_lease.py",
    ),
)

SYNC = (
    Bug(
        "the ledger is not synced", "vm_agent/ledger.py", "PRAGMA synchronous=FULL", "PRAGMA synchronous=NORMAL", LEDGER
    ),
    Bug(
        "the epoch is not written down",
        "vm_agent/ledger.py",
        'self._ask("UPDATE epoch SET highest = ? WHERE highest < ?", epoch, epoch)',
        "pass",
        LEDGER,
    ),
)

REQUEST_ID = (
    Bug(
        "the lease is written without a request id",
        "orchestrator/google_leases.py",
        "                request_id=request_id,\n",
        "",
        ADAPTORS,
    ),
    Bug(
        "each try is a request of its own",
        "orchestrator/google_settling.py",
        "await attempt(request_id)\n            except",
        "await attempt(str(uuid4()))\n            except",
        SETTLING,
    ),
    Bug(
        "a request that was refused is repeated under its id",
        "orchestrator/google_settling.py",
        "                request_id = str(uuid4())\n",
        "",
        SETTLING,
    ),
)

SETTLE = (
    Bug(
        "a start of which nobody heard was never sent",
        "orchestrator/moves.py",
        "trip.before_start, trip.start_unsettled, trip.left_on = seen.machine, True, True",
        "trip.before_start, trip.start_unsettled, trip.left_on = seen.machine, False, True",
        MOVES,
    ),
    Bug(
        "a change that is called off is forgotten",
        "orchestrator/google_settling.py",
        "lambda request_id: uninterrupted(attempt(request_id))",
        "attempt",
        SETTLING,
    ),
    Bug(
        "a stop that is called off is not even sent",
        "orchestrator/google_settling.py",
        "operation = await uninterrupted(send(request_id))",
        "operation = await send(request_id)",
        SETTLING,
    ),
    Bug(
        "a request in flight is no fact",
        "orchestrator/ladder.py",
        "        if seen.in_flight:\n            return Move.SETTLE\n",
        "",
        LADDER,
    ),
    Bug(
        "an operation's error is overlooked",
        "orchestrator/google_settling.py",
        "        if operation.complaint is not None:\n            raise translate(operation.complaint, subject)\n",
        "",
        SETTLING,
    ),
)

RE_LOOK = (
    Bug(
        "a start is tried again without a look",
        "orchestrator/moves.py",
        "trip.world.machines.start(seen.machine, partial(_still_ours, seen, trip))",
        "trip.world.machines.start(seen.machine)",
        MOVES,
    ),
    Bug(
        "a stop is tried again without a look",
        "orchestrator/moves.py",
        "await trip.world.machines.stop(seen.machine, again)",
        "await trip.world.machines.stop(seen.machine)",
        MOVES,
    ),
    Bug(
        "a look before a further try does not compare the instance",
        "orchestrator/moves.py",
        "if not same or lease is None",
        "if lease is None",
        MOVES,
    ),
    Bug(
        "a stop goes out under a lease that ran out",
        "orchestrator/moves.py",
        "if seen.machine.lease is not None and not seen.machine.lease.held(seen.machine.seen_at):",
        "if False:",
        DOWN,
    ),
    Bug(
        "a sweep does not look again behind its claim",
        "orchestrator/sweep.py",
        "            error = await self._claim(trip, machine)\n",
        "            error = await self._claim(trip, machine)\n"
        "            await self._put_right(trip, machine)\n"
        "            return\n",
        SWEEP,
    ),
)

EPOCH = (
    Bug(
        "the agent obeys an epoch that is over",
        "vm_agent/fence.py",
        'raise StaleEpoch(f"epoch {epoch} is over: {highest} has spoken")',
        "return",
        FENCE,
    ),
    Bug(
        "the lease in the metadata fences nobody off",
        "vm_agent/fence.py",
        "        self.ledger.raise_epoch(_epoch(lease))\n        if epoch",
        "        if epoch",
        FENCE,
    ),
    Bug(
        "a person may command while a lease is live",
        "vm_agent/fence.py",
        "elif _live(lease, self.now()):",
        "elif False:",
        FENCE,
    ),
)

INCIDENTS = (
    Bug(
        "incident 1: a stop that was accepted is a VM that is off",
        "orchestrator/ladder.py",
        "may_be_on = not seen.machine.down(ephemeral=run.ephemeral) or seen.start_unsettled",
        "may_be_on = not seen.machine.going_off and not seen.machine.off or seen.start_unsettled",
        LADDER,
    ),
    Bug(
        "incident 2: errors of a stop are swallowed",
        "orchestrator/moves.py",
        "        if isinstance(ended, BaseException):\n            raise ended\n",
        "        pass\n",
        DOWN,
    ),
    Bug(
        "incident 4: to read the metadata is to hear a word",
        "vm_agent/deadman.py",
        "if self._lease and _digest(lease) != self._lease:",
        "if True:",
        "unit/agent/test_deadman.py",
    ),
    Bug(
        "incident 6: what cannot be looked at is gone",
        "orchestrator/look.py",
        "    except NotFound:\n        trip.left_on = False\n",
        "    except Exception:\n        trip.left_on = False\n",
        DOWN,
    ),
    Bug(
        "incident 7: the address stays on",
        "orchestrator/ladder.py",
        "return _address_is_attached(seen, goal.run) and not was_there",
        "return False",
        LADDER,
    ),
    Bug(
        "incident 9: a look that failed says that the run is dead",
        "orchestrator/look.py",
        "return True  # a look that failed decides nothing",
        "return False",
        MOVES,
    ),
    Bug(
        "incident 11: SIGTERM is not heard on the way up",
        "orchestrator/drive.py",
        "await asyncio.wait({going_up, signal, loss}, return_when",
        "await asyncio.wait({going_up, loss}, return_when",
        DOWN,
    ),
    Bug(
        "incident 15: a sweep asks no agent",
        "orchestrator/sweep.py",
        "return live_run(machine, await self._ask(machine, world, epoch=None), world.policy) or judged",
        "return judged",
        SWEEP,
    ),
    Bug(
        "incident 15: a sweep asks no agent again behind its claim",
        "orchestrator/sweep.py",
        "live = live_run(machine, greeting, trip.world.policy)",
        "live = None",
        SWEEP,
    ),
    Bug(
        "incident 16: whoever answers at the address is our VM",
        "orchestrator/ladder.py",
        'greeting.status == "ok" and greeting.instance_id == seen.machine.id',
        'greeting.status == "ok"',
        LADDER,
    ),
    Bug(
        "incident 17: a run joins a VM that is being stopped",
        "orchestrator/ladder.py",
        "        and lease.phase is not Phase.STOPPING\n",
        "",
        "unit/orchestrator/test_claims.py",
    ),
    Bug(
        "incident 19: the lease is given back first",
        "orchestrator/ladder.py",
        "for rung in reversed(_rungs(goal.run)) if rung.remains",
        "for rung in _rungs(goal.run) if rung.remains",
        LADDER,
    ),
    Bug(
        "incident 21: a VM that is gone is a failure",
        "orchestrator/sweep.py",
        'self._conclude(Standing.GONE, "It was deleted meanwhile.", owed=False)',
        'self._conclude(Standing.GONE, "It was deleted meanwhile.", owed=True)',
        SWEEP,
    ),
    Bug(
        "incident 24: a job that failed has succeeded",
        "orchestrator/goal.py",
        "State.FAILED: Outcome.FAILED,",
        "State.FAILED: Outcome.SUCCEEDED,",
        "unit/orchestrator/test_goal.py",
    ),
)

AND_MORE = (
    Bug(
        "a VM is started without a limit",
        "orchestrator/ladder.py",
        '    return used_as_found or _is_limited(seen, run, "STOP")\n',
        "    return True\n",
        LADDER,
    ),
    Bug(
        "the agent is asked before the lease says so",
        "orchestrator/ladder.py",
        "    return marked and greeting",
        "    return greeting",
        LADDER,
    ),
    Bug(
        "a released lease forgets how runs ended",
        "orchestrator/lease.py",
        "return Lease(epoch=self.epoch, outcomes=self.outcomes, windows=self.windows)",
        "return Lease(epoch=self.epoch, windows=self.windows)",
        "unit/orchestrator/test_lease.py",
    ),
    Bug(
        "a field of the lease is not read back",
        "orchestrator/lease.py",
        '    "task_attempt": int,\n',
        "",
        "unit/orchestrator/test_lease.py",
    ),
    Bug(
        "a run may be accepted beside a live one",
        "vm_agent/ledger.py",
        'raise Busy(f"run {live.id}',
        'str(f"run {live.id}',
        LEDGER,
    ),
)

BUGS = COMPARE_AND_SWAP + SYNC + REQUEST_ID + SETTLE + RE_LOOK + EPOCH + INCIDENTS + AND_MORE
