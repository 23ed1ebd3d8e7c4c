"""The live view, as it is left on the terminal when all is over."""

from datetime import UTC, datetime, timedelta
from io import BytesIO, StringIO, TextIOWrapper

import pytest
from rich.console import Console

from mayfly.view import LiveView
from orchestrator.events import Ended, JobOutput, JobProgress, Note, PhaseEnded, PhaseStarted
from orchestrator.run import Outcome, Receipt
from vm_agent.protocol import Mode

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
STARTED = PhaseStarted("start", NOON, "Starting gpu-vm in us-central1-a")


class Screen:
    """A terminal of some width, or a file."""

    def __init__(self, width: int = 80, *, terminal: bool = False) -> None:
        self.file = StringIO()
        self.console = Console(
            file=self.file, width=width, force_terminal=terminal, color_system="truecolor" if terminal else None
        )
        self.view = LiveView(self.console, lambda: NOON)

    @property
    def text(self) -> str:
        return self.file.getvalue()

    def bottom(self) -> list[str]:
        """What stays at the bottom, as it is now."""
        with self.console.capture() as captured:
            self.console.print(self.view)
        return captured.get().splitlines()


@pytest.fixture
def screen() -> Screen:
    return Screen()


def test_a_finished_phase_is_left_with_its_time(screen: Screen) -> None:
    with screen.view as view:
        view(STARTED)
        view(PhaseEnded("start", NOON, 8.25))
    assert screen.text.split() == ["✓", "8.2", "s", *STARTED.sentence.split()]


def test_a_phase_that_failed_is_left_with_its_reason(screen: Screen) -> None:
    with screen.view as view:
        view(STARTED)
        view(PhaseEnded("start", NOON, 1, "no [GPU] free"))
    assert "✗" in screen.text
    assert "no [GPU] free" in screen.text


def test_what_the_job_prints_appears_as_it_printed_it(screen: Screen) -> None:
    with screen.view as view:
        view(JobOutput(b"un [red]caf" + "é".encode()[:1]))
        view(JobOutput("é".encode()[1:] + b"\n 10%\r 20%\r\n" + b"x" * 200 + b"\nrest"))
    assert screen.text.splitlines() == ["un [red]café", " 20%", "x" * 200, "rest"]


def test_the_bottom_shows_what_goes_on_and_the_jobs_own_progress(screen: Screen) -> None:
    view = screen.view
    view(PhaseStarted("job", NOON, "Running the job"))
    view(JobProgress(0.42, "minute 3 of 7"))
    phase, bar = screen.bottom()
    assert "0.0 s Running the job" in phase
    assert "42 %: minute 3 of 7" in bar
    view(PhaseEnded("job", NOON, 1))
    assert screen.bottom() == []


def test_progress_without_an_end_in_sight_is_shown_too(screen: Screen) -> None:
    screen.view(JobProgress(None, "loading"))
    assert "loading" in screen.bottom()[0]


@pytest.mark.parametrize("width", [20, 30, 44])
def test_on_a_narrow_terminal_nothing_wraps(width: int) -> None:
    screen = Screen(width)
    screen.view(STARTED)
    screen.view(JobProgress(0.42, "minute 3 of 7, and a long word about it"))
    assert [len(line) <= width for line in screen.bottom()] == [True, True]


def test_no_colour_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    screen = Screen(terminal=True)
    with screen.view as view:
        view(JobOutput(b"\x1b[32mgreen\x1b[0m\n"))
        view(Note("ERROR", "bad"))
        view(STARTED)
        view(PhaseEnded("start", NOON, 1))
    assert "green" in screen.text
    assert "\x1b[3" not in screen.text.replace("\x1b[3A", "")
    assert "\x1b[1;3" not in screen.text


def test_a_finished_phase_that_does_not_fit_is_wrapped_with_its_mark_before_it() -> None:
    screen = Screen(30)
    with screen.view as view:
        view(STARTED)
        view(PhaseEnded("start", NOON, 8.25, "no GPU is free in any zone of it"))
    lines = screen.text.splitlines()
    assert lines[:2] == ["✗    8.2 s Starting gpu-vm in ", " " * 11 + "us-central1-a      "]
    assert all(line.startswith("  ") for line in lines[2:])


def test_a_look_that_takes_long_is_shown() -> None:
    screen, now = Screen(), NOON
    screen.view = LiveView(screen.console, lambda: now)
    assert screen.bottom() == []
    now += timedelta(seconds=3)
    assert "3.0 s Looking at the cloud" in screen.bottom()[0]


def test_why_it_failed_is_said_where_no_panel_says_it() -> None:
    end = Ended(Receipt("k", Mode.RUN, Outcome.BUSY, 6, "demo", "main:run", NOON, detail="Somebody is at work there."))
    for panel_follows in (True, False):
        screen = Screen()
        with LiveView(screen.console, lambda: NOON, panel_follows=panel_follows) as view:
            view(end)
        assert ("Somebody is at work there." in screen.text) is not panel_follows


def test_a_terminal_with_few_letters_gets_the_plain_ones() -> None:
    stream = TextIOWrapper(BytesIO(), encoding="ascii", errors="strict")
    with LiveView(Console(file=stream, width=80, force_terminal=True), lambda: NOON) as view:
        view(STARTED)
        view(PhaseEnded("start", NOON, 1))
    stream.seek(0)
    assert "+" in stream.read()
