"""What the agent is told from outside: the only place where its environment is read."""

import os
import re
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vm_agent import policy
from vm_agent.egress import Echo
from vm_agent.job_user import JobUser, NoSuchUser, job_user
from vm_agent.protocol import CommandJob, FunctionJob, Job, Mode
from vm_agent.wall import METADATA_HOST, Wall

_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
# A job has no business commanding the agent. One that is the agent's own user could still read the key in /proc and in
# agent.env: MAYFLY_JOB_USER makes it another.
_WITHHELD = frozenset({"MAYFLY_API_KEY"})


class BadSetting(Exception):
    """A setting is missing or wrong."""


@dataclass(frozen=True)
class Settings:
    """One field for each setting; see from_environment for their names."""

    api_key: str  # "": Cloud Run lets nobody in who may not invoke the service
    service: bool  # we are a Cloud Run service, not a VM
    upload_bytes_max: int
    state: Path
    app: Path
    root: Path
    port: int
    metadata_host: str | None
    jobs: Mapping[Mode, Job]
    gpu_required: bool
    stop_grace_seconds: float
    silence_seconds: float
    poweroff: Sequence[str] | None
    echo: Echo | None
    hosts: frozenset[str]
    job_user: JobUser | None
    job_wall: Wall | None
    job_environment: Mapping[str, str]

    @property
    def emulated(self) -> bool:
        """Whether this machine is a folder on another one, whose control groups and power button are not ours."""
        return self.root != Path("/")


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings, or BadSetting."""
    service, api_key = _yes(environment, "MAYFLY_SERVICE"), environment.get("MAYFLY_API_KEY", "").strip()
    if not api_key and not (service and environment.get("K_SERVICE")):
        raise BadSetting(
            "MAYFLY_API_KEY is not set: without a way to authenticate the agent would obey anybody"
            + (" (there is no K_SERVICE, so this is not Cloud Run, which would keep others out)" if service else "")
        )
    root = Path(environment.get("MAYFLY_ROOT") or "/").resolve()
    user = _job_user(environment.get("MAYFLY_JOB_USER", ""))
    home = Path(tempfile.gettempdir(), "mayfly") if service else root / "var/lib/mayfly"
    app = Path(environment.get("MAYFLY_APP") or (Path.cwd() if service else root / "opt/mayfly/src")).resolve()
    return Settings(
        api_key=api_key,
        service=service,
        upload_bytes_max=_bytes(environment, "MAYFLY_UPLOAD_BYTES_MAX", policy.UPLOAD_BYTES_MAX),
        state=Path(environment.get("MAYFLY_STATE") or home).resolve(),
        app=app,
        root=root,
        port=_port((service and environment.get("PORT")) or environment.get("AGENT_PORT") or "8000"),
        metadata_host=environment.get("GCE_METADATA_HOST") or None,
        jobs=_jobs(environment.get("MAYFLY_JOB", "")),
        gpu_required=_yes(environment, "MAYFLY_REQUIRE_GPU"),
        stop_grace_seconds=_seconds(
            environment, "MAYFLY_STOP_GRACE_SECONDS", policy.STOP_GRACE_SECONDS, 0, policy.STOP_GRACE_SECONDS_MAX
        ),
        silence_seconds=_seconds(
            environment,
            "MAYFLY_DEADMAN_SILENCE_SECONDS",
            policy.DEADMAN_SILENCE_SECONDS,
            policy.DEADMAN_SILENCE_SECONDS_MIN,
            policy.DEADMAN_SILENCE_SECONDS_MAX,
        ),
        poweroff=shlex.split(environment.get("MAYFLY_POWEROFF", "")) or None,
        echo=_echo(environment.get("MAYFLY_EGRESS_ECHO", "")),
        hosts=frozenset(environment.get("MAYFLY_HOSTS", "").replace(",", " ").split()),
        job_user=user,
        job_wall=_wall(environment, user),
        job_environment={name: value for name, value in environment.items() if name not in _WITHHELD},
    )


def _job_user(name: str) -> JobUser | None:
    try:
        return job_user(name)
    except NoSuchUser as problem:
        raise BadSetting(f"MAYFLY_JOB_USER: {problem}") from problem


def _wall(environment: Mapping[str, str], user: JobUser | None) -> Wall | None:
    """What cannot be had is refused: a job that should be cut off must not run with the VM's service account."""
    choice = environment.get("MAYFLY_JOB_METADATA") or "allow"
    if choice not in {"allow", "deny"}:
        raise BadSetting(f"MAYFLY_JOB_METADATA is {choice!r}, neither allow nor deny")
    if choice == "allow":
        return None
    if user is None:
        raise BadSetting("MAYFLY_JOB_METADATA=deny needs MAYFLY_JOB_USER: jobs are cut off by the user whose they are")
    if (host := environment.get("GCE_METADATA_HOST") or METADATA_HOST) != METADATA_HOST:
        raise BadSetting(f"MAYFLY_JOB_METADATA=deny cuts off {METADATA_HOST}, but GCE_METADATA_HOST is {host}")
    return Wall(user.uid)


def _echo(url: str) -> Echo | None:
    try:
        return Echo(url) if url else None
    except ValueError as problem:
        raise BadSetting(f"MAYFLY_EGRESS_ECHO: {problem}") from problem


def _yes(environment: Mapping[str, str], name: str) -> bool:
    return environment.get(name, "").strip().lower() in {"1", "true", "yes"}


def _bytes(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "").strip()
    if text and not (text.isascii() and text.isdigit()):
        raise BadSetting(f"{name} is {text!r}, not a number of bytes")
    return int(text) if text else default


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:  # noqa: PLR2004 - TCP's own limit
        raise BadSetting(f"AGENT_PORT is {text!r}, not a port number")
    return int(text)


def _seconds(environment: Mapping[str, str], name: str, default: float, least: float, most: float) -> float:
    text = environment.get(name, "")
    try:
        seconds = float(text) if text.strip() else default
    except ValueError:
        seconds = -1.0
    if not least <= seconds <= most:
        raise BadSetting(f"{name} is {text!r}, not a number of seconds from {least:.0f} to {most:.0f}")
    return seconds


def _jobs(spec: str) -> Mapping[Mode, Job]:
    """The default job of each mode: the original's pair main:run and main:test; any other spec is the job of both."""
    if spec.strip() in {"", "main:run"}:
        return {mode: FunctionJob(function=f"main:{mode}") for mode in Mode}
    try:
        job = FunctionJob(function=spec) if _FUNCTION.fullmatch(spec) else CommandJob(command=shlex.split(spec))
    except ValueError as problem:
        raise BadSetting(f"MAYFLY_JOB is {spec!r}, neither module:function nor a command: {problem}") from problem
    return dict.fromkeys(Mode, job)
