"""`mayfly cancel`: the live run is ended, and its VM seen to come down."""
# ruff: noqa: PLC0415 - see cli: --help is there at once

import json
import sys
from typing import Annotated

import typer


def cancel(
    key: Annotated[
        str | None,
        typer.Argument(metavar="KEY", show_default=False, help="Only this run, or execution. Default: the live run."),
    ] = None,
    *,
    project: Annotated[str | None, typer.Option(metavar="PROJECT", help="PROJECT_ID for this once.")] = None,
    zone: Annotated[str | None, typer.Option(metavar="ZONE", help="ZONE for this once.")] = None,
    instance: Annotated[str | None, typer.Option(metavar="NAME", help="INSTANCE for this once.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, also on a terminal.")] = False,
) -> int:
    """End the live run, wherever it is held, and wait until its VM was seen to come down.

    A run that Cloud Run executions hold, or wait for, is cancelled there; any other at the VM's agent, and its holder
    comes down by itself. Exit codes: 0 it is over, or no run was live; 6 another run is live, or without KEY one may be
    about to begin; 7 it was not seen to come down.
    """
    import asyncio

    from mayfly.audience import audience
    from mayfly.cancelling import cancel as carry_out
    from mayfly.configured import configured
    from orchestrator.events import Note

    config = configured(project_id=project, zone=zone, instance=instance)
    with audience(config.settings, panel_follows=True) as tell:
        cancelled = asyncio.run(carry_out(config, key, lambda said: tell(Note("INFO", said))))
    if as_json or not sys.stdout.isatty():
        ended = cancelled.ended
        fields = {"run_key": cancelled.key, "how": cancelled.how or None, "vm": cancelled.machine.status}
        fields |= {"outcome": ended.outcome if ended else None, "detail": cancelled.said}
        typer.echo(json.dumps(fields))
    else:
        typer.echo(cancelled.said)
    return 0
