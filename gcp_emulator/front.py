"""What stands between the wire and the model: Google's front end, and a check that the model keeps to Google's API."""

import traceback
from functools import partial

from gcp_emulator import discovery
from gcp_emulator.cloud import Cloud
from gcp_emulator.discovery import Method
from gcp_emulator.errors import ApiError, RpcError, names_reasons
from gcp_emulator.wallclock import WallClock
from gcp_emulator.wire import Lost, Reply, Request


class Front:
    """Answers requests to Google's APIs and to /_emulator."""

    def __init__(self, cloud: Cloud, clock: WallClock) -> None:
        self._cloud = cloud
        self._clock = clock

    async def answer(self, request: Request) -> Reply | Lost:
        """Refuse what is not in the published API, ask the model, and hold its answer against the published API."""
        try:
            return await self._answer(request)
        except Exception:  # noqa: BLE001 - a defect of the model is written where the tests look
            return self._own_fault(traceback.format_exc(), request)

    async def _answer(self, request: Request) -> Reply | Lost:
        method = discovery.method_of(request.method, request.path)
        if method is None:  # /_emulator, certificates, or nothing that Google has
            return await self._ask(request)
        try:
            discovery.check_request(request, method)
        except ApiError as error:
            return self._refused(error, request, method)
        reply = await self._ask(request)
        if isinstance(reply, Reply) and (defect := discovery.defect(reply, request, method)):
            return self._own_fault(defect, request)
        return reply

    async def _ask(self, request: Request) -> Reply | Lost:
        return await self._clock.ask(partial(self._cloud.answer, request))

    def _refused(self, error: ApiError, request: Request, method: Method) -> Reply:
        if not (names := names_reasons(request.path)):
            request = Request(request.method, request.path, request.query)  # the payload of a secret stays unwritten
        self._cloud.world.history.add_request(self._clock.now(), request, method.verb, error.status)
        return error.reply() if names else RpcError(error.status, error.message).reply()

    def _own_fault(self, defect: str, request: Request) -> Reply:
        at, history = self._clock.now(), self._cloud.world.history
        history.add(at, "violation", method=request.method, path=request.path, error=defect)
        return ApiError(500, "internalError", f"The emulator is at fault: {defect}").reply()
