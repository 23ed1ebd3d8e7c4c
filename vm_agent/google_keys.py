"""Where Google publishes the keys that it signs identity tokens with."""

import httpx

from vm_agent import policy
from vm_agent.protocol import CERTS_URL

_BYTES_MAX = 1 << 20  # two or three keys


async def fetch_keys(url: str = CERTS_URL) -> bytes:
    """The JWK set. httpx.HTTPError or OSError when it cannot be had."""
    timeout = policy.GOOGLE_KEYS_SECONDS
    async with httpx.AsyncClient(timeout=timeout) as client, client.stream("GET", url) as reply:
        reply.raise_for_status()
        body = b""
        async for piece in reply.aiter_bytes():
            body += piece
            if len(body) > _BYTES_MAX:
                raise OSError(f"{url} has no end")
    return body
