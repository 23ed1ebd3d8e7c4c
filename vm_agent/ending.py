"""How a run ended: the files that its keeper and its job left, read, and what they mean.

A job may leave anything in their places (a folder, a FIFO, a link to /dev/zero): nothing here waits or raises for that.
"""

import errno
import json
import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from vm_agent.job_user import word_of
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
    said = _read(word_of(folder) / "progress.json", _PROGRESS_BYTES_MAX)
    try:
        told = Progress.model_validate(said)
    except ValidationError:
        return None
    fraction = None if told.fraction is None else min(1.0, max(0.0, told.fraction))
    return Progress(fraction=fraction, message=told.message[:1000])


def _judged(folder: Path) -> Verdict:
    outcome = _read(folder / "outcome.json")
    reason = outcome.get("reason", "abandoned") if isinstance(outcome, dict) else "abandoned"
    if reason == "abandoned":
        return Verdict(State.INTERRUPTED, failure=Failure(detail=CUT_OFF))
    how = {"exit_code": outcome.get("exit_code"), "signal": outcome.get("signal")}
    if reason == "cancelled":
        return Verdict(State.CANCELLED, failure=Failure(detail="cancelled", **how))
    if reason == "deadline":
        return Verdict(State.TIMED_OUT, failure=Failure(detail="killed at its deadline", **how))
    if detail := outcome.get("error") or _failure(folder) or _exit(**how):
        return Verdict(State.FAILED, failure=Failure(detail=detail, **how))
    return _result(folder)


def _result(folder: Path) -> Verdict:
    try:
        text = _contents(word_of(folder) / "result.json", RESULT_BYTES_MAX)
        result = _parsed(text)
        # On its way to the caller it is nested deeper than here. And 1e999 is JSON, but what it is read as is not.
        _parsed(json.dumps([[[[result]]]], allow_nan=False).encode("ascii"))
    except FileNotFoundError:
        return Verdict(State.SUCCEEDED)
    except OSError as problem:
        detail = f"the result cannot be kept: {problem.strerror}"
    except ValueError as problem:
        detail = f"the result is not JSON: {problem}"
    else:
        return Verdict(State.SUCCEEDED, result)
    return Verdict(State.FAILED, failure=Failure(detail=detail, exit_code=0))


def _failure(folder: Path) -> str | None:
    failure = _read(word_of(folder) / "failure.json")
    return str(failure["detail"]) if isinstance(failure, dict) and "detail" in failure else None


def _exit(exit_code: int | None, signal: str | None) -> str | None:
    if signal:
        return f"the job was killed by {signal}"
    return f"the job ended with exit code {exit_code}" if exit_code else None


def _read(path: Path, bytes_max: int = RESULT_BYTES_MAX) -> Any:
    """The JSON in a file; None if it is not there, too large or not JSON."""
    try:
        return _parsed(_contents(path, bytes_max))
    except (OSError, ValueError):
        return None


def _contents(path: Path, bytes_max: int) -> bytes:
    """What a regular file holds; OSError for anything else, and for a file that is too large.

    A link is not followed: a job must not be able to publish what only the agent may read.
    """
    if path.is_symlink():
        raise OSError(errno.EINVAL, "it is not a regular file")
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        seen = os.fstat(file)
        if not stat.S_ISREG(seen.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        if seen.st_size > bytes_max:
            detail = f"it is {seen.st_size} bytes of JSON, at most {bytes_max} are kept: write an artifact"
            raise OSError(errno.EFBIG, detail)
        return os.read(file, bytes_max)
    finally:
        os.close(file)


def _parsed(text: bytes) -> Any:
    """JSON that can also be written again: nothing nested without end, no NaN, no half of a surrogate pair."""
    return from_json(text, allow_inf_nan=False)
