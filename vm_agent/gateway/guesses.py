"""Who shows wrong credentials too often. Right ones always pass, however many wrong ones came from the same address:
behind one network or one balancer many callers have one address, and nobody shall lock the others out."""

import ipaddress
from collections import OrderedDict
from collections.abc import Callable

_IPV6_NETWORK_BITS = 64  # one caller has as many addresses in there as it likes


class Guesses:
    """So many wrong ones at once for each address, and one more every so many seconds. `now` is any steady clock."""

    def __init__(self, now: Callable[[], float], *, at_once: int, seconds_each: float, addresses_max: int) -> None:
        self._now = now
        self._at_once = at_once
        self._seconds_each = seconds_each
        self._addresses_max = addresses_max
        self._even: OrderedDict[str, float] = OrderedDict()  # when an address will have none on its account

    def too_many(self, address: str) -> bool:
        """Count one more wrong one; whether that is above the address's share. What is above it is not counted."""
        who, now = _caller(address), self._now()
        even = max(self._even.pop(who, now), now) + self._seconds_each
        over = even > now + self._at_once * self._seconds_each
        self._even[who] = even - self._seconds_each if over else even
        while len(self._even) > self._addresses_max:
            self._even.popitem(last=False)
        return over


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
