"""What the agent is told from outside: the only place where its environment is read."""

import os
import re
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vm_agent import policy
from vm_agent.containers import terms
from vm_agent.egress import Echo
from vm_agent.job_user import JobUser, NoSuchUser, job_user
from vm_agent.protocol import CERTS_URL, CommandJob, FunctionJob, ImageJob, Job, Mode
from vm_agent.wall import METADATA_HOST, Wall

_AUTH = ("id-token", "api-key", "both")
_EMAIL = re.compile(r"[!-~]+@[!-~]+")
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
# A job has no business commanding the agent. One that is the agent's own user could still read the key in /proc and in
# agent.env: MAYFLY_JOB_USER makes it another.
_WITHHELD = frozenset({"MAYFLY_API_KEY"})


class BadSetting(Exception):
    """A setting is missing or wrong."""


@dataclass(frozen=True)
class Settings:
    """One field for each setting; see from_environment for their names."""

    callers: frozenset[str] | None  # whose ID tokens open the door; None: no token does
    api_keys: tuple[str, ...]  # each of them opens it; none: no key does
    certs_url: str
    service: bool  # we are a Cloud Run service, not a VM
    upload_bytes_max: int
    state: Path
    app: Path
    root: Path
    port: int
    metadata_host: str | None
    tls: bool
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
    containers: terms.Terms

    @property
    def emulated(self) -> bool:
        """Whether this machine is a folder on another one, whose control groups and power button are not ours."""
        return self.root != Path("/")


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings, or BadSetting."""
    service = _yes(environment, "MAYFLY_SERVICE")
    auth = _auth(environment, service=service)
    root = Path(environment.get("MAYFLY_ROOT") or "/").resolve()
    user = _job_user(environment.get("MAYFLY_JOB_USER", ""))
    home = Path(tempfile.gettempdir(), "mayfly") if service else root / "var/lib/mayfly"
    app = Path(environment.get("MAYFLY_APP") or (Path.cwd() if service else root / "opt/mayfly/src")).resolve()
    return Settings(
        callers=None if auth == "api-key" else _callers(environment.get("MAYFLY_CALLERS", ""), auth),
        api_keys=() if auth == "id-token" else _api_keys(environment, auth, service=service),
        certs_url=environment.get("MAYFLY_CERTS_URL") or CERTS_URL,
        service=service,
        upload_bytes_max=_bytes(environment, "MAYFLY_UPLOAD_BYTES_MAX", policy.UPLOAD_BYTES_MAX),
        state=Path(environment.get("MAYFLY_STATE") or home).resolve(),
        app=app,
        root=root,
        port=_port((service and environment.get("PORT")) or environment.get("AGENT_PORT") or "8000"),
        metadata_host=environment.get("GCE_METADATA_HOST") or None,
        tls=_tls(environment.get("MAYFLY_TLS", "")),
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
        containers=_containers(environment),
    )


def _auth(environment: Mapping[str, str], *, service: bool) -> str:
    auth = environment.get("MAYFLY_AUTH") or ("api-key" if service else "id-token")
    if auth not in _AUTH:
        raise BadSetting(f"MAYFLY_AUTH is {auth!r}, neither {', '.join(_AUTH[:-1])} nor {_AUTH[-1]}")
    if service and auth != "api-key":
        raise BadSetting(f"MAYFLY_AUTH={auth} is for a VM: in front of a service, Cloud Run itself checks ID tokens")
    return auth


def _callers(text: str, auth: str) -> frozenset[str]:
    callers = re.split(r"[,\s]+", text.strip(", \t\r\n"))
    if callers == [""]:
        raise BadSetting(
            f"MAYFLY_CALLERS is not set, and MAYFLY_AUTH is {auth}: nobody could call. Set the VM's metadata "
            "mayfly-callers to the email of the service account that the orchestrator runs as"
        )
    if wrong := [caller for caller in callers if not _EMAIL.fullmatch(caller)]:
        raise BadSetting(f"MAYFLY_CALLERS: {wrong[0]!r} is not an email")
    return frozenset(callers)


def _api_keys(environment: Mapping[str, str], auth: str, *, service: bool) -> tuple[str, ...]:
    """One a line, so that two are valid while callers change to the next. None at all: Cloud Run keeps others out."""
    keys = tuple(line.strip() for line in environment.get("MAYFLY_API_KEY", "").splitlines() if line.strip())
    if not keys and not service:
        raise BadSetting(f"MAYFLY_API_KEY is not set, and MAYFLY_AUTH is {auth}: nobody could show a key")
    if not keys and not environment.get("K_SERVICE"):
        raise BadSetting(
            "MAYFLY_API_KEY is not set: without a way to authenticate the agent would obey anybody (there is no "
            "K_SERVICE, so this is not Cloud Run, which would keep others out)"
        )
    return keys


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


def _tls(choice: str) -> bool:
    if choice not in {"", "pinned", "off"}:
        raise BadSetting(f"MAYFLY_TLS is {choice!r}, neither pinned nor off")
    return choice != "off"


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
        job = _job(spec)
    except ValueError as problem:
        raise BadSetting(
            f"MAYFLY_JOB is {spec!r}, neither module:function nor image:REF nor a command: {problem}"
        ) from problem
    return dict.fromkeys(Mode, job)


def _job(spec: str) -> Job:
    if _FUNCTION.fullmatch(spec) and not spec.startswith("image:"):
        return FunctionJob(function=spec)
    first, *others = shlex.split(spec)
    if first.startswith("image:"):
        return ImageJob(image=first.removeprefix("image:"), arguments=others)
    return CommandJob(command=[first, *others])


def _containers(environment: Mapping[str, str]) -> terms.Terms:
    try:
        return terms.from_environment(environment)
    except ValueError as problem:
        raise BadSetting(str(problem)) from problem
