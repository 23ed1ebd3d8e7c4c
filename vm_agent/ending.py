"""How a run ended: the files that its keeper and its job left, read, and what they mean."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from vm_agent.protocol import RESULT_BYTES_MAX, Failure, Progress, State

CUT_OFF = "cut off: the agent, the run's keeper or the VM went away under it"
_PROGRESS_BYTES_MAX = 64 << 10


@dataclass(frozen=True)
class Verdict:
    """The last state of a run, with its result or the reason why it has none."""

    state: State
    result: Any = None
    failure: Failure | None = None
    progress: Progress | None = None  # the last that the job told


def verdict(folder: Path) -> Verdict:
    """What became of the run in this folder, whose processes are all gone."""
    return replace(_judged(folder), progress=progress(folder))


def progress(folder: Path) -> Progress | None:
    """The job's last word on how far it is; None if it said nothing that can be understood."""
    said = _read(folder / "progress.json", _PROGRESS_BYTES_MAX)
    try:
        told = Progress.model_validate(said)
    except ValidationError:
        return None
    fraction = None if told.fraction is None else min(1.0, max(0.0, told.fraction))
    return Progress(fraction=fraction, message=told.message[:1000])


def _judged(folder: Path) -> Verdict:
    outcome = _read(folder / "outcome.json")
    if not isinstance(outcome, dict) or outcome["reason"] == "abandoned":
        return Verdict(State.INTERRUPTED, failure=Failure(detail=CUT_OFF))
    how = {"exit_code": outcome.get("exit_code"), "signal": outcome.get("signal")}
    if outcome["reason"] == "cancelled":
        return Verdict(State.CANCELLED, failure=Failure(detail="cancelled", **how))
    if outcome["reason"] == "deadline":
        return Verdict(State.TIMED_OUT, failure=Failure(detail="killed at its deadline", **how))
    if detail := outcome.get("error") or _failure(folder) or _exit(outcome):
        return Verdict(State.FAILED, failure=Failure(detail=detail, **how))
    return _result(folder)


def _result(folder: Path) -> Verdict:
    path = folder / "result.json"
    if not path.exists():
        return Verdict(State.SUCCEEDED)
    if path.stat().st_size > RESULT_BYTES_MAX:
        detail = f"the result is {path.stat().st_size} bytes, at most {RESULT_BYTES_MAX} are kept: write an artifact"
        return Verdict(State.FAILED, failure=Failure(detail=detail, exit_code=0))
    try:
        result = _parsed(path.read_bytes())
        _parsed(to_json([[[[result]]]]))  # on its way to the caller it is nested deeper than here
        return Verdict(State.SUCCEEDED, result)
    except ValueError as problem:
        return Verdict(State.FAILED, failure=Failure(detail=f"the result is not JSON: {problem}", exit_code=0))


def _failure(folder: Path) -> str | None:
    failure = _read(folder / "failure.json")
    return str(failure["detail"]) if isinstance(failure, dict) else None


def _exit(outcome: dict[str, Any]) -> str | None:
    if outcome["signal"]:
        return f"the job was killed by {outcome['signal']}"
    return f"the job ended with exit code {outcome['exit_code']}" if outcome["exit_code"] else None


def _read(path: Path, bytes_max: int = RESULT_BYTES_MAX) -> Any:
    """The JSON in a file; None if it is not there, too large or not JSON (a job may write what it likes)."""
    try:
        with path.open("rb") as file:
            return _parsed(file.read(bytes_max))
    except (OSError, ValueError):
        return None


def _parsed(text: bytes) -> Any:
    """JSON that can also be written again: nothing nested without end, no NaN, no half of a surrogate pair."""
    return from_json(text, allow_inf_nan=False)
