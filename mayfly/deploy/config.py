"""Settings and tables, read together: flags, then the environment, then `.env` (settings only), then `mayfly.toml`."""

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from mayfly.deploy.tables import Firewall, Job, Schedule, Sweep, Table, Vm
from mayfly.deploy.toml_lines import line_of
from orchestrator.errors import BadUsage
from orchestrator.policy import Policy
from orchestrator.run import Reach
from orchestrator.settings import Settings
from orchestrator.settings_file import TABLES, TOML_FILE
from orchestrator.settings_reading import read_settings
from orchestrator.spans import written

LONGEST_TASK = timedelta(days=7)  # Cloud Run's
IMAGE_VARIABLE = "MAYFLY_IMAGE"


class _Tables(Table):
    vm: Vm = Vm()
    job: Job = Job()
    schedule: tuple[Schedule, ...] = ()
    sweep: Sweep = Sweep()
    firewall: Firewall = Firewall()


_SINGLE: dict[str, type[Table]] = {"vm": Vm, "job": Job, "sweep": Sweep, "firewall": Firewall}
assert set(_Tables.model_fields) == set(TABLES)  # noqa: S101 - a run passes over exactly what a deploy reads


@dataclass(frozen=True)
class Config:
    """All that a deploy goes by."""

    settings: Settings
    vm: Vm
    job: Job
    schedules: tuple[Schedule, ...]
    sweep: Sweep
    firewall: Firewall

    @property
    def project(self) -> str:
        """Its id."""
        return self.settings.project_id

    @property
    def job_region(self) -> str:
        """Where the Cloud Run job is, and the image, and the Scheduler."""
        return self.job.region or self.settings.region

    @property
    def network_egress(self) -> bool:
        """Whether the job reaches into the VM's network."""
        return (self.job.egress or ("vpc" if self.settings.agent_reach is Reach.INTERNAL else "default")) == "vpc"

    @property
    def source_ranges(self) -> list[str]:
        """Who may reach the agent's port."""
        internal = self.settings.agent_reach is Reach.INTERNAL
        return self.firewall.source_ranges or (["10.0.0.0/8"] if internal else ["0.0.0.0/0"])

    @property
    def vm_limit(self) -> timedelta:
        """What a run arms the VM with: Google itself stops it then."""
        return self.settings.boot_timeout + self.settings.timeout + self.settings.boot_margin

    @property
    def task_timeout(self) -> timedelta:
        """Longer than a run can take, with the wait for its turn, the way up, the copying and the way down."""
        policy, own = Policy(), self.settings
        up = own.wait_for_lease + policy.down + policy.start + own.boot_timeout
        return up + own.timeout + policy.collect + policy.down


def read_config(environment: Mapping[str, str], /, **flags: Any) -> Config:
    """All of it, or one BadUsage that lists all that is wrong, each with its line in mayfly.toml."""
    settings: Settings = read_settings(**flags)  # says first what it has to say: the file can be read, then
    text = TOML_FILE.read_text("utf-8") if TOML_FILE.exists() else ""
    given = {name: value for name, value in tomllib.loads(text).items() if name in TABLES}
    overridden = _overridden(environment)
    for table, values in overridden.items():
        given[table] = {**_as_table(given.get(table)), **values}
    try:
        tables = _Tables(**given)
    except ValidationError as wrong:
        problems = [_sentence(error, text, overridden) for error in wrong.errors(include_url=False)]
        raise BadUsage("mayfly.toml is not right:\n" + "\n".join(f"  {problem}" for problem in problems)) from wrong
    config = Config(settings, tables.vm, tables.job, tables.schedule, tables.sweep, tables.firewall)
    if problems := [*_contradictions(config)]:
        raise BadUsage("The settings contradict each other:\n" + "\n".join(f"  {problem}" for problem in problems))
    return config


def variable(table: str, field: str) -> str:
    """The environment variable that overrides it: MAYFLY_VM_DISK_GB."""
    return IMAGE_VARIABLE if (table, field) == ("job", "image") else f"MAYFLY_{table}_{field}".upper()


def _overridden(environment: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """By table and field. Lists and groups are written as JSON, lists also with commas."""
    found: dict[str, dict[str, Any]] = {}
    for table, kind in _SINGLE.items():
        for field in kind.model_fields:
            if text := environment.get(variable(table, field)):
                found.setdefault(table, {})[field] = _value(kind, field, text)
    return found


def _value(kind: type[BaseModel], field: str, text: str) -> Any:
    shape = str(kind.model_fields[field].annotation)
    if "list[" not in shape and "dict[" not in shape:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return [part.strip() for part in text.split(",")] if "list[" in shape else text


def _as_table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _sentence(error: Any, text: str, overridden: Mapping[str, Mapping[str, Any]]) -> str:
    location = [part for part in error["loc"] if part != "[key]"]
    table, *inner = location
    what = str(error["msg"]).removeprefix("Value error, ").replace("Input should be", "must be")
    if error["type"] == "extra_forbidden":
        what = "is not known here. Is it misspelt?"
    if error["type"] == "missing":
        what = "is missing"
    field = str(inner[-1] if len(inner) == 1 else ".".join(map(str, inner))) if inner else ""
    if inner and str(inner[0]) in overridden.get(str(table), {}):
        return f"{variable(str(table), str(inner[0]))}={_without_users(str(error['input']))} {what}"
    line = line_of(text, tuple(location))
    shown = (
        f" = {_without_users(json.dumps(error['input'], default=str))}"
        if error["type"] not in {"missing", "extra_forbidden"}
        else ""
    )
    return f"{Path(TOML_FILE).name}{f', line {line}' if line else ''}: [{table}] {field}{shown} {what}"


def _without_users(text: str) -> str:
    """Of an address that has one, as often as not with a password, which a screen or a log need not keep."""
    return re.sub(r"://[^/]*@", "://...@", text)


def _contradictions(config: Config) -> list[str]:
    """What only the whole shows."""
    names = [schedule.name for schedule in config.schedules]
    doubled = sorted({name for name in names if names.count(name) > 1})
    said = [f"[[schedule]] name = {name!r} is there more than once" for name in doubled]
    if config.sweep.enabled and "sweep" in names:
        said.append("[[schedule]] name = 'sweep' is the sweeper's own: choose another")
    if config.settings.agent_reach is Reach.INTERNAL and not config.network_egress:
        said.append("[job] egress = 'default' does not reach the agent with AGENT_REACH=internal: leave it out")
    if config.task_timeout > LONGEST_TASK:
        most = LONGEST_TASK - (config.task_timeout - config.settings.timeout)
        said.append(
            f"TIMEOUT={written(config.settings.timeout)} is longer than a Cloud Run task can follow: "
            f"{written(most)} at most"
        )
    if config.vm.source and not config.vm.ref and not config.vm.source.startswith(("/", "file://")):
        said.append("[vm] ref is missing: which commit or tag of source shall the VM run?")
    return said
