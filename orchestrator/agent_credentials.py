"""What we show an agent, so that it obeys us (port `Credential`)."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from orchestrator.errors import BadUsage, MayflyError
from orchestrator.policy import Policy
from orchestrator.ports import Clock
from vm_agent.protocol import API_KEY_HEADER, TOKEN_HEADER, audience_of


class ApiKey:
    """The agent's key. All of a project's agents may have the same."""

    advice = (
        "AGENT_KEY, or the secret that AGENT_KEY_SECRET names, must hold a key that the VM reads when it boots (its "
        "metadata mayfly-agent-key), and its metadata mayfly-auth must be api-key or both. After a change the VM must "
        "boot again."
    )

    def __init__(self, key: str) -> None:
        if not (key.isascii() and key.isprintable() and key.strip() == key and key):
            raise BadUsage("The agent's key (AGENT_KEY or its secret) must be plain ASCII text in one line, not empty.")
        self._headers = {API_KEY_HEADER: key}

    async def headers(self) -> Mapping[str, str]:
        """The key."""
        return self._headers

    def refused(self, shown: Mapping[str, str]) -> bool:  # noqa: ARG002
        """There is no other."""
        return False


class IdToken:
    """Google's word for who we are, for one VM alone: fetched once, and renewed before it is over.

    `fetch` gives a new one for an audience. One fetch at a time, and those who wait for it may leave: it goes on.
    """

    def __init__(
        self,
        fetch: Callable[[str], Awaitable[str]],
        policy: Policy,
        clock: Clock,
        *,
        project: str,
        zone: str,
        instance: str,
    ) -> None:
        self._place = f"{instance} --zone={zone} --project={project}"
        self._audience = audience_of(project, zone, instance)
        self._fetch, self._policy, self._clock = fetch, policy, clock
        self._token, self._email = "", ""
        self._renew_at = self._over_at = float("-inf")  # unix seconds
        self._fetching: asyncio.Task[str] | None = None

    def prepare(self) -> None:
        """Begin to fetch one, so that nobody has to wait for it once the VM is up."""
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._new())
            self._fetching.add_done_callback(_heard)  # whoever needs it hears of it, too

    async def headers(self) -> Mapping[str, str]:
        """The token. Forbidden, BadUsage: there is none to be had."""
        now = self._clock.now().timestamp()
        if now >= self._renew_at:
            self.prepare()
        if now >= self._over_at and self._fetching is not None:
            await asyncio.shield(self._fetching)
        return {TOKEN_HEADER: f"Bearer {self._token}"}

    def refused(self, shown: Mapping[str, str]) -> bool:
        """The next is a fresh one: this one may have been for a VM that has another name by now, or be over."""
        if shown.get(TOKEN_HEADER) == f"Bearer {self._token}":
            self._renew_at = self._over_at = float("-inf")
        return True

    @property
    def advice(self) -> str:
        """Which email to put where."""
        return (
            f"It was shown a token of {self._email or 'nobody (it has no email)'} for {self._audience}. The VM's "
            "metadata mayfly-callers must name that email, and its mayfly-auth must not be api-key: `gcloud compute "
            f"instances add-metadata {self._place} --metadata=mayfly-callers={self._email}` (with the others that are "
            "there, if any); then the VM must boot again. The agent's own log says what was wrong."
        )

    async def _new(self) -> str:
        token = await self._fetch(self._audience)
        claims, now = _claims(token), self._clock.now().timestamp()
        self._token, self._email = token, str(claims.get("email", ""))
        # By our clock, which may be wrong, it may seem to be over: it is the newest there is all the same.
        pause = self._policy.token_pause.total_seconds()
        self._renew_at = max(_expiry(claims) - self._policy.token_margin.total_seconds(), now + pause)
        self._over_at = max(_expiry(claims), now + pause)
        return token


class NoCredential:
    """Nothing to show: whoever wants to ask an agent hears why."""

    advice = ""

    def __init__(self, why: MayflyError) -> None:
        self._why = why

    async def headers(self) -> Mapping[str, str]:
        """There are none."""
        raise self._why

    def refused(self, shown: Mapping[str, str]) -> bool:  # noqa: ARG002
        """Nothing was shown."""
        return False


def _heard(fetching: asyncio.Task[str]) -> None:
    if not fetching.cancelled():
        fetching.exception()


def _claims(token: str) -> Mapping[str, Any]:
    """What it says. We need not check it, for it is the agent that must believe it."""
    payload = token.partition(".")[2].partition(".")[0]
    try:
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except ValueError:
        return {}
    return claims if isinstance(claims, dict) else {}


def _expiry(claims: Mapping[str, Any]) -> float:
    expiry = claims.get("exp")
    return float(expiry) if isinstance(expiry, int | float) else 0.0
