"""`mayfly init`: a mayfly.toml by asking."""
# ruff: noqa: PLC0415 - see cli: --help is there at once

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer


def init(
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing; take what would be suggested.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over a mayfly.toml that is there.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="MAYFLY_DEBUG", help="Tracebacks, for bugs in Mayfly.")
    ] = False,
) -> int:
    """Write mayfly.toml: the names of project, VM and IP, asked for; all else is in it with its meaning.

    Suggests what the environment, gcloud's settings and the git checkout here say. Under an emulator: its names.
    """
    from mayfly.deploy.document import document
    from orchestrator.settings_file import TOML_FILE

    del debug
    at_terminal = sys.stdin.isatty()
    _check_overwriting(TOML_FILE, at_terminal=at_terminal and not yes, force=force)
    TOML_FILE.write_text(
        document(_answers(os.environ, ask=at_terminal and not yes, given_up=not (at_terminal or yes))), "utf-8"
    )
    typer.echo(f"{TOML_FILE} is written. What it would make: mayfly deploy --dry-run")
    return 0


def _check_overwriting(file: Path, *, at_terminal: bool, force: bool) -> None:
    from orchestrator.errors import BadUsage

    if not file.exists() or force:
        return
    if not (at_terminal and typer.confirm(f"{file} is there already. Write over it?", default=False, err=True)):
        raise BadUsage(f"{file} is there already, and was left as it is. --force writes over it.")


def _answers(environment: Mapping[str, str], *, ask: bool, given_up: bool) -> dict[str, Any]:
    from mayfly.deploy.asking import asked, suggested_project, under_the_emulator
    from orchestrator.errors import BadUsage

    if given_up:
        raise BadUsage("There is nobody to ask here: --yes takes what would be suggested.")
    if not ask and environment.get("RUN_EMULATOR_HOST"):
        return under_the_emulator(environment, _who_am_i(environment.get("GCE_METADATA_HOST", "")))
    if not ask and not suggested_project(environment, Path.home()):
        raise BadUsage(
            "Which project? Neither PROJECT_ID nor gcloud's settings name one: PROJECT_ID=... mayfly init --yes"
        )

    def answer(question: str, suggested: str) -> str:
        return str(typer.prompt(question, default=suggested, err=True)) if ask else suggested

    return asked(answer, environment, Path.home(), Path.cwd())


def _who_am_i(metadata_host: str) -> str:
    import httpx

    from orchestrator.errors import BadUsage

    url = f"http://{metadata_host}/computeMetadata/v1/instance/service-accounts/default/email"
    try:
        return httpx.get(url, headers={"Metadata-Flavor": "Google"}).raise_for_status().text
    except httpx.HTTPError as error:
        raise BadUsage(f"Nothing answers at {url}: start the emulator, or unset RUN_EMULATOR_HOST.") from error
