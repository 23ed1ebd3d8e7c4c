"""Which headers go on, in both directions (RFC 9110, section 7.6). Names are lower-case bytes, values bytes."""

from collections.abc import Iterable
from dataclasses import dataclass

from vm_agent.protocol import API_KEY_HEADER

Headers = list[tuple[bytes, bytes]]

API_KEY = API_KEY_HEADER.lower().encode("ascii")
PSEUDONYM = b"1.1 mayfly-gateway"

# About one connection, not about the message. Bodies are framed anew on each side; `100 Continue` is our own answer.
HOP_BY_HOP = frozenset(
    (
        b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization", b"te",
        b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings", b"expect",
    )
)  # fmt: skip

# Said by us, or by nobody: a caller must not speak for the gateway, for Google's front end, or to the metadata server.
# X-Serverless-Authorization goes before Authorization at Cloud Run.
OURS_TO_SAY = frozenset(
    (
        b"host", b"content-length", API_KEY, b"authorization", b"x-serverless-authorization", b"metadata-flavor",
        b"x-google-metadata-request", b"forwarded", b"x-real-ip",
    )
)  # fmt: skip
OURS_TO_SAY_PREFIXES = (b"x-forwarded-", b"x-goog-")

# About the upstream's own origin, which the caller does not see.
UPSTREAM_ONLY = frozenset((b"alt-svc",))


@dataclass(frozen=True)
class Hop:
    """What the gateway says of itself to the upstream."""

    token: str
    client: str  # the caller's address, as the socket says
    scheme: str


def to_upstream(received: Headers, hop: Hop) -> Headers:
    """The request's headers for the upstream, without Host, which follows from its URL."""
    kept = [
        (name, value)
        for name, value in _end_to_end(received)
        if name not in OURS_TO_SAY
        and not name.startswith(OURS_TO_SAY_PREFIXES)
        and b"_" not in name  # X_API_KEY and X-API-Key are one to many servers
        and name != b"via"
    ]
    via = b", ".join([*values(received, b"via"), PSEUDONYM])
    said = [
        (b"authorization", b"Bearer " + hop.token.encode("ascii")),
        (b"via", via),
        (b"x-forwarded-for", hop.client.encode("ascii", "replace")),
        (b"x-forwarded-proto", hop.scheme.encode("ascii")),
        *((b"x-forwarded-host", host) for host in values(received, b"host")),
    ]
    return kept + said + _framing(received)


def to_caller(received: Headers, origin: str) -> Headers:
    """The answer's headers for the caller. A redirect within the upstream becomes one within the gateway."""
    kept = [(name, value) for name, value in _end_to_end(received) if name not in UPSTREAM_ONLY]
    length = [] if values(received, b"transfer-encoding") else values(received, b"content-length")
    inside = origin.encode("ascii")
    return [
        (name, value.removeprefix(inside)) if name == b"location" and value.startswith(inside + b"/") else (name, value)
        for name, value in kept
        if name != b"content-length"
    ] + [(b"content-length", value) for value in length]


def values(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> list[bytes]:
    """All values of that name."""
    return [value for name, value in headers if name == wanted]


def body_length(received: Headers) -> int | None:
    """Bytes of the request's body as announced; None: chunked."""
    if values(received, b"transfer-encoding"):
        return None
    return int((values(received, b"content-length") or [b"0"])[0])


def _end_to_end(received: Headers) -> Headers:
    nominated = {token.strip().lower() for value in values(received, b"connection") for token in value.split(b",")}
    return [(name, value) for name, value in received if name not in HOP_BY_HOP and name not in nominated]


def _framing(received: Headers) -> Headers:
    """Our own words: whatever Connection nominates, the body has the length it had."""
    if values(received, b"transfer-encoding"):
        return [(b"transfer-encoding", b"chunked")]
    return [(b"content-length", value) for value in values(received, b"content-length")]
