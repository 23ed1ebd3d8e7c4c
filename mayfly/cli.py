"""The `mayfly` command.

Each command imports what it needs when it is called: `--help` is there at once, `mayfly run` needs nothing of the
emulator, `mayfly emulator` nothing of Google.
"""
# ruff: noqa: PLC0415 - see above

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import wraps
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer

from mayfly.call_command import call
from mayfly.cancel_command import cancel
from mayfly.deploy_command import deploy, destroy
from mayfly.doctor_command import doctor
from mayfly.init_command import init
from mayfly.logs_command import logs
from mayfly.order_command import order_of
from mayfly.status_command import status
from mayfly.sweep_command import sweep

EXIT_USAGE = 2
EXIT_OWED = 7
EXIT_SIGTERM = 143

app = typer.Typer(
    help="Rent a Compute Engine VM for exactly as long as one job needs it: started, followed, stopped, proved off.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
emulator = typer.Typer(help="Google Cloud on this machine: no account, no cost. For trying things and for tests.")
app.add_typer(emulator, name="emulator")


def main() -> None:
    """Run the command that the arguments name; every failure is a sentence and an exit code."""
    # Until a run listens for itself; as process 1 of a container we would not even be ended by a SIGTERM.
    for end in (signal.SIGTERM, signal.SIGINT):
        signal.signal(end, lambda *_: sys.exit(EXIT_SIGTERM))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a job's "é" must not end us where the locale has none
            stream.reconfigure(errors="replace")
    arguments, command = _cut_command(sys.argv[1:])
    app(arguments, obj=command)


def _cut_command(arguments: Sequence[str]) -> tuple[list[str], list[str] | None]:
    """What stands after `--` is the job's, options and all."""
    if "--" not in arguments:
        return list(arguments), None
    cut = list(arguments).index("--")
    return list(arguments[:cut]), list(arguments[cut + 1 :])


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"mayfly {version('mayfly')}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    if context.obj is not None and context.invoked_subcommand not in {"run", "test"}:
        context.fail("Only `mayfly run` and `mayfly test` take a command after --.")


def _add(name: str, command: Callable[..., int], summary: str | None = None) -> None:
    """Add a command that returns its exit code; whatever it raises becomes a sentence and a code."""

    @app.command(name, help=summary)
    @wraps(command)
    def carried_out(**options: Any) -> None:
        try:
            code = command(**options)
        except Exception as error:  # noqa: BLE001 - see above
            if options.get("debug"):
                traceback.print_exc()
            code = _explain(error, for_cloud_logging=options.get("cloud_run") is not None)
        _leave(code)


_add("run", order_of("run"), "Run the job on the VM: for real.")
_add("test", order_of("test"), "Rehearse the job on the VM: nothing is traded, nothing sent.")
_add("sweep", sweep)
_add("status", status)
_add("logs", logs)
_add("cancel", cancel)
_add("doctor", doctor)
_add("call", call)
_add("init", init)
_add("deploy", deploy)
_add("destroy", destroy)


def _explain(error: Exception, *, for_cloud_logging: bool) -> int:
    """Say what is wrong and what to do; the exit code."""
    sentence, code = _sentence(error)
    line = json.dumps({"severity": "ERROR", "message": sentence}) if for_cloud_logging else f"mayfly: {sentence}"
    typer.echo(line, err=True)
    return code


def _sentence(error: Exception) -> tuple[str, int]:
    if isinstance(error, ModuleNotFoundError):
        return f"The package {error.name} is missing: pip install 'mayfly[orchestrator]'", EXIT_USAGE
    from orchestrator.errors import MayflyError

    if isinstance(error, MayflyError):
        return str(error), int(error.exit)
    bug = f"A bug in Mayfly: {type(error).__name__}: {error}. MAYFLY_DEBUG=1 shows where it happened."
    return f"{bug}\nThe VM may still be on: look at it, or run again with the same --key.", EXIT_OWED


def _leave(code: int) -> None:
    """Leave now. Threads may still wait for Google's answers; nobody needs these any more."""
    with suppress(OSError):  # nobody reads them any more
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


@emulator.callback(invoke_without_command=True)
def _emulator(
    context: typer.Context,
    *,
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="On 127.0.0.1; 0 takes a free one.")
    ] = 8475,
    latency: Annotated[
        str, typer.Option(metavar="NAME", help="How long things take: instant, brisk or realistic.")
    ] = "brisk",
    latency_file: Annotated[Path | None, typer.Option(metavar="FILE", help="TOML that changes some of them.")] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Begin with a project, a VM, a static IP and a key.")] = False,
    empty: Annotated[bool, typer.Option("--empty", help="Begin with a new project: nothing in it, no API on.")] = False,
    forward: Annotated[
        list[int] | None, typer.Option(metavar="PORT", help="A port that the static IP leads to (8000).")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the VMs' disks are. Default: .mayfly/emulator-PORT.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="NUMBER", help="Of the random latencies and ids.")] = 0,
    containers: Annotated[str, typer.Option(metavar="HOW", help="Cloud Run's tasks: process or docker.")] = "process",
) -> None:
    if context.invoked_subcommand is None:
        options = {"port": port, "latency": latency, "latency_file": latency_file, "demo": demo, "folder": folder}
        options |= {"seed": seed, "empty": empty, "containers": containers} | (
            {"forward": tuple(forward)} if forward else {}
        )
        _serve(context, options)


def _serve(context: typer.Context, options: dict[str, Any]) -> None:
    import asyncio

    from gcp_emulator.latency import PROFILES, BadLatencyError
    from gcp_emulator.serve import NoCheckoutError, Options, UnknownContainersError, serve

    if options["latency"] not in PROFILES:
        context.fail(f"--latency {options['latency']}: there are {', '.join(PROFILES)}, and --latency-file.")
    try:
        asyncio.run(serve(Options(**options)))
    except (NoCheckoutError, BadLatencyError, UnknownContainersError, OSError) as error:  # also a port that is taken
        context.fail(str(error))


@emulator.command("env")
def _emulator_env(port: Annotated[int, typer.Option(metavar="PORT", help="The emulator's port.")] = 8475) -> None:
    """Print the exports for clients.

    They point Mayfly, gcloud and Google's libraries at the emulator, once the shell has evaluated them:
    eval "$(mayfly emulator env)"
    """
    from gcp_emulator.exports import as_shell, demo_exports, exports

    typer.echo(as_shell(exports(port) | demo_exports()), nl=False)


@app.command("demo", hidden=True)
def _demo() -> None:
    """The whole of it, on this machine: emulator, VM, a real recording, a real transcript, and the proof."""
    from mayfly.demo import demo

    raise typer.Exit(demo())
