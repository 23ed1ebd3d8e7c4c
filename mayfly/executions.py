"""Executions of the deployed Cloud Run job: start one, find it again by its run key, look at it, cancel it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from mayfly.deploy.config import Config
from orchestrator.google_admin import GoogleAdmin, Json, Service
from orchestrator.google_errors import Subject

_CANCELLED = {"CANCELLED", "CANCELLING"}


@dataclass(frozen=True)
class Execution:
    """One execution as it is now."""

    name: str  # "mayfly-x7k2p"
    created: datetime
    ended: datetime | None
    succeeded: bool
    cancelled: bool
    args: tuple[str, ...]
    message: str  # of the condition that says how it ended, or what it waits for

    def is_for(self, key: str) -> bool:
        """The run of that key is its own: it was given the key, or gives its name to it, or that is its name."""
        own = self.args[: self.args.index("--")] if "--" in self.args else self.args
        given = dict(pairwise(own)).get("--key")
        return key in {given, self.name} or (given is None and key.rpartition("-")[0] == self.name)


@dataclass(frozen=True)
class Attempt:
    """The last attempt of an execution's task. `exit_code` is None where Cloud Run does not tell it.

    It never tells a zero, as its JSON leaves zeroes out: whether the execution succeeded does.
    """

    number: int  # from 0
    exit_code: int | None


@dataclass(frozen=True)
class Executions:
    """Those of one job."""

    google: GoogleAdmin
    project: str
    region: str
    job: str

    async def start(self, args: Sequence[str], task_timeout: timedelta | None = None) -> str:
        """Run the job with these arguments; the execution's name. Sent once: if the reply is lost, it may have begun.

        NotFound: nothing is deployed. Forbidden. Transient: nobody knows.
        """
        overrides: Json = {"containerOverrides": [{"args": list(args)}]}
        if task_timeout is not None:
            overrides["timeout"] = f"{task_timeout.total_seconds():.0f}s"
        subject = self._subject(f"start the Cloud Run job {self.job}")
        begun = await self.google.post(Service.RUN, f"{self._job}:run", {"overrides": overrides}, subject, again=False)
        return _short(begun["metadata"]["name"])

    async def variables(self) -> set[str]:
        """The names of those that the deployed job sets. NotFound: nothing is deployed."""
        job = await self.google.get(Service.RUN, self._job, self._subject(f"look at the Cloud Run job {self.job}"))
        containers = job.get("template", {}).get("template", {}).get("containers", [{}])
        return {one["name"] for one in containers[0].get("env", []) if one.get("value") or one.get("valueSource")}

    async def look(self, name: str) -> Execution:
        """One of them. NotFound."""
        subject = Subject(f"look at the execution {name}", f"There is no execution {name} of {self.job}.")
        return _execution(await self.google.get(Service.RUN, f"{self._job}/executions/{name}", subject))

    async def newest(self, most: int = 20) -> list[Execution]:
        """The last ones, newest first. NotFound: nothing is deployed."""
        subject = self._subject(f"list the executions of {self.job}")
        page = await self.google.get(Service.RUN, f"{self._job}/executions", subject, pageSize=str(most))
        found = map(_execution, page.get("executions", []))
        return sorted(found, key=lambda execution: execution.created, reverse=True)

    async def live(self, key: str, args: Sequence[str]) -> Execution | None:
        """One that is for the run of that key, has not ended, and was told the same in every word."""
        ours = (one for one in await self.newest() if one.is_for(key) and one.args == tuple(args))
        return next((one for one in ours if one.ended is None), None)

    async def cancel(self, name: str) -> None:
        """Ask Cloud Run to end it: SIGTERM, and what was left ten seconds later is killed. It is not retried then."""
        subject = Subject(f"cancel the execution {name}", f"There is no execution {name} of {self.job}.")
        await self.google.post(Service.RUN, f"{self._job}/executions/{name}:cancel", {}, subject)

    async def last_attempt(self, name: str) -> Attempt | None:
        """How its task ended last; None if it never began."""
        subject = Subject(f"look at the tasks of {name}", f"There is no execution {name} of {self.job}.")
        page = await self.google.get(Service.RUN, f"{self._job}/executions/{name}/tasks", subject)
        task: Json = next(iter(page.get("tasks", [])), {})
        if "startTime" not in task:
            return None
        code = task.get("lastAttemptResult", {}).get("exitCode")
        return Attempt(int(task.get("retried", 0)), None if code is None else int(code))

    @property
    def _job(self) -> str:
        return f"projects/{self.project}/locations/{self.region}/jobs/{self.job}"

    def _subject(self, doing: str) -> Subject:
        return Subject(
            doing,
            f"There is no Cloud Run job {self.job} in {self.region} of {self.project}: run `mayfly deploy` first.",
        )


def deployed_executions(google: GoogleAdmin, config: Config) -> Executions:
    """Those of the job that mayfly.toml describes."""
    return Executions(google, config.project, config.job_region, config.job.name)


def job_of(execution: str) -> str:
    """The job that an execution is of: Cloud Run hangs five characters on its name."""
    return execution.rpartition("-")[0]


def _execution(seen: Json) -> Execution:
    completed: dict[str, Any] = next(
        (condition for condition in seen.get("conditions", []) if condition.get("type") == "Completed"), {}
    )
    containers = seen.get("template", {}).get("containers", [{}])
    ended = seen.get("completionTime")
    return Execution(
        name=_short(seen["name"]),
        created=datetime.fromisoformat(seen["createTime"]),
        ended=datetime.fromisoformat(ended) if ended else None,
        succeeded=completed.get("state") == "CONDITION_SUCCEEDED",
        cancelled=completed.get("executionReason") in _CANCELLED or bool(seen.get("cancelledCount")),
        args=tuple(containers[0].get("args", ())),
        message=completed.get("message", ""),
    )


def _short(name: str) -> str:
    return name.rpartition("/")[2]
