"""Failed attempts to prove who one is: how many an address may make, and how much of them is told.

A bucket of attempts for each address; one that fails is gone, and comes back in a moment; one that succeeds costs
nothing. With the bucket empty nothing is checked. A proof that has held once is always let through to the check: who
shares an address with an attacker, behind a NAT, is held up before the first success at most, and never locked out.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from vm_agent import policy
from vm_agent.buckets import Bucket, ByCaller
from vm_agent.problems import TooManyAttempts


@dataclass
class _Address:
    tries: Bucket = field(default_factory=lambda: Bucket.full(policy.ATTEMPTS_AT_ONCE, policy.ATTEMPTS_PER_SECOND))
    lines: Bucket = field(
        default_factory=lambda: Bucket.full(policy.ATTEMPT_LINES_AT_ONCE, policy.ATTEMPT_LINES_PER_SECOND)
    )
    untold: int = 0


class Attempts:
    """The addresses that failed last, and the proofs that held last; of both only so many."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now  # seconds, of a clock that nobody sets
        self._addresses = ByCaller(_Address, policy.ADDRESSES_REMEMBERED)
        self._held: OrderedDict[bytes, None] = OrderedDict()

    def begin(self, address: str, proof: str) -> None:
        """One attempt, before anything of it is checked. TooManyAttempts."""
        if _digest(proof) in self._held:
            return
        if (seconds := self._addresses.of(address).tries.take(self._now())) > 0:
            raise TooManyAttempts(seconds)

    def held(self, address: str, proof: str) -> None:
        """It succeeded."""
        digest = _digest(proof)
        if digest not in self._held:
            self._addresses.of(address).tries.put_back()
        self._held[digest] = None
        self._held.move_to_end(digest)
        if len(self._held) > policy.PROOFS_REMEMBERED:
            self._held.popitem(last=False)

    def failed(self, proof: str) -> None:
        """It did not hold, or holds no more: it is over, say."""
        self._held.pop(_digest(proof), None)

    def undecided(self, address: str) -> None:
        """Whether it holds cannot be told: it costs nothing."""
        self._addresses.of(address).tries.put_back()

    def to_tell(self, address: str) -> int | None:
        """How many refusals of this address this line in the log stands for; None: no line now."""
        of = self._addresses.of(address)
        of.untold += 1
        if of.lines.take(self._now()) > 0:
            return None
        told, of.untold = of.untold, 0
        return told


def _digest(proof: str) -> bytes:
    return hashlib.sha256(proof.encode("utf-8", errors="surrogateescape")).digest()
