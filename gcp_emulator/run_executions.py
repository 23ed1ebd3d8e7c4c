"""Executions of a Cloud Run job, their tasks, and what the last attempt of each came to."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from gcp_emulator.routes import Json
from gcp_emulator.run_templates import timeout_of
from gcp_emulator.timing import zulu

LOGS = "https://console.cloud.google.com/logs/viewer"
EXITED, TIMED_OUT = "The container exited with an error.", "The configured timeout was reached."
OK, UNKNOWN, DEADLINE_EXCEEDED = 0, 2, 4  # google.rpc.Code


class State(StrEnum):
    """What an execution, or a task, is at."""

    PENDING = "PENDING"  # nothing of it runs (yet, or between two attempts)
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def over(self) -> bool:
        """Nothing comes after it."""
        return self in {State.SUCCEEDED, State.FAILED, State.CANCELLED}


# (state, executionReason) of the condition `Completed`.
CONDITIONS = {
    State.PENDING: ("CONDITION_PENDING", None),
    State.RUNNING: ("CONDITION_RECONCILING", None),
    State.SUCCEEDED: ("CONDITION_SUCCEEDED", None),
    State.FAILED: ("CONDITION_FAILED", "NON_ZERO_EXIT_CODE"),
    State.CANCELLED: ("CONDITION_FAILED", "CANCELLED"),
}


@dataclass(frozen=True, slots=True)
class Result:
    """How an attempt ended; `why` is empty if it went well."""

    why: str = ""
    exit_code: int | None = None
    signal: int | None = None

    def as_json(self) -> Json:
        """Show it as the API does: of a success nothing is left, for its code and its exit code are zeroes."""
        code = OK if not self.why else DEADLINE_EXCEEDED if self.why == TIMED_OUT else UNKNOWN
        status = _given(code=code, message=self.why)
        return {"status": status, **_given(termSignal=self.signal, exitCode=None if self.signal else self.exit_code)}


@dataclass(slots=True)
class Task:
    """One task: its attempts are numbered from 0."""

    name: str  # .../executions/E/tasks/E-taskN
    index: int
    uid: str
    state: State = State.PENDING
    attempt: int = 0
    due: bool = False  # its attempt begins as soon as there is a machine for it
    began: datetime | None = None  # the first attempt
    ended: datetime | None = None
    timed_out: bool = False  # the attempt under way was told to end
    result: Result | None = None
    partial: dict[str, bytes] = field(default_factory=dict)  # by stream: a line without its end


@dataclass(slots=True)
class Execution:
    """One run of a job."""

    name: str  # projects/P/locations/L/jobs/J/executions/E
    uid: str
    created: datetime
    creator: str
    template: Json  # as the job had it then, with the overrides of this run
    labels: dict[str, str]
    annotations: dict[str, str]
    tasks: list[Task] = field(default_factory=list)
    state: State = State.PENDING
    cancelling: bool = False
    began: datetime | None = None
    ended: datetime | None = None

    @property
    def id(self) -> str:
        """The last part of its name."""
        return self.name.rpartition("/")[2]

    @property
    def job(self) -> str:
        """The job's name."""
        return self.name.rpartition("/executions/")[0]

    @property
    def timeout(self) -> timedelta:
        """How long an attempt may take."""
        return timeout_of(self.template["template"])

    @property
    def message(self) -> str:
        """What the condition `Completed` says."""
        match self.state:
            case State.SUCCEEDED:
                return "Execution completed successfully."
            case State.CANCELLED:
                return "Execution cancelled by user."
            case State.FAILED:
                task = next(task for task in self.tasks if task.state is State.FAILED)
                why = task.result.why if task.result else "unknown"
                return f"Task {task.name.rpartition('/')[2]} failed with message: {why}"
            case _:
                return "Cancelling the execution." if self.cancelling else ""

    def count(self, *states: State) -> int:
        """Count the tasks in these states."""
        return sum(task.state in states for task in self.tasks)

    @property
    def retried(self) -> int:
        """How many attempts were not the first of their task."""
        return sum(task.attempt for task in self.tasks)

    def changed_at(self) -> datetime:
        """When its state changed last."""
        return self.ended or self.began or self.created

    def as_json(self) -> Json:
        """Show it as the API does."""
        document: Json = {
            "name": self.name,
            "uid": self.uid,
            "creator": self.creator,
            "generation": "1",
            "observedGeneration": "1",
            "createTime": zulu(self.created),
            "updateTime": zulu(self.changed_at()),
            "launchStage": "GA",
            "job": self.job.rpartition("/")[2],
            "parallelism": self.template["parallelism"],
            "taskCount": self.template["taskCount"],
            "template": self.template["template"],
            "conditions": self._conditions(),
            "logUri": f"{LOGS}?resource=cloud_run_job/job_name/{self.job.rpartition('/')[2]}",
            "etag": f'"{self.uid[:8]}-{int(self.changed_at().timestamp() * 1000)}"',
            **_given(labels=self.labels, annotations=self.annotations, reconciling=not self.state.over),
            **_given(
                startTime=self.began and zulu(self.began),
                completionTime=self.ended and zulu(self.ended),
                runningCount=self.count(State.RUNNING),
                succeededCount=self.count(State.SUCCEEDED),
                failedCount=self.count(State.FAILED),
                cancelledCount=self.count(State.CANCELLED),
                retriedCount=self.retried,
            ),
        }
        return document

    def reference(self) -> Json:
        """Show it as its job does."""
        status = f"EXECUTION_{self.state}"
        ended = {"completionTime": zulu(self.ended)} if self.ended else {}
        return {"name": self.id, "createTime": zulu(self.created), "completionStatus": status, **ended}

    def _conditions(self) -> list[Json]:
        state, reason = CONDITIONS[self.state]
        if self.cancelling and not self.state.over:
            reason = "CANCELLING"
        completed = _condition("Completed", state, self.changed_at(), self.message, reason)
        started = "CONDITION_SUCCEEDED" if self.began else "CONDITION_PENDING"
        at = self.began or self.created
        return [completed, _condition("ResourcesAvailable", started, at), _condition("Started", started, at)]

    def task_as_json(self, task: Task) -> Json:
        """Show one of its tasks as the API does."""
        state, reason = CONDITIONS[task.state]
        spec = {name: value for name, value in self.template["template"].items() if name in TASK_FIELDS}
        why = task.result.why if task.result else ""
        return {
            **spec,
            "name": task.name,
            "uid": task.uid,
            "generation": "1",
            "createTime": zulu(self.created),
            "updateTime": zulu(task.ended or task.began or self.created),
            "job": self.job.rpartition("/")[2],
            "execution": self.id,
            "index": task.index,
            "conditions": [_condition("Completed", state, task.ended or task.began or self.created, why, reason)],
            **_given(
                startTime=task.began and zulu(task.began),
                completionTime=task.ended and zulu(task.ended),
                retried=task.attempt,
                lastAttemptResult=task.result and task.result.as_json(),
            ),
        }


TASK_FIELDS = ("containers", "volumes", "maxRetries", "timeout", "serviceAccount", "executionEnvironment", "vpcAccess")


def _condition(kind: str, state: str, at: datetime, message: str = "", reason: str | None = None) -> Json:
    words = _given(message=message, executionReason=reason)
    return {"type": kind, "state": state, "lastTransitionTime": zulu(at), **words}


def _given(**fields: object) -> Json:
    """Leave out what is empty, as Google's JSON does."""
    return {name: value for name, value in fields.items() if value}
