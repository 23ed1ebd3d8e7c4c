"""Why the gateway answers instead of the service: more leaves of the agent's tree.

Refused
├── WrongKey 401                              show a right one
├── MethodRefused 405                         use another method
├── BodyStalled 408                           send it again, faster
├── TooManyGuesses 429                        look up your key
├── Overloaded 503                            come back later
└── UpstreamFailed 502                        not the caller's fault
    ├── NoIdentity 502
    └── UpstreamSilent 504
"""

from vm_agent.gateway import policy
from vm_agent.problems import NotReady, Refused


class WrongKey(Refused):
    """The gateway needs a right X-API-Key."""

    status, code = 401, "unauthorized"

    @property
    def headers(self) -> dict[str, str]:
        """RFC 9110 asks for a challenge."""
        return {"WWW-Authenticate": 'ApiKey realm="mayfly gateway"'}


class MethodRefused(Refused):
    """TRACE would show the gateway's own token, and CONNECT opens tunnels."""

    status, code = 405, "method-refused"


class BodyStalled(Refused):
    """The body did not come in time."""

    status, code = 408, "body-stalled"


class TooManyGuesses(Refused):
    """Too many wrong keys came from this address."""

    status, code = 429, "too-many-guesses"

    @property
    def headers(self) -> dict[str, str]:
        """When one more is heard."""
        return {"Retry-After": f"{policy.GUESS_SECONDS:.0f}"}


class Overloaded(NotReady):
    """The gateway has too many requests at once."""

    code = "overloaded"


class UpstreamFailed(Refused):
    """The service behind the gateway cannot be reached."""

    status, code = 502, "upstream-failed"


class NoIdentity(UpstreamFailed):
    """The gateway gets no ID token from the metadata server."""

    code = "no-identity"


class UpstreamSilent(UpstreamFailed):
    """The service behind the gateway did not answer in time."""

    status, code = 504, "upstream-silent"
