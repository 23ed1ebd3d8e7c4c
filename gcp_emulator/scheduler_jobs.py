"""Jobs of Cloud Scheduler: what is called, when, and how the last call went."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gcp_emulator.routes import Json
from gcp_emulator.run_templates import seconds_of
from gcp_emulator.timing import zulu

ENABLED, PAUSED = "ENABLED", "PAUSED"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
AGENT = "Google-Cloud-Scheduler"
RETRY: Json = {
    "maxRetryDuration": "0s",
    "minBackoffDuration": "5s",
    "maxBackoffDuration": "3600s",
    "maxDoublings": 5,
}
RETRIES_MAX = 5
DEADLINE, DEADLINE_SECONDS = "180s", (15.0, 1800.0)  # least and most (discovery document)


@dataclass(slots=True)
class SchedulerJob:
    """One job. `next_tick` is None while it is paused."""

    name: str  # projects/P/locations/L/jobs/J
    schedule: str
    time_zone: str
    target: Json  # HttpTarget
    updated: datetime
    retry: Json = field(default_factory=lambda: dict(RETRY))
    attempt_deadline: str = DEADLINE
    description: str = ""
    state: str = ENABLED
    next_tick: datetime | None = None
    next_retry: datetime | None = None  # of a call that failed
    turn: int = 0  # a plan of an earlier turn is void
    busy: bool = False  # a call is under way, or to be made again
    last_attempt: datetime | None = None
    status: Json | None = None  # of the last call: {} if it went well

    @property
    def id(self) -> str:
        """The last part of its name."""
        return self.name.rpartition("/")[2]

    @property
    def deadline(self) -> timedelta:
        """How long a call may take."""
        return timedelta(seconds=seconds_of(self.attempt_deadline))

    def backoff(self, attempt: int) -> timedelta:
        """How long to wait after this many failures: doubled some times, then by equal steps, never above the most."""
        first, doublings = seconds_of(self.retry["minBackoffDuration"]), int(self.retry["maxDoublings"])
        step = first * 2 ** min(attempt - 1, doublings)
        beyond = max(0, attempt - 1 - doublings)
        most = seconds_of(self.retry["maxBackoffDuration"])
        return timedelta(seconds=min(step * (1 + beyond), most))

    def as_json(self) -> Json:
        """Show it as the API does."""
        times = [moment for moment in (self.next_tick, self.next_retry) if moment]
        optional = {
            "description": self.description,
            "scheduleTime": zulu(min(times)) if times else "",
            "lastAttemptTime": zulu(self.last_attempt) if self.last_attempt else "",
        }
        document: Json = {
            "name": self.name,
            "httpTarget": self.target,
            "schedule": self.schedule,
            "timeZone": self.time_zone,
            "userUpdateTime": zulu(self.updated),
            "state": self.state,
            "retryConfig": self.retry,
            "attemptDeadline": self.attempt_deadline,
            **({} if self.status is None else {"status": self.status}),
        }
        return document | {name: value for name, value in optional.items() if value}
