"""So many at once, and so many a second, for each caller: what the agent and the gateway hold strangers up with."""

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

_IPV6_NETWORK_BITS = 64  # one caller has as many addresses in there as it likes

T = TypeVar("T")


@dataclass(slots=True)
class Bucket:
    """Full at first. Moments are seconds of a clock that nobody sets."""

    size: float
    per_second: float
    level: float
    at: float = -math.inf

    @classmethod
    def full(cls, size: float, per_second: float) -> "Bucket":
        """A new one."""
        return cls(size, per_second, size)

    def take(self, now: float) -> float:
        """Seconds until there is one to take; 0: it is taken."""
        self.level = min(self.size, self.level + (now - self.at) * self.per_second)
        self.at = now
        if self.level < 1:
            return (1 - self.level) / self.per_second
        self.level -= 1
        return 0.0

    def put_back(self) -> None:
        """It was not used."""
        self.level = min(self.size, self.level + 1)


class ByCaller(Generic[T]):
    """One T for each caller's address; only those asked for last are remembered."""

    def __init__(self, new: Callable[[], T], most: int) -> None:
        self._new, self._most = new, most
        self._kept: OrderedDict[str, T] = OrderedDict()

    def of(self, address: str) -> T:
        """The caller's own, a new one if it is new (again)."""
        caller = _caller(address)
        found = self._kept.pop(caller, None)
        self._kept[caller] = found = self._new() if found is None else found
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return found


def _caller(address: str) -> str:
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(known, ipaddress.IPv4Address):
        return str(known)
    if known.ipv4_mapped:
        return str(known.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(known), _IPV6_NETWORK_BITS), strict=False))
