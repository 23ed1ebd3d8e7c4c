"""The live view on a terminal: what goes on and for how long, the job's progress, and above it what the job prints."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from orchestrator.events import Ended, Event, JobOutput, JobProgress, Note, PhaseEnded, PhaseStarted
from orchestrator.run import Outcome
from orchestrator.telemetry import Lines, progress_sentence, sentence_of

_NOTE_STYLE = {"WARNING": "yellow", "ERROR": "bold red", "CRITICAL": "bold red"}
_BAR_WIDTH = 30
_REFRESHES_PER_SECOND = 8
_QUIET = timedelta(seconds=0.5)  # between two phases it looks at the cloud; only a look that takes long is told


class LiveView:
    """Finished phases and the job's output scroll by; what is going on stays at the bottom. Use it as a context.

    Why a run failed is said at its end, unless `panel_follows`: the receipt for people says it too.
    """

    def __init__(self, console: Console, now: Callable[[], datetime], *, panel_follows: bool = True):
        self._console = console
        self._now = now
        self._panel_follows = panel_follows
        self._running: dict[str, PhaseStarted] = {}
        self._quiet_since: datetime | None = now()
        self._progress: JobProgress | None = None
        self._lines = Lines()
        unicode = console.encoding.startswith("utf")
        self._done, self._failed = ("✓", "✗") if unicode else ("+", "x")
        self._spinner = Spinner("dots" if unicode else "line", style="cyan")
        self._live = Live(self, console=console, transient=True, refresh_per_second=_REFRESHES_PER_SECOND)

    def __enter__(self) -> "LiveView":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.clear()
        self._progress = self._quiet_since = None
        with suppress(OSError):  # the terminal was closed
            self._flush()
            self._live.stop()

    def __call__(self, event: Event) -> None:
        """Show it."""
        match event:
            case PhaseStarted():
                self._running[event.name] = event
            case PhaseEnded():
                self._end(event)
            case JobProgress():
                self._progress = event
            case JobOutput():
                for line in self._lines.feed(event.data):
                    self._show_output(line)
            case Note():
                self._print(Text(event.message, style=_NOTE_STYLE.get(event.severity, "dim")))
            case Ended(receipt):
                self._quiet_since = None
                self._flush()
                if not self._panel_follows and receipt.outcome is not Outcome.SUCCEEDED:
                    self._print(Text(sentence_of(receipt), style="red"))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The part that stays at the bottom: a line for each phase that runs, and the job's bar."""
        spinner = self._spinner.render(console.get_time())
        now = self._now()
        for phase in self._running.values():
            yield _line(spinner, phase.sentence, now - phase.at)
        if not self._running and self._quiet_since is not None and now - self._quiet_since >= _QUIET:
            yield _line(spinner, "Looking at the cloud", now - self._quiet_since)
        if self._progress is not None:
            yield _bar(self._progress, options.max_width)

    def _end(self, phase: PhaseEnded) -> None:
        started = self._running.pop(phase.name, None)
        self._quiet_since = phase.at
        if phase.name == "job":
            self._progress = None
            self._flush()
        mark = Text(self._done, "green") if phase.error is None else Text(self._failed, "red")
        self._print(
            _line(mark, started.sentence if started else phase.name, timedelta(seconds=phase.seconds), cut=False)
        )
        if phase.error is not None:
            self._print(Padding(Text(phase.error, style="red"), (0, 0, 0, 2)))

    def _flush(self) -> None:
        for line in self._lines.end():
            self._show_output(line)

    def _show_output(self, line: str) -> None:
        """The job's line as its terminal would show it: colours stay, and a carriage return starts the line again."""
        self._console.print(Text.from_ansi(line.rstrip("\r").rpartition("\r")[2]), soft_wrap=True, highlight=False)

    def _print(self, what: RenderableType) -> None:
        self._console.print(what, highlight=False)


def _line(mark: RenderableType, sentence: str, span: timedelta, *, cut: bool = True) -> Table:
    """`✓  2.9 s Starting gpu-vm`. What stays on the screen may wrap; what is drawn again and again is cut instead."""
    line = Table.grid(padding=(0, 1, 0, 0))
    line.add_column(width=1)
    line.add_column(width=8, justify="right", style="dim")
    line.add_column()
    text = Text(sentence, no_wrap=cut, overflow="ellipsis" if cut else "fold")
    line.add_row(mark, f"{span.total_seconds():.1f} s", text)
    return line


def _bar(progress: JobProgress, width: int) -> Table:
    row = Table.grid(padding=(0, 1, 0, 0))
    row.add_column(width=1)
    row.add_column(width=min(_BAR_WIDTH, max(5, width // 3)))
    row.add_column()
    pulse = progress.fraction is None
    bar = ProgressBar(total=1, completed=progress.fraction or 0, pulse=pulse)
    row.add_row("", bar, Text(progress_sentence(progress), no_wrap=True, overflow="ellipsis"))
    return row
