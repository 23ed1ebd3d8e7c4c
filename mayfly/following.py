"""How far a call is, on stderr: a bar on a terminal, a line for each change elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from orchestrator.errors import Exit
from vm_agent.protocol import RunView, State

_EXITS = {
    State.SUCCEEDED: Exit.SUCCEEDED,
    State.FAILED: Exit.JOB_FAILED,
    State.CANCELLED: Exit.JOB_FAILED,
    State.TIMED_OUT: Exit.TIMED_OUT,
    State.INTERRUPTED: Exit.INTERRUPTED,
}


def exit_of(state: State) -> Exit:
    """The exit code of a finished run."""
    return _EXITS[state]


@contextmanager
def shown() -> Iterator["Shown"]:
    """What the client tells, while it tells it."""
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        DownloadColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    with bar:
        yield Shown(bar)


class Shown:
    """One upload, then one run."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task: TaskID | None = None
        self._last = ""

    def sent(self, here: int, size: int) -> None:
        """Bytes of the file that are there."""
        if self._task is None:
            self._task = self._bar.add_task("uploading", total=size)
        self._bar.update(self._task, completed=here)
        self._say(f"uploaded {here >> 20} of {size >> 20} MiB")

    def news(self, view: RunView) -> None:
        """The run has changed."""
        fraction, message = view.progress.fraction, view.progress.message
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None
        if not self._bar.disable:
            self._bar.console.print(f"{view.state.lower()}  {message}", markup=False, highlight=False)
        self._say(f"run {view.id} {view.state.lower()}{f' {fraction:.0%}' if fraction is not None else ''} {message}")

    def _say(self, line: str) -> None:
        if self._bar.disable and line != self._last:
            print(line.strip(), file=sys.stderr, flush=True)  # noqa: T201 - where there is no terminal
            self._last = line
