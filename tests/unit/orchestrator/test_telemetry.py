"""Events as JSON lines, as Cloud Logging reads them."""

import json
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.events import Ended, Event, JobOutput, JobProgress, Note, PhaseEnded, PhaseStarted
from orchestrator.run import Outcome, Receipt
from orchestrator.telemetry import JsonLog, Lines
from vm_agent.protocol import Mode

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def logged(*events: Event) -> list[dict[str, Any]]:
    stream = StringIO()
    log = JsonLog(stream)
    for event in events:
        log(event)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def ended(outcome: Outcome, *, cleanup: str = "confirmed", detail: str = "") -> Ended:
    return Ended(
        Receipt("k", Mode.RUN, outcome, int(outcome.exit), "demo", "main:run", NOON, detail=detail, cleanup=cleanup)
    )


def test_every_line_has_what_cloud_logging_looks_for() -> None:
    lines = logged(
        PhaseStarted("start", NOON, "Starting gpu-vm"), PhaseEnded("start", NOON, 8.25), Note("NOTICE", "well")
    )
    assert all({"severity", "message", "time"} <= line.keys() for line in lines)
    assert [line["message"] for line in lines] == ["Starting gpu-vm", "start: 8.2 s", "well"]
    assert lines[1]["seconds"] == 8.25
    assert lines[2]["severity"] == "NOTICE"


def test_a_phase_that_failed_is_a_warning_with_its_reason() -> None:
    (line,) = logged(PhaseEnded("boot", NOON, 60, "no answer"))
    assert (line["severity"], line["message"]) == ("WARNING", "boot: no answer")


def test_the_jobs_lines_are_whole_whatever_pieces_they_came_in() -> None:
    data = "première\ndeuxième\r\nrest".encode()
    lines = logged(*(JobOutput(data[index : index + 1]) for index in range(len(data))), ended(Outcome.SUCCEEDED))
    assert [line["message"] for line in lines[:3]] == ["première", "deuxième", "rest"]
    assert all(line["source"] == "job" for line in lines[:3])


def test_a_last_line_without_its_end_is_told_before_the_job_is_over() -> None:
    lines = logged(JobOutput(b"rest"), PhaseEnded("job", NOON, 1), ended(Outcome.SUCCEEDED))
    assert [line["message"] for line in lines[:2]] == ["rest", "job: 1.0 s"]


def test_what_a_person_reads_first_comes_first() -> None:
    stream = StringIO()
    JsonLog(stream, execution="x")(Note("NOTICE", "well"))
    assert list(json.loads(stream.getvalue())) == ["severity", "time", "message", "execution"]


def test_progress_costs_a_line_for_every_tenth_of_the_way() -> None:
    lines = logged(*(JobProgress(step / 1000, f"step {step}") for step in range(1000)))
    assert [line["message"] for line in lines[:2]] == ["0 %: step 0", "10 %: step 100"]
    assert len(lines) == 10


@pytest.mark.parametrize(
    ("event", "severity"),
    [
        (ended(Outcome.SUCCEEDED), "INFO"),
        (ended(Outcome.BUSY), "NOTICE"),
        (ended(Outcome.FAILED), "ERROR"),
        (ended(Outcome.SUCCEEDED, cleanup="owed"), "ERROR"),
    ],
)
def test_the_end_is_as_loud_as_it_is_bad(event: Ended, severity: str) -> None:
    assert logged(event)[-1]["severity"] == severity


def test_what_is_owed_is_said_in_the_last_line() -> None:
    assert "may still be on" in logged(ended(Outcome.CLEANUP_OWED, cleanup="owed", detail="x."))[-1]["message"]


@given(st.text(), st.integers(1, 7))
def test_no_character_is_lost_between_pieces(text: str, size: int) -> None:
    data, lines = text.encode(), Lines()
    pieces = (data[start : start + size] for start in range(0, len(data), size))
    got = [line for piece in pieces for line in lines.feed(piece)] + list(lines.end())
    wanted = text.split("\n")
    assert got == [line.removesuffix("\r") for line in wanted[:-1]] + [line for line in wanted[-1:] if line]


def test_a_line_without_end_is_cut_before_it_fills_the_memory() -> None:
    lines = Lines(longest=10)
    got = [line for _ in range(10) for line in lines.feed(b"x" * 25)] + list(lines.end())
    assert "".join(got) == "x" * 250
    assert max(map(len, got)) == 10


def test_what_is_no_text_is_shown_as_such() -> None:
    assert list(Lines().feed(b"\xff\xfe\n")) == ["��"]
