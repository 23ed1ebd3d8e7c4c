"""Why the agent refuses: one tree, sorted by what the caller must do. The message is the problem's detail.

Refused
├── BadRequest 400 · TooLarge 413 · KeyReused · WrongFile 422 · BadRange 416      mend the request
├── Unauthorized 401                                                  show other credentials
├── TooManyAttempts 429                                               show them a little later
├── NotFound 404                                                      it is not here
├── BadOffset 409                                                     go on from elsewhere
├── PartOnItsWay 409                                                  wait for another's file
├── Busy · AttemptRefused · StaleEpoch · LeaseLive 409                 somebody else is in the way
├── WrongEgress 412                                                   this VM has not the address it should go out by
├── WrongHost 421                                                     call us by one of our names
├── TooSlow 408 · Crowded 503                                         try again
├── CallerGone 499                                                    nobody hears it
└── NotReady 503 · LedgerLost 503 · KeysOutOfReach 503                come back later
"""

import math
from collections.abc import Mapping
from typing import ClassVar


class Refused(Exception):
    """The agent will not do this."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "refused"

    @property
    def title(self) -> str:
        """The first line of the class's docstring."""
        return (type(self).__doc__ or "").splitlines()[0].rstrip(".")

    @property
    def headers(self) -> dict[str, str]:
        """What the answer carries besides its body."""
        return {}


class BadRequest(Refused):
    """The request cannot be understood."""

    status, code = 400, "bad-request"


class TooLarge(Refused):
    """The body is too large."""

    status, code = 413, "too-large"


class KeyReused(Refused):
    """This key was used for something else."""

    status, code = 422, "key-reused"


class WrongFile(Refused):
    """What came is not the file that it was to be."""

    status, code = 422, "wrong-file"


class BadRange(Refused):
    """No such range in this file."""

    status, code = 416, "bad-range"

    def __init__(self, size: int) -> None:
        super().__init__(f"the file has {size} bytes")
        self._size = size

    @property
    def headers(self) -> dict[str, str]:
        """RFC 9110: the true size goes with the refusal."""
        return {"Content-Range": f"bytes */{self._size}"}


class Unauthorized(Refused):
    """Credentials are missing or wrong."""

    status, code = 401, "unauthorized"

    def __init__(self, ways: Mapping[str, str]) -> None:
        """`ways`: the challenge of each, and what it takes. Which part was wrong is not for the caller to know."""
        super().__init__(
            f"this agent takes {', or '.join(ways.values())}. Why a call was refused is in its log: on the VM's serial "
            "console, and there in journalctl -u mayfly-agent"
        )
        self._challenge = ", ".join(ways)

    @property
    def headers(self) -> dict[str, str]:
        """RFC 9110 asks for a challenge."""
        return {"WWW-Authenticate": self._challenge}


class TooManyAttempts(Refused):
    """Too many attempts from this address have failed."""

    status, code = 429, "too-many-attempts"

    def __init__(self, seconds: float) -> None:
        super().__init__("nothing was checked; show your credentials again in a moment")
        self._seconds = seconds

    @property
    def headers(self) -> dict[str, str]:
        """RFC 6585."""
        return {"Retry-After": str(math.ceil(self._seconds))}


class NotFound(Refused):
    """There is no such thing here."""

    status, code = 404, "not-found"


class UnknownRun(NotFound):
    """There is no such run."""

    code = "unknown-run"


class Busy(Refused):
    """Another run is live."""

    status, code = 409, "busy"


class AttemptRefused(Refused):
    """This attempt is out of turn."""

    status, code = 409, "attempt-refused"


class StaleEpoch(Refused):
    """A later lease has spoken to this agent."""

    status, code = 409, "stale-epoch"


class LeaseLive(Refused):
    """This VM is leased and the call carries no epoch."""

    status, code = 409, "lease-live"


class WrongEgress(Refused):
    """This VM goes out by another address."""

    status, code = 412, "wrong-egress"


class WrongHost(Refused):
    """This is another host."""

    status, code = 421, "wrong-host"


class TooSlow(Refused):
    """The body did not come in time."""

    status, code = 408, "too-slow"


class BadOffset(Refused):
    """The file goes on from elsewhere."""

    status, code = 409, "bad-offset"


class PartOnItsWay(Refused):
    """Another file is on its way."""

    status, code = 409, "part-on-its-way"


class CallerGone(Refused):
    """The caller hung up."""

    status, code = 499, "gone"


class NotReady(Refused):
    """The agent is not ready."""

    status, code = 503, "not-ready"

    @property
    def headers(self) -> dict[str, str]:
        """Soon enough to matter, late enough not to hammer."""
        return {"Retry-After": "1"}


class Crowded(NotReady):
    """Too many requests at once."""

    code = "crowded"


class LedgerLost(NotReady):
    """The agent's ledger cannot be read or written."""


class KeysOutOfReach(NotReady):
    """Google's public keys cannot be fetched, so no token can be checked."""
