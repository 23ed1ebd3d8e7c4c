"""The live view on a terminal: what goes on and for how long, the job's progress, and above it what the job prints."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from orchestrator.events import Ended, Event, JobOutput, JobProgress, Note, PhaseEnded, PhaseStarted
from orchestrator.telemetry import Lines, progress_sentence

_NOTE_STYLE = {"WARNING": "yellow", "ERROR": "bold red", "CRITICAL": "bold red"}
_BAR_WIDTH = 30
_REFRESHES_PER_SECOND = 8


class LiveView:
    """Finished phases and the job's output scroll by; what is going on stays at the bottom. Use it as a context."""

    def __init__(self, console: Console, now: Callable[[], datetime]):
        self._console = console
        self._now = now
        self._running: dict[str, PhaseStarted] = {}
        self._progress: JobProgress | None = None
        self._lines = Lines()
        self._spinner = Spinner("dots", style="cyan")
        self._live = Live(self, console=console, transient=True, refresh_per_second=_REFRESHES_PER_SECOND)

    def __enter__(self) -> "LiveView":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.clear()
        self._progress = None
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
                    self._print(_as_typed(line))
            case Note():
                self._print(Text(event.message, style=_NOTE_STYLE.get(event.severity, "dim")))
            case Ended():
                self._flush()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The part that stays at the bottom: a line for each phase that runs, and the job's bar."""
        for phase in self._running.values():
            seconds = (self._now() - phase.at).total_seconds()
            yield self._line(self._spinner.render(console.get_time()), phase.sentence, seconds)
        if self._progress is not None:
            yield _bar(self._progress, options.max_width)

    def _end(self, phase: PhaseEnded) -> None:
        started = self._running.pop(phase.name, None)
        if phase.name == "job":
            self._progress = None
            self._flush()
        sentence = started.sentence if started else phase.name
        if phase.error is None:
            self._print(self._line(Text("✓", style="green"), sentence, phase.seconds))
        else:
            self._print(self._line(Text("✗", style="red"), sentence, phase.seconds))
            self._print(Text(f"  {phase.error}", style="red"))

    @staticmethod
    def _line(mark: RenderableType, sentence: str, seconds: float) -> Table:
        line = Table.grid(padding=(0, 1))
        line.add_column(width=1)
        line.add_column(justify="right", no_wrap=True, min_width=8, style="dim")
        line.add_column(no_wrap=True, overflow="ellipsis")  # on a narrow terminal the sentence is cut, not wrapped
        line.add_row(mark, f"{seconds:.1f} s", Text(sentence))
        return line

    def _flush(self) -> None:
        for line in self._lines.end():
            self._print(_as_typed(line))

    def _print(self, what: Text | Table) -> None:
        self._console.print(what, soft_wrap=isinstance(what, Text), highlight=False)


def _as_typed(line: str) -> Text:
    """The job's line as its terminal would show it: colours stay, and a carriage return starts the line again."""
    return Text.from_ansi(line.rstrip("\r").rpartition("\r")[2])


def _bar(progress: JobProgress, width: int) -> Table:
    row = Table.grid(padding=(0, 1))
    row.add_column(width=1)
    row.add_column(width=min(_BAR_WIDTH, max(5, width // 3)))
    row.add_column(no_wrap=True, overflow="ellipsis")
    pulse = progress.fraction is None
    row.add_row("", ProgressBar(total=1, completed=progress.fraction or 0, pulse=pulse), progress_sentence(progress))
    return row
