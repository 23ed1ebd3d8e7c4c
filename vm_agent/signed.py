"""What Google has signed: identity tokens, checked with the keys that Google publishes.

Both sides check the other's: the agent its caller's token, the orchestrator the VM's. It stands alone, as the protocol
does; whoever uses it brings the clock and fetches the keys.
"""

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import jwt

ISSUERS = frozenset({"accounts.google.com", "https://accounts.google.com"})
ALGORITHM = "RS256"  # the only one that Google signs these with; what a token says of itself counts for nothing
SKEW_SECONDS = 30.0  # how far our clock and Google's may be apart
KEYS_SECONDS = 6 * 3600.0  # until keys are fetched anew: Google changes them about daily, and shows new ones before
KEYS_SECONDS_MAX = 24 * 3600.0  # how long they do if that fails: no long run is lost because Google is not there
REFRESH_SECONDS = 60.0  # between two fetches for the sake of a key that we do not know: anybody can make up a name
RETRY_SECONDS = 1.0  # after a fetch that failed
_NO_TIME = 1e12  # unix seconds: the year 33658


class BadToken(Exception):
    """The token proves nothing. Says why, for the log of whoever checks it: the one who shows it need not know."""


class OutOfTime(BadToken):
    """All else about it may hold, but by our clock it is over, or not valid yet."""


class NoKeys(Exception):
    """Google's keys cannot be had now, so nothing can be said of the token."""


class GoogleKeys:
    """Google's public keys, fetched when they are needed and kept for hours."""

    def __init__(self, fetch: Callable[[], Awaitable[bytes]], now: Callable[[], float]) -> None:
        self._fetch = fetch  # the JWK set of /oauth2/v3/certs; may raise anything
        self._now = now  # unix seconds
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._renew_at = self._good_until = self._next_fetch = -math.inf
        self._failed = ""  # how the last fetch did, if it did
        self._fetching = asyncio.Lock()
        self._ahead: asyncio.Task[None] | None = None
        self._jws = jwt.PyJWS(algorithms=[ALGORITHM])

    def prepare(self) -> None:
        """Begin to fetch them, so that no token need wait for it."""
        if self._ahead is None or self._ahead.done():
            self._ahead = asyncio.create_task(self._fetch_ahead())

    async def claims(self, token: str, audience: str) -> Mapping[str, Any]:
        """What Google says in this token, once its signature, issuer, audience and times hold. BadToken, NoKeys.

        Whom it speaks of (email, compute_engine) is for the caller to judge.
        """
        key = await self._key(_key_id(token))
        try:
            payload = self._jws.decode(token, key, algorithms=[ALGORITHM])
        except (jwt.PyJWTError, ValueError) as problem:
            raise BadToken(f"its signature does not hold: {problem}") from problem
        return _checked(payload, audience, self._now())

    async def _fetch_ahead(self) -> None:
        with suppress(NoKeys):  # whoever needs them asks again
            async with self._fetching:
                await self._refresh()

    async def _key(self, key_id: str) -> jwt.PyJWK:
        if self._has(key_id) and self._now() >= self._renew_at:
            self.prepare()
        if not self._has(key_id):
            async with self._fetching:
                if not self._has(key_id):  # nobody has fetched it while we waited
                    await self._refresh()
        try:
            return self._keys[key_id]
        except KeyError:
            raise BadToken(f"it is signed with a key that is none of Google's: {key_id[:80]!r}") from None

    def _has(self, key_id: str) -> bool:
        return key_id in self._keys and self._now() < self._good_until

    async def _refresh(self) -> None:
        if self._now() < self._next_fetch:
            if self._failed:
                raise NoKeys(f"Google's keys cannot be fetched: {self._failed}")
            return
        try:
            self._keys = _keys_of(await self._fetch())
        except Exception as problem:
            self._failed = f"{type(problem).__name__} {problem}"
            self._next_fetch = self._now() + RETRY_SECONDS
            raise NoKeys(f"Google's keys cannot be fetched: {self._failed}") from problem
        now, self._failed = self._now(), ""
        self._renew_at, self._good_until = now + KEYS_SECONDS, now + KEYS_SECONDS_MAX
        self._next_fetch = now + REFRESH_SECONDS


def _keys_of(key_set: bytes) -> Mapping[str, jwt.PyJWK]:
    keys = {key["kid"]: jwt.PyJWK(key, ALGORITHM) for key in json.loads(key_set)["keys"] if key.get("kty") == "RSA"}
    if not keys:
        raise ValueError("there is no RSA key in the set")
    return keys


def _key_id(token: str) -> str:
    """The name of the key it says it is signed with."""
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError) as problem:
        raise BadToken(f"it is not a token: {problem}") from problem
    if header.get("alg") != ALGORITHM:
        raise BadToken(f"it is signed with {str(header.get('alg'))[:20]!r}, not with {ALGORITHM}")
    return str(header.get("kid", ""))


def _checked(payload: bytes, audience: str, now: float) -> Mapping[str, Any]:
    try:
        claims = json.loads(payload)
    except ValueError as problem:
        raise BadToken("what is signed is not JSON") from problem
    if not isinstance(claims, dict):
        raise BadToken("what is signed is not an object")
    if claims.get("iss") not in ISSUERS:
        raise BadToken(f"its issuer is {_shown(claims.get('iss'))}, not Google")
    if claims.get("aud") != audience:
        raise BadToken(f"its audience is {_shown(claims.get('aud'))}, not {audience!r}")
    if (late := now - _moment(claims, "exp")) > SKEW_SECONDS:
        raise OutOfTime(f"it expired {late:.0f} s ago")
    begins = max(_moment(claims, "iat"), _moment(claims, "nbf") if "nbf" in claims else -math.inf)
    if (early := begins - now) > SKEW_SECONDS:
        raise OutOfTime(f"it is not valid before {early:.0f} s from now")
    return claims


def _moment(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _NO_TIME:
        raise BadToken(f"its {name} is {_shown(value)}, not a time")
    return float(value)


def _shown(value: Any) -> str:
    return repr(value)[:200]
