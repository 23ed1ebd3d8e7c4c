"""The Cloud Run jobs: the orchestrator, and the sweeper. Same image, same settings, other words and account."""

import re
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any

from mayfly.deploy.config import Config
from mayfly.deploy.differences import Difference
from mayfly.deploy.marks import LABELS, is_labelled
from mayfly.deploy.resource import Item
from orchestrator.errors import BadResource, MayflyError, Transient
from orchestrator.google_admin import GoogleAdmin, Json, Service
from orchestrator.google_errors import Subject
from orchestrator.policy import Policy
from orchestrator.settings import Settings
from orchestrator.spans import written

# What is said by other means there: emulators, Cloud Run itself, secrets, and a folder that ends with the container.
_NOT_PASSED_ON = {
    "compute_emulator_host", "secret_manager_emulator_host", "run_emulator_host", "storage_emulator_host",
    "gce_metadata_host", "mayfly_certs_url", "agent_key", "notify_url", "out",
}  # fmt: skip
_STATE, _READY, _FAILED = "terminalCondition", "CONDITION_SUCCEEDED", "CONDITION_FAILED"
_SWEEP_RETRIES = 0  # the next one comes by itself


@dataclass(frozen=True, kw_only=True)
class _RunJob(Item):
    def differences(self, seen: Json) -> list[Difference]:
        """A CPU may be written in two ways: "1" is "1000m". And a job may be as it should be, and yet not work."""
        found = [one for one in super().differences(seen) if _milli(one.was) != _milli(one.wanted)]
        condition = seen.get("terminalCondition", {})
        return found if condition.get("state") == _READY else [*found, Difference(_STATE, _in_words(condition), _READY)]

    def made_of(self) -> list[Difference]:
        """Whose program it is."""
        return [Difference("image", None, self.wanted["template"]["template"]["containers"][0]["image"])]

    async def change(self, google: GoogleAdmin, seen: Json, found: list[Difference]) -> None:
        """One that does not work is written again, and tried again by that."""
        if [difference.path for difference in found] == [_STATE] and seen.get("reconciling"):
            raise Transient(f"The {self.kind} {self.name} is not ready yet.")
        await super().change(google, seen, found)

    async def followed(self, google: GoogleAdmin, answer: Json, doing: Subject) -> None:
        """However the operation ended: whether the job works is told by the job."""
        ended: MayflyError | None = None
        try:
            await super().followed(google, answer, doing)
        except MayflyError as error:
            ended = error
        condition = (await self.look(google) or {}).get("terminalCondition", {})
        if condition.get("state") == _FAILED:
            raise BadResource(f"The {self.kind} {self.name} does not work: {_in_words(condition)}") from ended
        if ended is not None:
            raise ended


def _in_words(condition: Json) -> str:
    return ": ".join(str(condition[field]) for field in ("state", "message") if condition.get(field))


def _milli(cpu: object) -> object:
    """1, 0.5, 500m -> thousandths; what is no such number stays what it is."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(m?)", cpu) if isinstance(cpu, str) else None
    return float(match[1]) * (1 if match[2] else 1000) if match else cpu


def collection(config: Config) -> str:
    """Where the jobs are."""
    return f"projects/{config.project}/locations/{config.job_region}/jobs"


def run_job(config: Config, image: str, account: str) -> Item:
    """The job that carries runs out."""
    return _job(
        config,
        config.job.name,
        image,
        ["run", *config.job.args],
        {"serviceAccount": account, "maxRetries": config.job.max_retries, "timeout": _seconds(config.task_timeout)},
    )


def sweep_job(config: Config, image: str, account: str) -> Item:
    """The job that finishes what others left."""
    policy = Policy()
    timeout = policy.sweep_period + policy.down
    task = {"serviceAccount": account, "maxRetries": _SWEEP_RETRIES, "timeout": _seconds(timeout)}
    return _job(config, sweeper(config), image, ["sweep"], task)


def sweeper(config: Config) -> str:
    """Its name."""
    return f"{config.job.name}-sweep"


def _job(config: Config, name: str, image: str, args: list[str], task: Json) -> Item:
    container = {
        "image": image,
        "args": args,
        "env": _environment(config),
        "resources": {"limits": {"cpu": config.job.cpu, "memory": config.job.memory}},
    }
    template = {**task, "containers": [container], "vpcAccess": _network(config)}
    return _RunJob(
        kind="Cloud Run job",
        name=name,
        service=Service.RUN,
        collection=collection(config),
        wanted={"labels": LABELS, "template": {"taskCount": 1, "template": template}},
        named_by="jobId",
        masked=False,
        ours=is_labelled,
    )


def _environment(config: Config) -> list[Json]:
    """The settings that are not as they are by default, by their own names; then secrets, whose values nobody sees."""
    own = config.settings.model_dump()
    settings = {
        name.upper(): _text(value)
        for name, value in own.items()
        if name not in _NOT_PASSED_ON and not name.startswith("cloud_run") and not _is_default(name, value)
    }
    plain = [{"name": name, "value": value} for name, value in sorted(settings.items())]
    return plain + [
        {"name": name, "valueSource": {"secretKeyRef": dict(zip(("secret", "version"), secret_of(text), strict=True))}}
        for name, text in sorted(config.job.secrets.items())
    ]


def _is_default(name: str, value: Any) -> bool:
    setting = Settings.model_fields[name]
    return value is None or (not setting.is_required() and value == setting.default)


def _text(value: Any) -> str:
    match value:
        case timedelta():
            return written(value)
        case Enum():
            return str(value.value)
        case Path() | int() | float():
            return str(value)
    return str(value)


def secret_of(text: str) -> tuple[str, str]:
    """name, name/version or projects/P/secrets/name[/versions/version] -> what Cloud Run calls it, and the version."""
    match = re.fullmatch(r"((?:projects/[^/]+/secrets/)?[^/]+)(?:/(?:versions/)?([^/]+))?", text)
    assert match is not None  # noqa: S101 - the tables have checked it
    return match[1], match[2] or "latest"


def _network(config: Config) -> Json | None:
    if not config.network_egress:
        return None
    nic = {"network": config.vm.network} | ({"subnetwork": config.vm.subnetwork} if config.vm.subnetwork else {})
    return {"egress": "PRIVATE_RANGES_ONLY", "networkInterfaces": [nic]}


def _seconds(span: timedelta) -> str:
    return f"{int(span.total_seconds())}s"
