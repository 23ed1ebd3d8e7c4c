"""`mayfly deploy` and `mayfly destroy`: a project set up from mayfly.toml, and taken down again."""
# ruff: noqa: PLC0415 - see cli: --help is there at once

import json
import os
import sys
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from mayfly.deploy.config import Config
    from mayfly.deploy.deploying import Deployed
    from mayfly.deploy.plan import Step

T = TypeVar("T")
Project = Annotated[str | None, typer.Option(metavar="PROJECT", help="PROJECT_ID for this once.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")]
Debug = Annotated[bool, typer.Option("--debug", envvar="MAYFLY_DEBUG", help="Tracebacks, for bugs in Mayfly.")]
AsJson = Annotated[bool, typer.Option("--json", help="The plan, and whether it was carried out, as JSON.")]


def deploy(
    *,
    image: Annotated[
        str | None,
        typer.Option(metavar="IMAGE", help="The orchestrator's image. An earlier digest goes back to that one."),
    ] = None,
    secret: Annotated[
        list[str] | None, typer.Option(metavar="NAME=-", help="Fill a secret of mayfly.toml from standard input.")
    ] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    project: Project = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> int:
    """Make the project as mayfly.toml says: APIs, accounts, roles, secrets, IP, VM, firewall, jobs, schedules.

    Looks first, and changes only what differs; a second one changes nothing. Safe to interrupt and to repeat. What was
    not made by it is used as it is.
    """
    from mayfly.deploy.deploying import deploy as carry_out
    from mayfly.deploy.plan import AS_WANTED
    from mayfly.google import google_of
    from orchestrator.clock import SystemClock

    del debug
    config = _config(project)
    values = _values(secret or [])
    agree = _Agreement("Do this?", ask=_is_asked(yes=yes), dry_run=dry_run)

    async def work() -> "Deployed":
        async with google_of(config.settings) as google:
            return await carry_out(
                google, SystemClock(), config, image=image, values=values, agreed=agree, tell=_progress
            )

    outcome = _to_its_end(work())
    _say(config, outcome.steps, outcome.advice, AS_WANTED, done=outcome.done, told=agree.told, as_json=as_json)
    return 0


def destroy(
    *,
    dry_run: DryRun = False,
    yes: Yes = False,
    project: Project = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> int:
    """Remove what `mayfly deploy` made: the VM with its disk, the IP, the secrets, all of it. APIs stay enabled.

    Asks first. Refuses while a run is live. What was not made by it is left alone.
    """
    from mayfly.deploy.destroying import Destruction
    from mayfly.google import google_of
    from orchestrator.clock import SystemClock
    from orchestrator.errors import BadUsage

    del debug
    config = _config(project)
    if not (dry_run or yes or _is_asked(yes=yes)):
        raise BadUsage("There is nobody to ask here: --yes removes all of it, --dry-run says what that is.")
    agree = _Agreement("Remove all this, with what the VM's disk and the secrets hold?", ask=not yes, dry_run=dry_run)

    async def work() -> "tuple[list[Step], bool]":
        async with google_of(config.settings) as google:
            return await Destruction(google, SystemClock(), config).carry_out(agree, _progress)

    steps, done = _to_its_end(work())
    _say(config, steps, [], "not there", done=done, told=agree.told, as_json=as_json)
    return 0


def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """What it returns. Who interrupts it is told that nothing is lost; a request that is under way is seen through."""
    import asyncio

    try:
        return asyncio.run(work)
    except SystemExit:
        typer.echo("mayfly: interrupted. What was done stays; the same command goes on from there.", err=True)
        raise


def _config(project: str | None) -> "Config":
    from mayfly.deploy.config import read_config
    from mayfly.ready import check_ready

    config = read_config(os.environ, project_id=project)
    check_ready(config.settings.model_copy(update={"out": None}))
    return config


def _values(given: Sequence[str]) -> dict[str, bytes]:
    """NAME=-: one of them, for there is one standard input. No value ever stands in the arguments."""
    from orchestrator.errors import BadUsage

    if not given:
        return {}
    name, equals, where = given[0].partition("=")
    if len(given) > 1 or not name or (equals, where) != ("=", "-"):
        raise BadUsage(
            "--secret is written NAME=-, once: the value comes from standard input, never from the arguments."
        )
    value = sys.stdin.buffer.read().removesuffix(b"\n")
    if not value:
        raise BadUsage(f"--secret {name}=-: standard input is empty.")
    return {name: value}


def _is_asked(*, yes: bool) -> bool:
    return not yes and sys.stdin.isatty() and sys.stderr.isatty()


class _Agreement:
    """Shows the plan to whoever is there, and asks."""

    def __init__(self, question: str, *, ask: bool, dry_run: bool) -> None:
        self._question, self._ask, self._dry_run = question, ask, dry_run
        self.told = False

    def __call__(self, steps: "Sequence[Step]") -> bool:
        from mayfly.deploy.plan import in_words

        if self._dry_run or not self._ask:
            return not self._dry_run
        self.told = True
        typer.echo("\n".join(in_words(steps)), err=True)
        return typer.confirm(self._question, default=False, err=True)


def _progress(step: "Step", number: int, count: int, waits: str) -> None:
    from mayfly.deploy.plan import SIGNS

    if waits:
        typer.echo(f"      waiting: {waits}", err=True)
        return
    typer.echo(f"[{number:>{len(str(count))}}/{count}] {SIGNS[step.action]} {step.kind} {step.name}", err=True)


def _say(
    config: "Config",
    steps: "Sequence[Step]",
    advice: Sequence[str],
    kept: str,
    *,
    done: bool,
    told: bool,
    as_json: bool,
) -> None:
    """On standard output: the plan if it was not carried out, what was done if it was."""
    from mayfly.deploy.plan import as_json as steps_as_json
    from mayfly.deploy.plan import in_words, summary

    if as_json:
        said = {"project": config.project, "done": done, "steps": steps_as_json(steps), "advice": list(advice)}
        typer.echo(json.dumps(said))
        return
    typer.echo(summary(steps, kept=kept, done=done) if done or told else "\n".join(in_words(steps, kept)))
    for line in advice:
        typer.echo(line)
