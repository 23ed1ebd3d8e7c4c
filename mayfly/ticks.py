"""The Scheduler's entries that start what we deployed: when the next tick comes, and how the last one went."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.google_admin import GoogleAdmin, Service
from orchestrator.google_errors import Subject

PREFIX = "mayfly-"  # of the names of all entries that a deploy makes
SWEEP = "mayfly-sweep"


@dataclass(frozen=True)
class Tick:
    """One entry. `last_failure` is empty where the last attempt went well, or there was none yet."""

    name: str
    cron: str
    time_zone: str
    enabled: bool
    next: datetime | None
    last: datetime | None
    last_failure: str
    target: str  # the URL that it calls


async def ticks(google: GoogleAdmin, project: str, region: str) -> list[Tick]:
    """Ours in that region, by name. NotFound, Forbidden."""
    subject = Subject(
        f"list the Scheduler's jobs in {region}", f"The Scheduler of {project} has no location {region}: check REGION."
    )
    listed = google.list(Service.SCHEDULER, f"projects/{project}/locations/{region}/jobs", "jobs", subject)
    found = [_tick(job) async for job in listed]
    return sorted((tick for tick in found if tick.name.startswith(PREFIX)), key=lambda tick: tick.name)


def _tick(job: dict[str, Any]) -> Tick:
    status = job.get("status", {})
    enabled = job.get("state") == "ENABLED"
    return Tick(
        name=job["name"].rpartition("/")[2],
        cron=job.get("schedule", ""),
        time_zone=job.get("timeZone", "Etc/UTC"),
        enabled=enabled,
        next=_time(job.get("scheduleTime")) if enabled else None,
        last=_time(job.get("lastAttemptTime")),
        last_failure=_failure(status) if status.get("code") else "",
        target=job.get("httpTarget", {}).get("uri", ""),
    )


def _failure(status: dict[str, Any]) -> str:
    return str(status.get("message") or f"code {status['code']}")


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
