"""How a credential goes with each request to an agent: httpx's own hook for that."""

from collections.abc import AsyncGenerator

import httpx

from orchestrator.agent_errors import told
from orchestrator.errors import AgentRefused
from orchestrator.ports import Credential

_NOT_LET_IN = {401, 403}


class Showing(httpx.Auth):
    """Shows it; once more, and fresh, if it is refused and there is another; then AgentRefused."""

    def __init__(self, credential: Credential) -> None:
        self._credential = credential

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """httpx sends what is yielded, and gives the answer."""
        shown = await self._credential.headers()
        request.headers.update(shown)
        response = yield request
        if response.status_code in _NOT_LET_IN and self._credential.refused(shown):
            request.headers.update(await self._credential.headers())
            response = yield request
        if response.status_code in _NOT_LET_IN:
            said = told(response.status_code, await response.aread())
            raise AgentRefused(f"The agent does not let us in ({said}). {self._credential.advice}")
