"""One run from the command line: what a person or Cloud Run sees of it, and how they may call it off."""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from mayfly.order import Order, read_job
from orchestrator.clock import SystemClock
from orchestrator.errors import BadUsage, MayflyError
from orchestrator.events import Ended, Event, Note
from orchestrator.run import Receipt, Run
from orchestrator.settings import Settings

Tell = Callable[[Event], None]


def carry_out(settings: Settings, order: Order, *, as_json: bool) -> int:
    """Run the order to its end, print the receipt, and return the exit code."""
    if order.job is None:
        order = replace(order, job=read_job(settings.mayfly_job, command=None))
    with _audience(settings) as tell:
        receipt = asyncio.run(_drive(settings, order, _undisturbed(tell)))
    with suppress(OSError):
        _print_receipt(receipt, settings, as_json=as_json)
    return int(receipt.exit_code)


async def _drive(settings: Settings, order: Order, tell: Tell) -> Receipt:
    from orchestrator.drive import drive  # noqa: PLC0415 - after the view is up: these imports take their time
    from orchestrator.wiring import make_run, open_world, policy_of  # noqa: PLC0415

    called_off = asyncio.Event()
    _listen_for_signals(called_off, tell, on_cloud_run=settings.on_cloud_run)
    policy = policy_of(settings)
    run = make_run(settings, policy, **vars(order), now=SystemClock().now())
    try:
        async with open_world(settings, policy, tell) as world:
            return await drive(run, world, called_off)
    except BadUsage:
        raise
    except MayflyError as error:  # the agent's key cannot be read: drive has not begun, nothing was touched
        return _not_begun(run, error, tell)


def _not_begun(run: Run, error: MayflyError, tell: Tell) -> Receipt:
    from orchestrator.account import job_name, outcome_of  # noqa: PLC0415

    receipt = Receipt(
        run_key=run.key,
        mode=run.mode,
        outcome=outcome_of(error),
        exit_code=int(error.exit),
        project=run.project,
        job=job_name(run.job, run.mode),
        started_at=SystemClock().now(),
        detail=str(error),
    )
    tell(Ended(receipt))
    return receipt


def _undisturbed(tell: Tell) -> Tell:
    """A terminal that was closed, or a pipe that nobody reads, must not end a run half way."""

    def told(event: Event) -> None:
        with suppress(OSError):
            tell(event)

    return told


def _listen_for_signals(called_off: asyncio.Event, tell: Tell, *, on_cloud_run: bool) -> None:
    loop = asyncio.get_running_loop()

    def call_off(name: str) -> None:
        what = "already coming down" if called_off.is_set() else "the run is called off, coming down"
        tell(Note("WARNING", f"{name}: {what}."))
        called_off.set()

    ends = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # else it is meant to outlive its terminal: nohup
        ends.append(signal.SIGHUP)
    for end in ends:
        loop.add_signal_handler(end, call_off, end.name)
    if on_cloud_run:  # it pauses us to move us to another host; to stop for that would only lose time
        for pause in (signal.SIGTSTP, signal.SIGCONT):
            loop.add_signal_handler(pause, tell, Note("INFO", f"{pause.name}: Cloud Run moves this task; going on."))


@contextmanager
def _audience(settings: Settings) -> Iterator[Tell]:
    """Who is told: a person at a terminal, or Cloud Logging."""
    if settings.on_cloud_run or not sys.stderr.isatty():
        from orchestrator.telemetry import JsonLog  # noqa: PLC0415 - only one of the two is needed

        tell = JsonLog(sys.stderr)
        _listen_to_libraries(tell)
        yield tell
        return
    from rich.console import Console  # noqa: PLC0415

    from mayfly.view import LiveView  # noqa: PLC0415

    with LiveView(Console(stderr=True), SystemClock().now) as view:
        _listen_to_libraries(view)
        yield view


def _listen_to_libraries(tell: Tell) -> None:
    class Relay(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            tell(Note(record.levelname, f"{record.name}: {record.getMessage()}"))

    logging.getLogger().addHandler(Relay(level=logging.WARNING))


def _print_receipt(receipt: Receipt, settings: Settings, *, as_json: bool) -> None:
    from rich.console import Console  # noqa: PLC0415

    from mayfly.receipt import as_json as json_of  # noqa: PLC0415
    from mayfly.receipt import show, show_owed  # noqa: PLC0415

    if as_json or settings.on_cloud_run or not sys.stdout.isatty():
        print(json_of(receipt, for_cloud_logging=settings.on_cloud_run), flush=True)  # noqa: T201 - stdout is for this
        if receipt.cleanup == "owed" and sys.stderr.isatty():
            show_owed(receipt, Console(stderr=True))
    else:
        show(receipt, Console())
