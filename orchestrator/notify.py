"""Posts a notice to a chat's incoming webhook. Who holds its URL may post there, so it is a secret: it is in no error.

Slack and Google Chat both take {"text": ...}, and answer 200; a redirect is not followed, for it leads who knows where.
"""

import asyncio
from datetime import timedelta
from ipaddress import ip_address

import httpx

from orchestrator.errors import BadResource, Transient
from orchestrator.patience import patiently
from orchestrator.policy import Policy
from orchestrator.ports import Clock

_AGAIN = {408, 425, 429}
_SERVER_ERROR = 500


class Webhook:
    """One incoming webhook."""

    def __init__(self, url: str, policy: Policy, clock: Clock) -> None:
        self._url = url
        self._policy = policy
        self._clock = clock

    async def post(self, text: str, within: timedelta) -> None:
        """Post it. Tried again only where it cannot have got through; Transient or BadResource says why it did not."""
        try:
            async with asyncio.timeout(within.total_seconds()):
                await patiently(lambda: self._once(text), self._policy.notify, self._clock)
        except TimeoutError:
            raise BadResource(f"the webhook did not answer within {within.total_seconds():.1f} s") from None

    async def _once(self, text: str) -> None:
        """Straight over the transport: httpx's client writes each URL into its log, and goes through proxies."""
        timeout = httpx.Timeout(self._policy.notify.within.total_seconds()).as_dict()
        request = httpx.Request("POST", self._url, json={"text": text}, extensions={"timeout": timeout})
        try:
            async with httpx.AsyncHTTPTransport() as wire:
                response = await wire.handle_async_request(request)
                await response.aclose()
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Transient(f"the webhook could not be reached ({type(error).__name__})") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            raise BadResource(f"the webhook broke off ({type(error).__name__})") from None
        if httpx.codes.is_success(response.status_code):
            return
        said = f"the webhook answered HTTP {response.status_code}"
        if response.status_code >= _SERVER_ERROR or response.status_code in _AGAIN:
            raise Transient(said)
        raise BadResource(said)


def may_be_posted_to(url: str) -> bool:
    """Https, with a host; plain http only on this machine, for tests."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return False
    if not parsed.host or not (url.isascii() and url.isprintable()):
        return False
    return parsed.scheme == "https" or (parsed.scheme == "http" and _is_loopback(parsed.host))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
