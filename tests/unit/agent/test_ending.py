"""What the files of a run mean once its processes are gone."""

import json
from pathlib import Path
from typing import Any

import pytest

from vm_agent.ending import progress, verdict
from vm_agent.protocol import RESULT_BYTES_MAX, State

DONE = {"reason": None, "exit_code": 0, "signal": None}


def left(folder: Path, **files: Any) -> Path:
    for name, content in files.items():
        (folder / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (DONE, State.SUCCEEDED),
        (DONE | {"exit_code": 3}, State.FAILED),
        (DONE | {"exit_code": None, "signal": "SIGSEGV"}, State.FAILED),
        (DONE | {"reason": "deadline"}, State.TIMED_OUT),
        (DONE | {"reason": "cancelled"}, State.CANCELLED),
        (DONE | {"reason": "abandoned"}, State.INTERRUPTED),
        ({"reason": "cancelled"}, State.CANCELLED),
        ({"reason": None, "error": "cannot start"}, State.FAILED),
    ],
)
def test_an_outcome_has_one_meaning(tmp_path: Path, outcome: dict[str, Any], state: State) -> None:
    assert verdict(left(tmp_path, outcome=outcome)).state is state


def test_without_an_outcome_nothing_is_known(tmp_path: Path) -> None:
    assert verdict(left(tmp_path, result={"a": 1})).state is State.INTERRUPTED
    assert verdict(left(tmp_path, outcome='{"reas')).state is State.INTERRUPTED


def test_a_failure_file_outweighs_an_exit_code(tmp_path: Path) -> None:
    told = verdict(left(tmp_path, outcome=DONE | {"exit_code": 1}, failure={"detail": "ValueError: no"}))
    assert told.failure
    assert (told.failure.detail, told.failure.exit_code) == ("ValueError: no", 1)


@pytest.mark.parametrize(
    ("result", "complaint"),
    [
        ("{", "not JSON"),
        ("[NaN]", "not JSON"),
        ('"\\ud800"', "not JSON"),
        ("[" * 198 + "]" * 198, "not JSON"),
        (f'"{"x" * RESULT_BYTES_MAX}"', "write an artifact"),
    ],
)
def test_a_result_that_cannot_be_kept_fails_the_run(tmp_path: Path, result: str, complaint: str) -> None:
    told = verdict(left(tmp_path, outcome=DONE, result=result))
    assert told.state is State.FAILED
    assert told.failure
    assert complaint in told.failure.detail


@pytest.mark.parametrize(
    ("said", "fraction"), [({"fraction": 7}, 1.0), ({"fraction": -1, "message": "x"}, 0.0), ({"fraction": None}, None)]
)
def test_progress_stays_within_bounds(tmp_path: Path, said: dict[str, Any], fraction: float | None) -> None:
    told = progress(left(tmp_path, progress=said))
    assert told
    assert told.fraction == fraction


@pytest.mark.parametrize("said", ["", "half", '{"fraction": "much"}', "[" * 9999, "null"])
def test_progress_that_makes_no_sense_is_no_progress(tmp_path: Path, said: str) -> None:
    assert progress(left(tmp_path, progress=said)) is None
