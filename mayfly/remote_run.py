"""`mayfly run --remote` and `mayfly test --remote`: the deployed job does it, and we look on."""

import asyncio
import json
import secrets
import shlex
import signal
import sys
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from rich.console import Console
from rich.text import Text

from mayfly.call_off import run_and_leave
from mayfly.cloud_logs import Line
from mayfly.deploy.config import Config
from mayfly.executions import Executions, deployed_executions
from mayfly.google import google_of
from mayfly.order import Order
from mayfly.receipt import receipt_of, show
from mayfly.remote import Remote, RemoteEnd, exit_code_of, without_receipt
from orchestrator.errors import BadUsage, CleanupOwed, Exit, MayflyError
from orchestrator.settings import Settings
from orchestrator.telemetry import json_line

T = TypeVar("T")
_STYLES = {"WARNING": "yellow", "ERROR": "bold red", "CRITICAL": "bold red"}


@dataclass(frozen=True)
class RemoteOrder:
    """An order, and how it was typed: what was given on the command line goes to the job, nothing else does."""

    order: Order
    job: str | None
    command: Sequence[str] | None
    flags: Mapping[str, Any]  # by the options' names: {"once-per": "1d"}; None was not given


def carry_out_remote(config: Config, wanted: RemoteOrder, *, as_json: bool) -> int:
    """Start it, or join the live one of that key; show its lines as they come, print its receipt; the exit code."""
    if config.settings.on_cloud_run:
        raise BadUsage("--remote starts the Cloud Run job, and this is it: leave it out of the job's arguments.")
    return run_and_leave(_there_and_back(config, wanted, as_json=as_json))


async def _there_and_back(config: Config, typed: RemoteOrder, *, as_json: bool) -> int:
    console = Console(stderr=True)
    async with google_of(config.settings) as google:
        executions = deployed_executions(google, config)
        wanted = await one_run_of(typed, config, executions)
        key = wanted.order.key
        remote = Remote(executions, lambda line: _show(line, console), lambda said: _tell(said, console))
        longer = wanted.flags.get("timeout") or wanted.flags.get("wait-for-lease")
        starting = remote.started(arguments(wanted, key, config.job.args), key, config.task_timeout if longer else None)
        left = _listening()
        if (name := await _unless_left(starting, left)) is None:
            _tell(f"Left as Cloud Run was asked to begin; it may have. {ways_on(wanted, None, executions)}", console)
            return int(Exit.TERMINATED)
        on = f"{name} goes on in Cloud Run. {ways_on(wanted, name, executions)}"
        try:
            end = await _unless_left(remote.followed(name), left)
        except MayflyError as error:
            raise CleanupOwed(f"{error} {on}") from error
        if end is not None:
            return _ended(end, config.settings, as_json=as_json)
        _tell(f"Left. {on}", console)
        return int(Exit.TERMINATED)


def _listening() -> asyncio.Event:
    """Set by the first signal to end: from when the job is asked to begin. Before that, nothing is left behind."""
    left = asyncio.Event()
    for end in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(end) is not signal.SIG_IGN:  # else it is meant to outlive its terminal: nohup
            asyncio.get_running_loop().add_signal_handler(end, left.set)
    return left


async def _unless_left(work: Coroutine[Any, Any, T], left: asyncio.Event) -> T | None:
    """What it gives; None if somebody leaves first. What is under way then is not waited for."""
    doing, leaving = asyncio.create_task(work), asyncio.create_task(left.wait())
    await asyncio.wait({doing, leaving}, return_when=asyncio.FIRST_COMPLETED)
    return doing.result() if doing.done() else None


def ways_on(wanted: RemoteOrder, execution: str | None, executions: Executions) -> str:
    """How to look on again and how to end it, to be copied: by its key, or, if that is its window's, by its name."""
    key = wanted.order.key
    if key is not None:
        again = shlex.join(["mayfly", str(wanted.order.mode), "--remote", *arguments(wanted, key)[1:]])
        place = [(f"--{name}", wanted.flags.get(name)) for name in ("project", "zone", "instance")]
        cancel = shlex.join(["mayfly", "cancel", key, *(part for pair in place if pair[1] for part in map(str, pair))])
    elif execution is not None:
        again = f"mayfly logs --remote --follow {execution}"
        where = f"--region {executions.region} --project {executions.project}"
        cancel = f"gcloud run jobs executions cancel {execution} {where}"
    else:
        return "Look: mayfly status, mayfly logs --remote"
    return f"Look on again: {again}; end it: {cancel}"


