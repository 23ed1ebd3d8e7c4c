"""`mayfly call`: a file to a service, its run to the end, and the files that it wrote back here."""
# ruff: noqa: PLC0415 - see cli: --help is there at once

import hashlib
import json
import os
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from mayfly.client import Client
    from vm_agent.protocol import Job, RunView


def call(
    url: Annotated[str, typer.Argument(metavar="URL", help="Of the gateway, or of the service itself.")],
    *,
    file: Annotated[Path | None, typer.Option(metavar="FILE", help="A file to bring; --as names its param.")] = None,
    as_: Annotated[str, typer.Option("--as", metavar="PARAM", help="The param that names the file.")] = "audio",
    key_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="The environment variable that holds the X-API-Key.")
    ] = None,
    job: Annotated[
        str | None, typer.Option(metavar="JOB", help="module:function. Default: the service's own MAYFLY_JOB.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A param, as for `mayfly run`.")
    ] = None,
    params: Annotated[str | None, typer.Option(metavar="FILE", help="Params as a JSON file, or - for stdin.")] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the run's files go.")] = Path(),
    key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="The run key. Default: of file, job and params, so the same call is one run."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="A new run, also if the same call has had one.")] = False,
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", min=1, help="How long the run may take.")] = None,
    patience: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="How long to try when the service does not answer.")
    ] = 300,
    certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Trust this certificate, or CA (PEM), and no other.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The outcome as JSON, also on a terminal.")] = False,
) -> int:
    """Bring a file to a service, follow its run, and fetch what it wrote.

    A connection that breaks is taken up again, and the same call is the same run: call again to go on following it.
    """
    from mayfly.client import Client
    from mayfly.following import shown
    from mayfly.order import read_order

    order = read_order("run", job, None, set=set_ or [], params=params, key=key)
    with Client(url, _secret(key_env), patience_seconds=patience, certificate=certificate) as client, shown() as show:
        run_key = uuid.uuid4().hex if again else order.key or _key(file, order.job, order.params)
        found = client.known(run_key)
        if not found:
            named = {as_: client.upload(file, show.sent)} if file else {}
            found = client.start({**order.params, **named}, key=run_key, job=order.job, timeout_seconds=timeout)
        view = client.follow(found.id, show.news)
        return _told(view, _fetched(client, view, out), as_json=as_json or not sys.stdout.isatty())


def _secret(name: str | None) -> str | None:
    from orchestrator.errors import BadUsage

    if name is None:
        return None
    secret = os.environ.get(name, "").strip()
    if not secret:
        raise BadUsage(f"--key-env {name}: that environment variable is not set.")
    if not (secret.isascii() and secret.isprintable()):
        raise BadUsage(f"--key-env {name}: that is no key, it has characters that no header can have.")
    return secret


def _key(file: Path | None, job: "Job | None", params: dict[str, Any]) -> str:
    """The same for the same call."""
    from mayfly.client import opened

    with opened(file) as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    meaning = [digest, file.name if file else "", job.model_dump() if job else None, params]
    return f"call-{hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:32]}"


def _fetched(client: "Client", view: "RunView", out: Path) -> list[Path]:
    from vm_agent.protocol import State

    return client.fetch(view.id, out) if view.state in {State.SUCCEEDED, State.FAILED, State.TIMED_OUT} else []


def _told(view: "RunView", files: list[Path], *, as_json: bool) -> int:
    from mayfly.following import exit_of

    code, detail = exit_of(view.state), view.failure.detail if view.failure else None
    if as_json:
        said = {"run_key": view.key, "run": view.id, "outcome": view.state.lower(), "exit_code": int(code)}
        said |= {"detail": detail, "result": view.result, "files": [str(file) for file in files]}
        typer.echo(json.dumps(said))
    else:
        typer.echo(f"{view.state.lower()}{f': {detail}' if detail else ''}")
        for file in files:
            typer.echo(f"  {file}")
    return int(code)
