"""`mayfly status`: how things stand, for a person or as JSON."""
# ruff: noqa: PLC0415 - see cli: --help is there at once

import sys
from typing import Annotated

import typer


def status(
    *,
    project: Annotated[str | None, typer.Option(metavar="PROJECT", help="PROJECT_ID for this once.")] = None,
    zone: Annotated[str | None, typer.Option(metavar="ZONE", help="ZONE for this once.")] = None,
    instance: Annotated[str | None, typer.Option(metavar="NAME", help="INSTANCE for this once.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, also on a terminal.")] = False,
) -> int:
    """How things stand: the VM, its IP, who holds the lease, the run, how the last ones ended, the next tick.

    It only looks.
    """
    import asyncio

    from mayfly.configured import configured
    from mayfly.standing import standing_of
    from mayfly.status_view import as_lines, as_one_line

    config = configured(project_id=project, zone=zone, instance=instance)
    standing = asyncio.run(standing_of(config))
    if as_json or not sys.stdout.isatty():
        typer.echo(as_one_line(standing, config.settings))
    else:
        typer.echo("\n".join(as_lines(standing, config.settings)))
    return 0
