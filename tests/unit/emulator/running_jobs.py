"""Jobs of Cloud Run in a world whose tasks do as the test says."""

from typing import Any

from gcp_emulator.wire import StartTask, TaskEffect, TaskEnded, TaskOutput
from tests.unit.emulator.inside import Inside

PLACE = "/v2/projects/demo/locations/us-central1"
JOB = f"{PLACE}/jobs/mayfly"


def a_job(*, container: Any = None, task: Any = None, **template: Any) -> Any:
    containers = [{"image": "mayfly:1", **(container or {})}]
    return {"template": {"template": {"containers": containers, **(task or {})}, **template}}


class RunningJobs:
    """One job, and the executions of it."""

    def __init__(self, inside: Inside | None = None, **job: Any) -> None:
        self.inside = inside or Inside()
        self.inside.post(f"{PLACE}/jobs?jobId=mayfly", a_job(**job))

    def run(self, **overrides: Any) -> str:
        """Start an execution; its name."""
        body = {"overrides": overrides} if overrides else {}
        operation = self.inside.post(f"{JOB}:run", body)
        self.operation = f"/v2/{operation['name']}"
        return str(operation["metadata"]["name"])

    @property
    def orders(self) -> list[StartTask]:
        """The attempts that the executor was told to start."""
        return [effect for effect in self.inside.effects if isinstance(effect, StartTask)]

    def told(self) -> list[TaskEffect]:
        """What it was told since it was asked last, but for starts."""
        found = [effect for effect in self.inside.effects if not isinstance(effect, StartTask)]
        self.inside.effects = [effect for effect in self.inside.effects if isinstance(effect, StartTask)]
        return found  # type: ignore[return-value]

    def ends(self, order: StartTask, exit_code: int | None = None, signal: int | None = None) -> None:
        self.inside.cloud.task_says(order.task, TaskEnded(order.attempt, exit_code, signal), self.inside.now)
        self.inside.passes(0)

    def prints(self, order: StartTask, data: bytes, stream: Any = "stdout") -> None:
        self.inside.cloud.task_says(order.task, TaskOutput(order.attempt, stream, data), self.inside.now)

    def execution(self, name: str) -> Any:
        return self.inside.get(f"/v2/{name}")

    def completed(self, name: str) -> tuple[str, str | None]:
        """State and reason of its condition Completed."""
        conditions = {one["type"]: one for one in self.execution(name)["conditions"]}
        return conditions["Completed"]["state"], conditions["Completed"].get("executionReason")

    def attempts(self) -> list[tuple[int, str, int | None]]:
        """Attempt, event and exit code of everything that happened to tasks."""
        entries = self.inside.cloud.history.since(0)["entries"]
        return [(one["attempt"], one["event"], one.get("exit_code")) for one in entries if one["kind"] == "task"]
