"""What the command line asks for: the job and its parameters, read from what a person typed."""

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.errors import BadUsage
from vm_agent.protocol import PARAMS_BYTES_MAX, CommandJob, FunctionJob, ImageJob, Job, Mode

_KEY_CHARACTERS = 200
_KEY = rf"[A-Za-z0-9._:/+-]{{1,{_KEY_CHARACTERS}}}"  # it travels in a header


@dataclass(frozen=True)
class Order:
    """What a person asked for, in the run's own terms."""

    mode: Mode
    job: Job | None
    params: dict[str, Any]
    key: str | None = None


def read_order(
    mode: str,
    job: str | None,
    command: Sequence[str] | None,
    *,
    set: Sequence[str] = (),  # noqa: A002 - as the option is called
    params: str | None = None,
    key: str | None = None,
) -> Order:
    """The order in what was typed, or BadUsage."""
    if key is not None and not re.fullmatch(_KEY, key):
        raise BadUsage(f"--key {key!r}: write letters, digits and . _ : / + - only, {_KEY_CHARACTERS} at most.")
    return Order(Mode(mode), read_job(job, command), read_params(set, params), key)


def read_job(spec: str | None, command: Sequence[str] | None) -> Job | None:
    """The job that JOB or the words after `--` name; None leaves the choice to the VM's own default."""
    if spec is not None and spec.startswith("image:"):
        return _container(spec, command or ())
    if command is not None:
        if spec is not None:
            raise BadUsage(f"Give a job ({spec}) or a command after --, not both.")
        if not command:
            raise BadUsage("After -- comes the command to run on the VM, for example: mayfly run -- python train.py")
        return CommandJob(command=list(command))
    if spec is None:
        return None
    try:
        return FunctionJob(function=spec)
    except ValidationError:
        raise BadUsage(
            f"{spec!r} is no job. Write module:function, for example vm_agent.jobs.transcribe:run, "
            "or image:REF for a container, or put a command after --."
        ) from None


def _container(spec: str, arguments: Sequence[str]) -> Job:
    try:
        return ImageJob(image=spec.removeprefix("image:"), arguments=list(arguments))
    except ValidationError:
        raise BadUsage(
            f"{spec!r} names no image. Write image:[HOST/]PATH[:TAG][@sha256:DIGEST], for example "
            "image:europe-docker.pkg.dev/my-project/jobs/train:v3, and its arguments after --."
        ) from None


def read_params(settings: Sequence[str], file: str | None) -> dict[str, Any]:
    """The params in the JSON `file` ("-" is stdin), and over them each `name=value` of `settings`."""
    params = _from_file(file) if file else {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not (name and equals):
            raise BadUsage(f"--set {setting}: write name=value, for example --set language=en")
        _put(params, name.split("."), _typed(value), setting)
    if len(json.dumps(params).encode()) > PARAMS_BYTES_MAX:
        raise BadUsage(f"The params are larger than {PARAMS_BYTES_MAX >> 20} MiB. Send a path or a URL, not data.")
    return params


def _from_file(file: str) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        params = json.loads(text, parse_constant=_no_number)
    except OSError as unreadable:
        raise BadUsage(f"--params {file}: {unreadable.strerror}.") from unreadable
    except ValueError as wrong:  # of the JSON and of the encoding
        raise BadUsage(f"--params {file} is not JSON: {wrong}.") from wrong
    if not isinstance(params, dict):
        raise BadUsage(f'--params {file} must hold a JSON object, like {{"language": "en"}}.')
    return params


def _typed(value: str) -> Any:
    """JSON where it is JSON (5, true, null, ["a"], "5"), else the text as it stands."""
    try:
        return json.loads(value, parse_constant=_no_number)
    except ValueError:
        return value


def _no_number(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _put(params: dict[str, Any], path: list[str], value: Any, setting: str) -> None:
    *parents, last = path
    for parent in parents:
        params = params.setdefault(parent, {})
        if not isinstance(params, dict):
            raise BadUsage(f"--set {setting}: {parent} is a value already, not a group of them.")
    params[last] = value
