"""`mayfly doctor`: what would go wrong, and what mends it."""
# ruff: noqa: PLC0415 - see cli: --help is there at once

import sys
from typing import Annotated

import typer


def doctor(
    *,
    project: Annotated[str | None, typer.Option(metavar="PROJECT", help="PROJECT_ID for this once.")] = None,
    zone: Annotated[str | None, typer.Option(metavar="ZONE", help="ZONE for this once.")] = None,
    instance: Annotated[str | None, typer.Option(metavar="NAME", help="INSTANCE for this once.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, also on a terminal.")] = False,
) -> int:
    """Look at everything that a run rests on: settings, permissions, VM, IP, firewall, secrets, job, schedules.

    Says of each fact whether it is well, and how to mend what is not. Changes nothing, starts nothing. Exit code 1 if
    something would keep a run from going well, or costs money that it need not; else 0.
    """
    import asyncio

    from rich.console import Console

    from mayfly.configured import configured
    from mayfly.doctor.examine import examine
    from mayfly.doctor.report import as_lines, as_one_line, exit_code
    from orchestrator.clock import SystemClock

    flags = {"project_id": project, "zone": zone, "instance": instance}
    examined = asyncio.run(examine(lambda: configured(**flags), SystemClock()))
    if as_json or not sys.stdout.isatty():
        typer.echo(as_one_line(examined))
    else:
        console = Console()
        for line in as_lines(examined):
            console.print(line, soft_wrap=True, highlight=False)
    return exit_code(examined)
