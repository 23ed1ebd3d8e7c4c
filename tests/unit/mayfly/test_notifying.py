"""Posting a notice: bounded, after a signal by what is left, and never a word of the URL."""

import asyncio
import logging
from typing import Any

import pytest

from mayfly.call_off import CallOff
from mayfly.notifying import notify
from orchestrator.clock import SystemClock
from orchestrator.events import Event, Note
from orchestrator.notify import Webhook
from orchestrator.policy import Policy, seconds
from orchestrator.sweep_settings import SweepSettings
from tests.journeys.webhook import SECRET, a_chat


def settings(**changes: Any) -> SweepSettings:
    return SweepSettings(**{"project_id": "demo", "cloud_run_job": "sweeper"} | changes)


async def told(chat_url: str | None, *, since_signal: float | None, text: str | None = "Look!") -> list[str]:
    """What is said about a notice, posted that many seconds after a SIGTERM."""
    notes: list[Event] = []
    call_off = CallOff(notes.append)
    call_off.asked_at = None if since_signal is None else asyncio.get_running_loop().time() - since_signal
    await notify(text, settings(notify_url=chat_url), Policy(), call_off, notes.append)
    return [note.message for note in notes if isinstance(note, Note)]


async def test_there_is_nothing_to_tell_or_nobody():
    async with a_chat(200) as chat:
        assert await told(chat.url, since_signal=None, text=None) == []
        assert await told(None, since_signal=None) == []
        assert chat.posts == []


async def test_after_a_signal_what_is_left_of_the_ten_seconds_bounds_it():
    async with a_chat(None) as chat:
        [message] = await told(chat.url, since_signal=8.7)
        assert len(chat.posts) == 1
    assert "did not answer within 0." in message


async def test_where_no_time_is_left_nobody_is_told():
    async with a_chat(200) as chat:
        [message] = await told(chat.url, since_signal=9.6)
        assert chat.posts == []
    assert "no time was left" in message


async def test_the_url_is_in_no_log_and_no_error(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    async with a_chat(200, 404) as chat:
        webhook = Webhook(chat.url, Policy(), SystemClock())
        await webhook.post("Look!", seconds(5))
        with pytest.raises(Exception, match="HTTP 404") as refused:
            await webhook.post("Look!", seconds(5))
    assert chat.texts == ["Look!", "Look!"]
    assert SECRET not in caplog.text
    assert SECRET not in repr(refused.value)
    assert refused.value.__cause__ is None
