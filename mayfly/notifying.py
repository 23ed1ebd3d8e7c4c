"""Tells a chat what somebody should know. It comes after everything else, and changes nothing else."""

import asyncio
from datetime import timedelta

from mayfly.audience import Tell
from mayfly.call_off import CallOff
from orchestrator.clock import SystemClock
from orchestrator.errors import MayflyError
from orchestrator.events import Note
from orchestrator.policy import Policy
from orchestrator.settings import Settings


async def notify(text: str | None, settings: Settings, policy: Policy, call_off: CallOff, tell: Tell) -> None:
    """Post `text` to NOTIFY_URL, if both are there, within the time that is left. That it failed is worth a WARNING."""
    if text is None or settings.notify_url is None:
        return
    within = _time_left(policy, call_off, on_cloud_run=settings.on_cloud_run)
    if within <= timedelta():
        tell(Note("WARNING", "NOTIFY_URL was not told: no time was left after the signal."))
        return
    from orchestrator.notify import Webhook  # noqa: PLC0415 - few runs have something to tell

    webhook = Webhook(settings.notify_url.get_secret_value(), policy, SystemClock())
    posting, leaving = asyncio.create_task(webhook.post(text, within)), asyncio.create_task(call_off.left.wait())
    await asyncio.wait({posting, leaving}, return_when=asyncio.FIRST_COMPLETED)
    leaving.cancel()
    if not posting.done():
        posting.cancel()
    elif (error := posting.exception()) is not None:
        # What a bug says may hold the URL.
        why = str(error) if isinstance(error, MayflyError) else type(error).__name__
        tell(Note("WARNING", f"NOTIFY_URL was not told: {why}."))


def _time_left(policy: Policy, call_off: CallOff, *, on_cloud_run: bool) -> timedelta:
    within = policy.notify.within
    if call_off.asked_at is None or not on_cloud_run:
        return within
    since = timedelta(seconds=asyncio.get_running_loop().time() - call_off.asked_at)
    return min(within, policy.sigkill - since)
