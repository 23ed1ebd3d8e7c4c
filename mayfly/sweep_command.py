"""`mayfly sweep`: what others left is finished."""
# ruff: noqa: PLC0415 - see cli: --help is there at once

from typing import Annotated

import typer


def sweep(
    *,
    project: Annotated[str | None, typer.Option(metavar="PROJECT", help="PROJECT_ID for this once.")] = None,
    zone: Annotated[str | None, typer.Option(metavar="ZONE", help="This zone only. Default: all zones.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The receipt as JSON, also on a terminal.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="MAYFLY_DEBUG", help="Tracebacks, for bugs in Mayfly.")
    ] = False,
    cloud_run: Annotated[str | None, typer.Option(envvar="CLOUD_RUN_JOB", hidden=True)] = None,
) -> int:
    """Finish what others left: VMs of all zones that a dead run left on, and the addresses on them.

    Acts only on what carries the label mayfly=managed, whose lease has run out, and on which no run is live.
    """
    from mayfly.sweeping import carry_out_sweep
    from orchestrator.settings_reading import read_settings
    from orchestrator.sweep_settings import SweepSettings

    del debug
    settings = read_settings(SweepSettings, project_id=project, cloud_run_job=cloud_run)
    return carry_out_sweep(settings, zone=zone, dry_run=dry_run, as_json=as_json)
