"""`mayfly run` and `mayfly test`: the same options for both, for the one rehearses the other."""
# ruff: noqa: PLC0415 - see cli: --help is there at once

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer


def order_of(mode: str) -> Callable[..., int]:
    """The command of that mode: `run` or `test`."""

    def order(
        context: typer.Context,
        *,
        job: Annotated[
            str | None,
            typer.Argument(
                metavar="JOB",
                show_default=False,
                help="module:function, or image:REF (its arguments after --). Or end with: -- a command. "
                "Default: MAYFLY_JOB, else the VM's own.",
            ),
        ] = None,
        set_: Annotated[
            list[str] | None,
            typer.Option(
                "--set",
                metavar="NAME=VALUE",
                help="A param of the job; the value is JSON or else text. "
                "Dots make groups: a.b=1. May be given several times.",
            ),
        ] = None,
        params: Annotated[
            str | None, typer.Option(metavar="FILE", help="Params as a JSON file, or - for stdin.")
        ] = None,
        key: Annotated[
            str | None,
            typer.Option(
                metavar="KEY",
                help="The run key: the same key is never started twice. "
                "Default: --once-per, else Cloud Run's execution, else new.",
            ),
        ] = None,
        once_per: Annotated[
            str | None, typer.Option(metavar="1h|1d", help="One run per window of time, however often it is asked for.")
        ] = None,
        tz: Annotated[str | None, typer.Option(metavar="ZONE", help="The time zone of --once-per: Asia/Seoul.")] = None,
        on_interrupt: Annotated[
            str | None, typer.Option(metavar="fail|rerun", help="What to do about a run that was cut off.")
        ] = None,
        wait_for_lease: Annotated[
            str | None, typer.Option(metavar="SPAN", help="How long to wait for another run on the VM. Default: not.")
        ] = None,
        timeout: Annotated[
            str | None, typer.Option(metavar="SPAN", help="How long the job may take: 90s, 45m, 2h.")
        ] = None,
        out: Annotated[
            Path | None, typer.Option(metavar="DIR", help="Where the job's files and its log are copied to.")
        ] = None,
        project: Annotated[str | None, typer.Option(metavar="PROJECT", help="PROJECT_ID for this once.")] = None,
        region: Annotated[str | None, typer.Option(metavar="REGION", help="REGION for this once.")] = None,
        zone: Annotated[str | None, typer.Option(metavar="ZONE", help="ZONE for this once.")] = None,
        instance: Annotated[str | None, typer.Option(metavar="NAME", help="INSTANCE for this once.")] = None,
        template: Annotated[
            str | None,
            typer.Option(metavar="NAME", help="Make the VM from this instance template, and delete it afterwards."),
        ] = None,
        static_name: Annotated[str | None, typer.Option(metavar="NAME", help="STATIC_NAME for this once.")] = None,
        remote: Annotated[
            bool,
            typer.Option(
                "--remote",
                help="In the deployed Cloud Run job; look on from here. Ctrl-C leaves it to itself, the same --key "
                "looks on again.",
            ),
        ] = False,
        as_json: Annotated[bool, typer.Option("--json", help="The receipt as JSON, also on a terminal.")] = False,
        debug: Annotated[
            bool, typer.Option("--debug", envvar="MAYFLY_DEBUG", help="Tracebacks, for bugs in Mayfly.")
        ] = False,
        cloud_run: Annotated[str | None, typer.Option(envvar="CLOUD_RUN_JOB", hidden=True)] = None,
    ) -> int:
        flags = {"timeout": timeout, "out": out, "project_id": project, "region": region, "zone": zone}
        flags |= {"instance": instance, "static_name": static_name, "template": template, "cloud_run_job": cloud_run}
        flags |= {"once_per": once_per, "tz": tz, "on_interrupt": on_interrupt, "wait_for_lease": wait_for_lease}
        wanted = {"mode": mode, "job": job, "command": context.obj, "set": set_ or [], "params": params, "key": key}
        del debug
        return (_carry_out_remote if remote else _carry_out)(flags, wanted, as_json=as_json)

    return order


def _carry_out(flags: dict[str, Any], wanted: dict[str, Any], *, as_json: bool) -> int:
    from mayfly.carry_out import carry_out
    from mayfly.order import read_order
    from orchestrator.settings_reading import read_settings

    order = read_order(**wanted)
    return carry_out(read_settings(**flags), order, as_json=as_json)


def _carry_out_remote(flags: dict[str, Any], wanted: dict[str, Any], *, as_json: bool) -> int:
    from mayfly.configured import configured
    from mayfly.order import read_order
    from mayfly.remote_run import RemoteOrder, carry_out_remote

    order = read_order(**wanted)
    config = configured(**flags)
    names = {name: "project" if name == "project_id" else name.replace("_", "-") for name in flags}
    given = {names[name]: value for name, value in flags.items() if name != "cloud_run_job"}
    return carry_out_remote(config, RemoteOrder(order, wanted["job"], wanted["command"], given), as_json=as_json)
