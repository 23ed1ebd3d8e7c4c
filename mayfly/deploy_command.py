"""`mayfly deploy` and `mayfly destroy`: a project set up from mayfly.toml, and taken down again."""
# ruff: noqa: PLC0415 - see cli: --help is there at once

import json
import os
import sys
from collections.abc import Coroutine, Sequence, Set
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

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
    agree = _Agreement(config, f"Do this in {config.project}?", ask=_is_asked(yes=yes), dry_run=dry_run)
    agree.unseen_only = None if yes or not values else set(values)

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
    ip = f", and the IP {config.settings.static_name} for good" if config.settings.static_name else ""
    question = f"Remove all this from {config.project}, with what the VM's disk and the secrets hold{ip}?"
    agree = _Agreement(config, question, ask=not yes, dry_run=dry_run)

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

    def __init__(self, config: "Config", question: str, *, ask: bool, dry_run: bool) -> None:
        self._config, self._question, self._ask, self._dry_run = config, question, ask, dry_run
        self.unseen_only: Set[str] | None = None  # the secrets, if what is to be done may be about nothing else
        self.told = False

    def __call__(self, steps: "Sequence[Step]") -> bool:
        if self._dry_run:
            return False
        if self.unseen_only is not None and any(_is_more(step, self.unseen_only) for step in steps):
            self._refuse_unseen(steps)
        if not self._ask:
            return True
        self.told = True
        typer.echo(_plan(self._config, steps), err=True)
        return typer.confirm(self._question, default=False, err=True)

    def _refuse_unseen(self, steps: "Sequence[Step]") -> NoReturn:
        """Standard input is the secret, so whoever is there could not answer."""
        from orchestrator.errors import BadUsage

        typer.echo(_plan(self._config, steps), err=True)
        raise BadUsage(
            "There is more to do than the secret, and with --secret nobody can be asked: `mayfly deploy` first, which "
            "asks, or --yes. Nothing was touched."
        )


def _is_more(step: "Step", secrets: Set[str]) -> bool:
    about = {(kind, name) for name in secrets for kind in ("secret", "value of the secret")}
    about |= {("permissions", f"on the secret {name}") for name in secrets}
    return step.does_something and (step.kind, step.name) not in about


def _plan(config: "Config", steps: "Sequence[Step]", kept: str | None = None) -> str:
    """Where, and what; only the sum of it if there is nothing to do."""
    from mayfly.deploy.plan import AS_WANTED, in_words

    lines = list(in_words(steps, kept or AS_WANTED))
    if any(step.does_something for step in steps):
        lines.insert(0, f"Project {config.project}, zone {config.settings.zone}:")
    return "\n".join(lines)


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
    from mayfly.deploy.plan import summary

    if as_json:
        said = {"project": config.project, "done": done, "steps": steps_as_json(steps), "advice": list(advice)}
        typer.echo(json.dumps(said))
        return
    typer.echo(summary(steps, kept=kept, done=done) if done or told else _plan(config, steps, kept))
    for line in advice:
        typer.echo(line)
