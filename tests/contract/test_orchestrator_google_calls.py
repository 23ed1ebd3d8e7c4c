"""How each call to Google is made: lost replies, request ids, cancellation, threads, time, answers that are none."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.errors import Stockout, Transient
from tests.clocks import JumpingClock
from tests.contract.orchestrator_google import google_at
from tests.contract.wires import Asked, http, passed_on, serving
from tests.contract.world import VM, Running
from tests.unit.orchestrator.sightings import a_machine


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock()


async def test_a_start_whose_reply_was_lost_is_asked_for_again_with_the_same_request_id(
    emulator: Running, clock: JumpingClock
) -> None:
    request_ids: list[str] = []

    async def lose_the_first_reply(asked: Asked) -> bytes | None:
        answer = await passed_on(asked, emulator.port)
        if asked.path.endswith("/start"):
            request_ids.append(asked.query["requestId"])
            return None if len(request_ids) == 1 else answer
        return answer

    async with serving(lose_the_first_reply) as url, google_at(url, clock) as google:
        machine = await google.machines.look(VM)
        await google.machines.start(machine)
        assert (await google.machines.look(VM)).running
        await google.machines.stop(machine)
    assert len(request_ids) == 2
    assert len(set(request_ids)) == 1
    starts = [entry for entry in emulator.history("operation") if entry["verb"] == "instances.start"]
    assert len({entry["name"] for entry in starts}) == 1


async def test_after_a_refusal_the_next_try_is_a_new_request(emulator: Running, clock: JumpingClock) -> None:
    request_ids: list[str] = []

    async def listen(asked: Asked) -> bytes:
        if asked.path.endswith("/stop"):
            request_ids.append(asked.query["requestId"])
        return await passed_on(asked, emulator.port)

    emulator.fault(on="instances.stop", operation_error={"code": "INTERNAL_ERROR", "message": "Oh.", "status": 500})
    async with serving(listen) as url, google_at(url, clock) as google:
        machine = await google.machines.look(VM)
        await google.machines.start(machine)
        await google.machines.stop(machine)
    assert len(set(request_ids)) == 2


async def test_a_start_is_seen_through_before_its_cancellation_shows(emulator: Running) -> None:
    """Until its operation has ended, the VM may look as if it had never been started."""
    waiting, may_answer = asyncio.Event(), asyncio.Event()

    async def hold_waits(asked: Asked) -> bytes:
        if asked.path.endswith("/wait"):
            waiting.set()
            await may_answer.wait()
        return await passed_on(asked, emulator.port)

    async with serving(hold_waits) as url, google_at(url) as google:
        machine = await google.machines.look(VM)
        starting = asyncio.create_task(google.machines.start(machine))
        await waiting.wait()
        starting.cancel()
        await google.machines.look(VM)
        assert not starting.done()
        may_answer.set()
        await asyncio.wait([starting])
        assert starting.cancelled()
        await google.machines.stop(machine)


async def test_a_start_that_is_called_off_is_not_tried_again(emulator: Running) -> None:
    sent, may_fail = asyncio.Event(), asyncio.Event()

    async def lose_starts(asked: Asked) -> bytes | None:
        if asked.path.endswith("/start"):
            sent.set()
            await may_fail.wait()
            return None
        return await passed_on(asked, emulator.port)

    async with serving(lose_starts) as url, google_at(url) as google:
        starting = asyncio.create_task(google.machines.start(await google.machines.look(VM)))
        await sent.wait()
        starting.cancel()
        await asyncio.sleep(0)
        sent.clear()
        may_fail.set()
        await asyncio.wait([starting])
        assert starting.cancelled()
        assert not sent.is_set()


async def test_cancelling_a_stop_settles_the_request_and_abandons_the_wait(emulator: Running) -> None:
    waiting = asyncio.Event()

    async def hold_waits(asked: Asked) -> bytes:
        if asked.path.endswith("/wait"):
            waiting.set()
            await asyncio.Event().wait()
        return await passed_on(asked, emulator.port)

    async with google_at(emulator.url) as google:
        await google.machines.start(await google.machines.look(VM))
        async with serving(hold_waits) as url, google_at(url) as held_up:
            stopping = asyncio.create_task(held_up.machines.stop(await google.machines.look(VM)))
            await waiting.wait()
            stopping.cancel()
            await asyncio.wait([stopping])
            assert stopping.cancelled()
        while not (await google.machines.look(VM)).off:
            await asyncio.sleep(0.01)


async def test_a_start_that_was_sent_is_settled_before_its_cancellation_shows(emulator: Running) -> None:
    sent, may_answer = asyncio.Event(), asyncio.Event()

    async def hold_the_start(asked: Asked) -> bytes:
        if asked.path.endswith("/start"):
            sent.set()
            await may_answer.wait()
        return await passed_on(asked, emulator.port)

    async with serving(hold_the_start) as url, google_at(url) as google:
        machine = await google.machines.look(VM)
        starting = asyncio.create_task(google.machines.start(machine))
        await sent.wait()
        starting.cancel()
        await asyncio.sleep(0)
        starting.cancel()
        await google.machines.look(VM)
        assert not starting.done()
        may_answer.set()
        await asyncio.wait([starting])
        assert starting.cancelled()
        assert "instances.start" in emulator.verbs()
        await google.machines.stop(machine)


async def test_a_stop_goes_out_while_every_other_thread_is_held_up(emulator: Running) -> None:
    async def hold_all_but_stops(asked: Asked) -> bytes:
        if not asked.path.endswith("/stop"):
            await asyncio.Event().wait()
        return await passed_on(asked, emulator.port)

    machine = await _look_at(emulator)
    async with serving(hold_all_but_stops) as url, google_at(url) as google:
        looks = [asyncio.create_task(google.machines.look(VM)) for _ in range(20)]
        await asyncio.sleep(0)
        await google.machines.stop(machine)
        for look in looks:
            look.cancel()
        await asyncio.gather(*looks, return_exceptions=True)
    assert "instances.stop" in emulator.verbs()


async def test_a_look_is_timed_by_googles_clock(clock: JumpingClock) -> None:
    async def answer(_: Asked) -> bytes:
        return http(200, {"name": VM, "id": "1", "status": "TERMINATED"}, Date="Sat, 01 Jan 2000 10:00:00 GMT")

    async with serving(answer) as url, google_at(url, clock) as google:
        assert (await google.machines.look(VM)).seen_at == datetime(2000, 1, 1, 10, tzinfo=UTC)


async def test_without_googles_time_our_own_has_to_do(clock: JumpingClock) -> None:
    async def answer(_: Asked) -> bytes:
        return http(200, {"name": VM, "id": "1", "status": "SOME_NEW_STATUS"})

    async with serving(answer) as url, google_at(url, clock) as google:
        machine = await google.machines.look(VM)
    assert machine.seen_at == clock.now()
    assert machine.status == "SOME_NEW_STATUS"
    assert not machine.off


async def test_an_operation_that_failed_without_an_http_status_has_failed(clock: JumpingClock) -> None:
    error = {"errors": [{"code": "ZONE_RESOURCE_POOL_EXHAUSTED", "message": "Nothing left."}]}

    async def answer(_: Asked) -> bytes:
        return http(200, {"name": "operation-1", "status": "DONE", "error": error})

    machine = a_machine()
    async with serving(answer) as url, google_at(url, clock) as google:
        with pytest.raises(Stockout, match=r"Nothing left\."):
            await google.machines.start(machine)


async def test_a_wait_that_comes_back_at_once_is_not_asked_again_at_once(clock: JumpingClock) -> None:
    waits = 0

    async def answer(asked: Asked) -> bytes:
        nonlocal waits
        waits += asked.path.endswith("/wait")
        return http(200, {"name": "operation-1", "status": "DONE" if waits == 4 else "RUNNING"})

    async with serving(answer) as url, google_at(url, clock) as google:
        await google.machines.start(a_machine())
    assert clock.pauses == [1, 1, 1]


async def test_a_page_of_some_proxy_is_no_answer(clock: JumpingClock) -> None:
    async def answer(_: Asked) -> bytes:
        return http(200, b"<html>Welcome to our network</html>")

    async with serving(answer) as url, google_at(url, clock) as google:
        with pytest.raises(Transient, match="makes no sense"):
            await google.machines.look(VM)


async def _look_at(emulator: Running) -> Any:
    async with google_at(emulator.url) as google:
        return await google.machines.look(VM)
