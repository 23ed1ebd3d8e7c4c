"""One run from the command line: what a person or Cloud Run sees of it, and how they may call it off."""

import asyncio
import sys
from contextlib import suppress
from dataclasses import replace

from mayfly.audience import Tell, audience, undisturbed
from mayfly.call_off import CallOff, run_and_leave
from mayfly.notifying import notify
from mayfly.order import Order, read_job
from mayfly.ready import check_ready
from orchestrator.clock import SystemClock
from orchestrator.errors import BadUsage, MayflyError
from orchestrator.events import Ended
from orchestrator.run import Outcome, Receipt, Run, VmUse
from orchestrator.settings import Settings


def carry_out(settings: Settings, order: Order, *, as_json: bool) -> int:
    """Run the order to its end, print the receipt, and return the exit code."""
    if order.job is None:
        order = replace(order, job=read_job(settings.mayfly_job, command=None))
    panel = not (as_json or settings.on_cloud_run) and sys.stdout.isatty()
    with audience(settings, panel_follows=panel) as tell:
        check_ready(settings)
        receipt = run_and_leave(_drive(settings, order, undisturbed(tell)))
    with suppress(OSError):
        _print_receipt(receipt, settings, panel=panel)
    return int(receipt.exit_code)


async def _drive(settings: Settings, order: Order, tell: Tell) -> Receipt:
    from orchestrator.account import outcome_of  # noqa: PLC0415
    from orchestrator.drive import drive  # noqa: PLC0415 - after the view is up: these imports take their time
    from orchestrator.notice import notice_of_bug, notice_of_run  # noqa: PLC0415
    from orchestrator.telemetry import sentence_of  # noqa: PLC0415
    from orchestrator.wiring import make_run, open_world, policy_of  # noqa: PLC0415

    call_off = CallOff(tell)
    call_off.listen(on_cloud_run=settings.on_cloud_run)
    policy = policy_of(settings)
    run = make_run(settings, policy, **vars(order), now=SystemClock().now())

    async def there_and_back() -> Receipt:
        try:
            async with open_world(settings, policy, tell) as world:
                call_off.begun = True
                return await drive(run, world, call_off.asked)
        except BadUsage:
            raise
        except MayflyError as error:  # the agent's key cannot be read: drive has not begun, nothing was touched
            return _told(_receipt(run, outcome_of(error), str(error)), tell)

    driving, leaving = asyncio.create_task(there_and_back()), asyncio.create_task(call_off.left.wait())
    await asyncio.wait({driving, leaving}, return_when=asyncio.FIRST_COMPLETED)
    if not driving.done():
        return _told(_left(run, touched=call_off.begun), tell)
    try:
        receipt = driving.result()
    except BadUsage:
        raise
    except Exception as bug:
        await notify(notice_of_bug(run.project, f"run {run.key}", bug), settings, policy, call_off, tell)
        raise
    await notify(notice_of_run(receipt, sentence_of(receipt)), settings, policy, call_off, tell)
    return receipt


def _left(run: Run, *, touched: bool) -> Receipt:
    """The receipt of a run that its user did not wait for."""
    if not touched:
        return _receipt(run, Outcome.TERMINATED, "Called off before anything was touched.")
    detail = f"Left before {run.instance} was seen off: it may still be on, and cost money."
    receipt = _receipt(run, Outcome.TERMINATED, detail)
    return replace(receipt, vm=VmUse(run.instance, run.zone, id=""), cleanup="owed")


def _receipt(run: Run, outcome: Outcome, detail: str) -> Receipt:
    from orchestrator.account import job_name  # noqa: PLC0415

    return Receipt(
        run_key=run.key,
        mode=run.mode,
        outcome=outcome,
        exit_code=int(outcome.exit),
        project=run.project,
        job=job_name(run.job, run.mode),
        started_at=SystemClock().now(),
        detail=detail,
    )


def _told(receipt: Receipt, tell: Tell) -> Receipt:
    tell(Ended(receipt))
    return receipt


def _print_receipt(receipt: Receipt, settings: Settings, *, panel: bool) -> None:
    from rich.console import Console  # noqa: PLC0415

    from mayfly.receipt import as_json, show, show_owed  # noqa: PLC0415

    emulator = settings.compute_emulator_host
    if panel:
        show(receipt, Console(), emulator=emulator)
        return
    print(as_json(receipt, sys.stdout, for_cloud_logging=settings.on_cloud_run), flush=True)  # noqa: T201 - stdout is for this
    if receipt.cleanup == "owed" and sys.stderr.isatty():
        show_owed(receipt, Console(stderr=True), emulator=emulator)