async def one_run_of(typed: RemoteOrder, config: Config, executions: Executions) -> RemoteOrder:
    """With a key of its own, unless one was typed, or it is its window's run: a key would begin a second one there.

    The window is what was typed, or what the job's words or its environment say there, or else our own ONCE_PER, which
    the job is then told. NotFound: nothing is deployed. Forbidden.
    """
    options = arguments(typed, None, config.job.args)
    options = options[: options.index("--")] if "--" in options else options
    named = {option.partition("=")[0] for option in options}
    if typed.order.key is not None or named & {"--key", "--once-per"} or "ONCE_PER" in await executions.variables():
        return typed
    if config.settings.once_per:
        window = {"once-per": config.settings.once_per, "tz": config.settings.tz}
        return replace(typed, flags={**typed.flags, **window})
    return replace(typed, order=replace(typed.order, key=_new_key()))


def arguments(wanted: RemoteOrder, key: str | None, usual: Sequence[str] = ()) -> list[str]:
    """What the container's `mayfly` is told. BadUsage for what has no place there.

    `usual`: the deployed job's own, which hold where no other job is named; what is given comes on top.
    """
    if wanted.flags["out"] is not None:
        raise BadUsage("--out names a folder of the job's container, which goes with it: --remote has none.")
    params = [part for name, value in wanted.order.params.items() for part in ("--set", _param(name, value))]
    flags = {"key": key, **wanted.flags}
    given = [part for name, value in flags.items() if value is not None for part in (f"--{name}", str(value))]
    job = [wanted.job] if wanted.job is not None else []
    command = ["--", *wanted.command] if wanted.command is not None else []
    if not (job or command):
        return [str(wanted.order.mode), *_with(usual, [*given, *params])]
    return [str(wanted.order.mode), *job, *given, *params, *command]


def _with(usual: Sequence[str], more: Sequence[str]) -> list[str]:
    """More options for arguments that may end with a command of the job's."""
    cut = list(usual).index("--") if "--" in usual else len(usual)
    return [*usual[:cut], *more, *usual[cut:]]


def _param(name: str, value: Any) -> str:
    if not name or set(name) & {".", "="}:
        raise BadUsage(f"The param {name!r} cannot go to a Cloud Run job: its name has a dot, or a =, or is none.")
    return f"{name}={json.dumps(value, ensure_ascii=False)}"


def _new_key() -> str:
    return f"remote-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"


def _ended(end: RemoteEnd, settings: Settings, *, as_json: bool) -> int:
    if end.receipt is None:
        sys.stderr.write(f"mayfly: {without_receipt(end)}\n")
        return exit_code_of(end)
    fields = {name: value for name, value in end.receipt.fields.items() if name not in {"message", "severity"}}
    with suppress(OSError):
        if as_json or not sys.stdout.isatty():
            print(json_line(fields, sys.stdout), flush=True)  # noqa: T201 - stdout is for this
        else:
            show(receipt_of(fields), Console(), emulator=settings.compute_emulator_host)
    return exit_code_of(end)


def _show(line: Line, console: Console) -> None:
    """For a person with its time; else as Cloud Logging has it, a JSON line again."""
    with suppress(OSError):
        if not console.is_terminal:
            entry = {"severity": line.severity, "time": line.at.isoformat(), **line.fields}
            sys.stderr.write(json_line(entry, sys.stderr) + "\n")
            sys.stderr.flush()
            return
        style = _STYLES.get(line.severity, "" if line.fields.get("source") == "job" else "dim")
        console.print(Text(f"{line.at.astimezone():%H:%M:%S} ", "dim") + Text(line.message, style), highlight=False)


def _tell(said: str, console: Console) -> None:
    _show(Line("", datetime.now(UTC), "INFO", {"message": said}), console)
