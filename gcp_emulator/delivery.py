"""A request's way to the service and back, and the faults that it may meet there."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from gcp_emulator import metadata_server, mishaps
from gcp_emulator.errors import JSON_TYPE, ApiError, RpcError, names_reasons
from gcp_emulator.fault_kinds import Instead, Late, LoseReply, LoseRequest, OnTheWay, RateLimit, ReplyWith, Stale
from gcp_emulator.faults import Moment
from gcp_emulator.routes import Call
from gcp_emulator.wire import LOST, Delayed, Held, Lost, Reply

if TYPE_CHECKING:
    from gcp_emulator.world import World

Handle = Callable[[Call], Reply | Held]


def deliver(world: "World", call: Call, handle: Handle, vm: str = "") -> Reply | Held | Lost:
    """Carry one request out, as far as faults let it come, and write down what truly happened.

    `vm` is the key of the VM that asks its metadata server. A held request comes again as the same object.
    """
    delayed = world.delayed.get(call.request)
    if delayed:
        if world.now < delayed.until:
            return Held(delayed.until)
        del world.delayed[call.request]
        return delayed.reply or _done(world, call, handle, vm)
    match None if call.again else world.fault(OnTheWay, call):
        case LoseRequest():
            return LOST
        case LoseReply():
            _done(world, call, handle, vm, answer="lost")
            return LOST
        case Late(seconds=seconds, effect=effect):
            return _later(world, call, handle, vm, seconds, at_once=effect == "at_once")
    return _done(world, call, handle, vm)


def _later(world: "World", call: Call, handle: Handle, vm: str, seconds: float, *, at_once: bool) -> Held:
    """It is carried out whether or not the caller is still there: a sent request cannot be unsent."""
    delayed = world.delayed[call.request] = Delayed(world.now + timedelta(seconds=seconds))

    def carry_out() -> None:
        result = _done(world, call, handle, vm, answer="late")
        delayed.reply = result if isinstance(result, Reply) else None

    if at_once:
        carry_out()
    else:
        world.agenda.put(delayed.until, carry_out)
    return Held(delayed.until)


def _done(world: "World", call: Call, handle: Handle, vm: str, answer: str | None = None) -> Reply | Held:
    asked_at = call.first_asked if world.now > call.first_asked else None
    result = handle(call) if call.again else _with_events(world, call, handle, vm)
    if isinstance(result, Reply):
        resource = {"resource": vm.split("/", 4)[-1]} if vm else {}
        facts = {"asked_at": asked_at, "answer": answer, "principal": call.principal, **resource}
        world.history.add_request(world.now, call.request, call.verb, result.status, **facts)
    return result


def _with_events(world: "World", call: Call, handle: Handle, vm: str) -> Reply | Held:
    about = f"/{vm}" if vm else call.request.path
    _set_off(world, call, "before", about)
    result = _instead(world, call) or handle(call)
    _set_off(world, call, "after", about)
    return result


def _set_off(world: "World", call: Call, moment: Moment, about: str) -> None:
    for rule in world.faults.begun(call.verb, call.request.path, moment, world.now):
        mishaps.set_off(world, rule, about)


def _instead(world: "World", call: Call) -> Reply | None:
    match world.fault(Instead, call):
        case ReplyWith() as error:
            return _error(call, error)
        case RateLimit(message=message):
            return _error(call, ReplyWith(403, "rateLimitExceeded", message))
        case Stale(seconds=seconds):
            key = call.request.path.removeprefix("/compute/v1/")
            try:
                document = world.past.at(key, world.now - timedelta(seconds=seconds))
            except ApiError as missing:
                return missing.reply()
            return Reply(200, json.dumps(document, separators=(",", ":")).encode(), JSON_TYPE)
        case _:
            return None


def _error(call: Call, error: ReplyWith) -> Reply:
    if call.verb.startswith("metadata."):
        return metadata_server.page(error.status, error.reason, error.message)
    if names_reasons(call.request.path):
        return ApiError(error.status, error.reason, error.message).reply()
    status = error.reason if error.reason.isupper() else None  # in this form it is one word in capitals: ABORTED
    return RpcError(error.status, error.message, status).reply()
