"""What a Cloud Run execution has said, as Cloud Logging has it: each line once, in the order of their times."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from orchestrator.google_admin import GoogleAdmin, Json, Service
from orchestrator.google_errors import Subject

LATE = timedelta(seconds=30)  # a line may be found later than another that came in after it
_PAGE = 1000


@dataclass(frozen=True)
class Line:
    """One line: a JSON line's fields, or its text as `message`."""

    id: str
    at: datetime
    severity: str
    fields: dict[str, Any]
    attempt: int | None = None  # of its task, from 0

    @property
    def message(self) -> str:
        """What a person reads."""
        return str(self.fields.get("message", ""))

    @property
    def is_receipt(self) -> bool:
        """It is the receipt of a run."""
        return {"run_key", "exit_code", "cleanup"} <= self.fields.keys()


class CloudLog:
    """The lines of one execution, from the oldest on; `news` goes on where it ended."""

    def __init__(self, google: GoogleAdmin, project: str, job: str, execution: str) -> None:
        self._google, self._project = google, project
        self._about = f"{execution} of the Cloud Run job {job}"
        self._filter = (
            f'resource.type="cloud_run_job" AND resource.labels.job_name="{job}" '
            f'AND labels."run.googleapis.com/execution_name"="{execution}"'
        )
        self._seen: dict[str, datetime] = {}  # when each came in, which may be long after it was said

    async def news(self) -> AsyncIterator[Line]:
        """What has come in since the last time, with the latecomers. Forbidden."""
        wanted = self._filter
        if self._seen:
            since = max(self._seen.values()) - LATE
            wanted += f' AND receiveTimestamp>="{since.isoformat().replace("+00:00", "Z")}"'
        async for entry in self._entries(wanted):
            if entry["insertId"] not in self._seen:
                self._seen[entry["insertId"]] = datetime.fromisoformat(entry["receiveTimestamp"])
                yield _line(entry)

    async def _entries(self, wanted: str) -> AsyncIterator[Json]:
        subject = Subject(f"read the log of {self._about}", f"There is no project {self._project}: check PROJECT_ID.")
        asked: Json = {
            "resourceNames": [f"projects/{self._project}"],
            "filter": wanted,
            "orderBy": "timestamp asc",
            "pageSize": _PAGE,
        }
        while True:
            page = await self._google.post(Service.LOGGING, "entries:list", asked, subject)
            for entry in page.get("entries", []):
                yield entry
            if not page.get("nextPageToken"):
                return
            asked = asked | {"pageToken": page["nextPageToken"]}


def _line(entry: Json) -> Line:
    fields = entry.get("jsonPayload")
    attempt = entry.get("labels", {}).get("run.googleapis.com/task_attempt")
    return Line(
        id=entry["insertId"],
        at=datetime.fromisoformat(entry["timestamp"]),
        severity=entry.get("severity", "DEFAULT"),
        fields=fields if isinstance(fields, dict) else {"message": entry.get("textPayload", "")},
        attempt=None if attempt is None else int(attempt),
    )
