"""Who is told what goes on: a person at a terminal, or Cloud Logging."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from orchestrator.clock import SystemClock
from orchestrator.events import Event, Note
from orchestrator.settings import Settings

Tell = Callable[[Event], None]


def undisturbed(tell: Tell) -> Tell:
    """A terminal that was closed, or a pipe that nobody reads, must not end a run half way."""

    def told(event: Event) -> None:
        with suppress(OSError):
            tell(event)

    return told


@contextmanager
def audience(settings: Settings, *, panel_follows: bool) -> Iterator[Tell]:
    """Who is told: a person at a terminal, or Cloud Logging."""
    if settings.on_cloud_run or not sys.stderr.isatty():
        from orchestrator.telemetry import JsonLog  # noqa: PLC0415 - only one of the two is needed

        tell = JsonLog(sys.stderr)
        _listen_to_libraries(tell)
        yield tell
        return
    from rich.console import Console  # noqa: PLC0415

    from mayfly.view import LiveView  # noqa: PLC0415

    with LiveView(Console(stderr=True), SystemClock().now, panel_follows=panel_follows) as view:
        _listen_to_libraries(view)
        yield view


def _listen_to_libraries(tell: Tell) -> None:
    class Relay(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            tell(Note(record.levelname, f"{record.name}: {record.getMessage()}"))

    logging.getLogger().addHandler(Relay(level=logging.WARNING))
