"""Inside the job's own process: imports `module:function`, calls it, and leaves its result or its failure in files.

    python -P -m vm_agent.call FOLDER

SIGTERM raises SystemExit in the job, so that its `finally` blocks run before the grace is over.
"""

import asyncio
import contextlib
import importlib
import inspect
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from vm_agent.job import Context
from vm_agent.job_user import word_of

EXIT_TERMINATED = 143
_DETAIL_LENGTH_MAX = 4000


class BadJob(Exception):
    """The job cannot be called, or its result cannot be kept."""


def main(folder: Path) -> int:
    """Call the job; returns the exit code."""
    pid = os.getpid()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr] # a line is in the log when it is printed
    order = json.loads((folder / "order.json").read_text(encoding="utf-8"))
    try:
        result = _call(order, folder)
        if os.getpid() != pid:
            os._exit(0)  # a child that the job forked and did not end: the result is its parent's to give
        _keep(word_of(folder) / "result.json", result, order["result_bytes_max"])
    except BadJob as problem:
        _say(f"mayfly: {problem}\n")
        return _fail(folder, str(problem))
    except SystemExit as leaving:
        return _left(folder, leaving)
    except BaseException as problem:  # noqa: BLE001 - whatever a job raises is how it failed
        _say(traceback.format_exc())
        return _fail(folder, _in_short(problem))
    return 0


def _call(order: Mapping[str, Any], folder: Path) -> Any:
    sys.path.insert(0, order["cwd"])
    sys.argv = [order["function"]]
    function = _find(order["function"], order["cwd"])
    if _wants_context(order["function"], function):
        answer = function(_context(order, folder))
    elif order["mode"] == "test" and not order["function"].endswith(":test"):
        raise BadJob(
            f"{order['function']} takes no context, so it could not know that this is a rehearsal: "
            "it was not called. Let it take one argument and look at its `rehearsal`."
        )
    else:
        answer = function()
    return asyncio.run(_awaited(answer)) if inspect.isawaitable(answer) else answer


def _find(name: str, app: str) -> Callable[..., Any]:
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as problem:
        if problem.name is None or not f"{module_name}.".startswith(f"{problem.name}."):
            raise
        raise BadJob(f"there is no module {problem.name!r} for the job {name} (looked in {app} first)") from problem
    function = getattr(module, attribute, None)
    if not callable(function):
        raise BadJob(f"module {module_name!r} ({module.__file__}) has no function {attribute!r}")
    return function  # type: ignore[no-any-return]


def _wants_context(name: str, function: Callable[..., Any]) -> bool:
    parameters = inspect.signature(function).parameters.values()
    required = [
        one for one in parameters if one.default is one.empty and one.kind not in {one.VAR_POSITIONAL, one.VAR_KEYWORD}
    ]
    if len(required) > 1 or any(one.kind is one.KEYWORD_ONLY for one in required):
        raise BadJob(f"{name} must take no argument, or one: a vm_agent.job.Context")
    return bool(required)


def _context(order: Mapping[str, Any], folder: Path) -> Context:
    deadline = order["deadline"]
    return Context(
        params=json.loads((folder / "params.json").read_text(encoding="utf-8")),
        mode=order["mode"],
        artifacts=folder / "artifacts",
        deadline=datetime.fromisoformat(deadline) if deadline else None,
        run_key=order["key"],
        attempt=order["attempt"],
        progress_file=word_of(folder) / "progress.json",
    )


async def _awaited(answer: Any) -> Any:
    return await answer


def _keep(path: Path, result: Any, limit_bytes: int) -> None:
    try:
        text = json.dumps(result, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as problem:
        raise BadJob(f"the job's result, a {type(result).__name__}, is not JSON: {problem}") from problem
    if len(text) > limit_bytes:
        raise BadJob(
            f"the job's result is {len(text)} bytes of JSON, at most {limit_bytes} are kept: write an artifact"
        )
    path.write_text(text, encoding="ascii")


def _left(folder: Path, leaving: SystemExit) -> int:
    """What sys.exit() means: None and numbers are exit codes, anything else is a message on the way out."""
    if leaving.code is None or isinstance(leaving.code, int):
        return (leaving.code or 0) & 0xFF
    _say(f"{leaving.code}\n")
    return _fail(folder, str(leaving.code))


def _in_short(problem: BaseException) -> str:
    """Its type and message, without the notes that come after."""
    told = traceback.TracebackException.from_exception(problem)
    told.__notes__ = []
    return "".join(list(told.format_exception_only())[-1:]).strip()


def _say(text: str) -> None:
    """Into the log, where the job left us one: it may have closed it, or filled the disk."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(text)


def _fail(folder: Path, detail: str) -> int:
    (word_of(folder) / "failure.json").write_text(json.dumps({"detail": _printable(detail)}), encoding="utf-8")
    return 1


def _printable(text: str) -> str:
    return text[:_DETAIL_LENGTH_MAX].encode("utf-8", errors="replace").decode("utf-8")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
