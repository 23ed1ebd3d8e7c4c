"""`mayfly logs`: what a run printed, from wherever it is now."""
# ruff: noqa: PLC0415 - see cli: --help is there at once

from pathlib import Path
from typing import Annotated

import typer


def logs(
    key: Annotated[
        str | None, typer.Argument(metavar="RUN_KEY", show_default=False, help="Of this run. Default: the last one.")
    ] = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until the run has ended.")] = False,
    remote: Annotated[
        bool, typer.Option("--remote", help="What the deployed Cloud Run job said, as Cloud Logging has it.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where `mayfly run --out` copied it. Default: OUT.")
    ] = None,
    project: Annotated[str | None, typer.Option(metavar="PROJECT", help="PROJECT_ID for this once.")] = None,
    zone: Annotated[str | None, typer.Option(metavar="ZONE", help="ZONE for this once.")] = None,
    instance: Annotated[str | None, typer.Option(metavar="NAME", help="INSTANCE for this once.")] = None,
) -> int:
    """What a run printed: from the agent while the VM is on, else from where --out copied it.

    With --remote: what the orchestrator in Cloud Run said of it, the job's lines among it.
    """
    import asyncio

    from mayfly.configured import configured
    from mayfly.logs import local_log, remote_log

    config = configured(project_id=project, zone=zone, instance=instance, out=out)
    asyncio.run((remote_log if remote else local_log)(config, key, follow=follow))
    return 0
