"""Who is calling. Each way to prove it is one Credential; any of those that the settings name opens the door."""

import hashlib
import hmac
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from vm_agent.protocol import API_KEY_HEADER, TOKEN_HEADER
from vm_agent.signed import BadToken, GoogleKeys

PROOFS = (TOKEN_HEADER, API_KEY_HEADER)  # who sends one of these says who they are, even where it is not looked at


@dataclass(frozen=True)
class Caller:
    """Somebody who proved who they are."""

    name: str


class NotProven(Exception):
    """The proof does not hold. Says why: for our log, never for the caller."""


class Credential(Protocol):
    """One way to prove who one is."""

    @property
    def challenge(self) -> str:
        """For WWW-Authenticate."""

    @property
    def advice(self) -> str:
        """What this way takes, for whoever sets it up. The same for every refusal, and nothing about this VM."""

    def presented(self, headers: Mapping[str, str]) -> bool:
        """Whether the caller tries this way at all."""

    async def check(self, headers: Mapping[str, str]) -> Caller:
        """The caller. NotProven; NoKeys if it cannot be told now."""


class IdToken:
    """A token signed by Google for this very VM, of an account that may call. What the caller cannot pass on to others:
    shown to another VM it is worth nothing, and it is over within the hour."""

    challenge = 'Bearer realm="mayfly agent"'
    advice = (
        "Authorization: Bearer with an ID token from Google: its audience this VM's own full name, its email one of "
        "those in the VM's metadata mayfly-callers"
    )

    def __init__(self, keys: GoogleKeys, audience: str, callers: Collection[str]) -> None:
        self._keys = keys
        self._audience = audience
        self._callers = frozenset(caller.lower() for caller in callers)

    def presented(self, headers: Mapping[str, str]) -> bool:
        """The header is there."""
        return TOKEN_HEADER in headers

    async def check(self, headers: Mapping[str, str]) -> Caller:
        """Whoever Google says it is, if that one may call."""
        scheme, _, token = headers[TOKEN_HEADER].partition(" ")
        if scheme.lower() != "bearer":
            raise NotProven(f"{TOKEN_HEADER} is not a Bearer token")
        try:
            claims = await self._keys.claims(token.strip(), self._audience)
        except BadToken as problem:
            raise NotProven(f"the token does not hold: {problem}") from problem
        email = str(claims.get("email"))[:254]  # no address is longer
        if claims.get("email_verified") is not True:
            raise NotProven(f"Google has not verified the email {email!r} of the token")
        if email.lower() not in self._callers:
            raise NotProven(f"{email!r} is none of MAYFLY_CALLERS")
        return Caller(email)


class ApiKeys:
    """X-API-Key, compared in constant time with each of the keys: two are valid while callers change to the next."""

    challenge = 'ApiKey realm="mayfly agent"'
    advice = "X-API-Key with the key from the secret that the VM's metadata mayfly-agent-key names"

    def __init__(self, keys: Sequence[str]) -> None:
        if not keys or not all(key.strip() for key in keys):
            raise ValueError("an empty API key would let everybody in")
        self._digests = [_digest(key) for key in keys]  # of one length: the comparison tells not even how long a key is

    def presented(self, headers: Mapping[str, str]) -> bool:
        """The header is there."""
        return API_KEY_HEADER in headers

    async def check(self, headers: Mapping[str, str]) -> Caller:
        """Whoever knows a key."""
        shown = _digest(headers[API_KEY_HEADER])
        right = [
            hmac.compare_digest(shown, digest) for digest in self._digests
        ]  # all: which one is right takes as long
        if not any(right):
            raise NotProven("the API key is wrong")
        return Caller(f"API key {right.index(True) + 1}")


class CloudRun:
    """Whoever Cloud Run has let in: it asks for `run.invoker` before it passes a request on, and shows us no signature
    that we could check ourselves. Only for a service that is not open to all."""

    challenge = 'Bearer realm="cloud run"'
    advice = "Cloud Run lets in who may invoke this service"

    def presented(self, headers: Mapping[str, str]) -> bool:  # noqa: ARG002
        """Everybody has been asked already."""
        return True

    async def check(self, headers: Mapping[str, str]) -> Caller:  # noqa: ARG002
        """Always."""
        return Caller("Cloud Run")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", errors="surrogateescape")).digest()
