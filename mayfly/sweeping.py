"""One sweep from the command line: what a person or Cloud Run sees of it, and how they may call it off."""

import asyncio
import sys
from contextlib import suppress

from mayfly.audience import Tell, audience, undisturbed
from mayfly.call_off import CallOff, run_and_leave
from mayfly.notifying import notify
from mayfly.ready import check_ready
from orchestrator.clock import SystemClock
from orchestrator.errors import BadUsage
from orchestrator.sweep_settings import SweepSettings
from orchestrator.swept import SweepReceipt


def carry_out_sweep(settings: SweepSettings, *, zone: str | None, dry_run: bool, as_json: bool) -> int:
    """Sweep, print the receipt, and return the exit code."""
    table = not (as_json or settings.on_cloud_run) and sys.stdout.isatty()
    with audience(settings, panel_follows=table) as tell:
        check_ready(settings.model_copy(update={"out": None}))  # a sweep copies nothing
        receipt = run_and_leave(_sweep(settings, zone, undisturbed(tell), dry_run=dry_run))
    with suppress(OSError):
        _print_receipt(receipt, settings, table=table)
    return int(receipt.exit_code)


async def _sweep(settings: SweepSettings, zone: str | None, tell: Tell, *, dry_run: bool) -> SweepReceipt:
    from orchestrator.fleet import make_sweep, open_fleet  # noqa: PLC0415 - after the view is up
    from orchestrator.notice import notice_of_bug, notice_of_sweep  # noqa: PLC0415
    from orchestrator.sweep import sweep  # noqa: PLC0415
    from orchestrator.wiring import policy_of  # noqa: PLC0415

    call_off = CallOff(tell, "sweep")
    call_off.listen(on_cloud_run=settings.on_cloud_run)
    policy = policy_of(settings)
    order = make_sweep(settings, zone=zone, dry_run=dry_run)

    async def there_and_back() -> SweepReceipt:
        async with open_fleet(settings, policy, tell) as fleet:
            call_off.begun = True
            return await sweep(order, fleet, call_off.asked)

    started_at = SystemClock().now()
    sweeping, leaving = asyncio.create_task(there_and_back()), asyncio.create_task(call_off.left.wait())
    await asyncio.wait({sweeping, leaving}, return_when=asyncio.FIRST_COMPLETED)
    if not sweeping.done():
        unseen = ("left before it was through",)
        return SweepReceipt(order.project, zone, started_at, (), unseen, dry_run=dry_run, called_off=True)
    try:
        receipt = sweeping.result()
    except BadUsage:
        raise
    except Exception as bug:
        await notify(notice_of_bug(order.project, "sweep", bug), settings, policy, call_off, tell)
        raise
    await notify(notice_of_sweep(receipt), settings, policy, call_off, tell)
    return receipt


def _print_receipt(receipt: SweepReceipt, settings: SweepSettings, *, table: bool) -> None:
    from mayfly.swept import as_json, show  # noqa: PLC0415

    if table:
        from rich.console import Console  # noqa: PLC0415

        show(receipt, Console())
        return
    print(as_json(receipt, sys.stdout, for_cloud_logging=settings.on_cloud_run), flush=True)  # noqa: T201 - stdout is for this
