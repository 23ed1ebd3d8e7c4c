"""Cloud Logging: what tasks of Cloud Run print, a line an entry, and `entries:list`."""

import json
from collections import deque
from typing import TYPE_CHECKING, Any

from gcp_emulator.errors import ApiError, RpcError
from gcp_emulator.log_filter import BadFilterError, matcher
from gcp_emulator.routes import Answer, Call, Json, Route
from gcp_emulator.run_executions import Execution, Task
from gcp_emulator.timing import zulu

if TYPE_CHECKING:
    from gcp_emulator.world import World

KEPT = 100_000  # entries
PAGE, PAGE_MAX = 50, 1000
SEVERITIES = ("DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY")


class Logs:
    """The last entries, oldest first, each with the number by which pages go on."""

    def __init__(self) -> None:
        self.entries: deque[tuple[int, Json]] = deque(maxlen=KEPT)
        self._written = 0

    def add(self, entry: Json) -> None:
        """Write one entry."""
        self._written += 1
        self.entries.append((self._written, {**entry, "insertId": f"{self._written:016x}"}))


def write_line(world: "World", execution: Execution, task: Task, stream: str, line: bytes) -> None:
    """Make an entry of a line: JSON becomes a payload, and its severity the entry's."""
    _, project, _, region, _, job, *_ = execution.name.split("/")
    entry: Json = {
        "logName": f"projects/{project}/logs/run.googleapis.com%2F{stream}",
        "resource": {
            "type": "cloud_run_job",
            "labels": {"project_id": project, "location": region, "job_name": job},
        },
        "labels": {
            "run.googleapis.com/execution_name": execution.id,
            "run.googleapis.com/task_index": str(task.index),
            "run.googleapis.com/task_attempt": str(task.attempt),
        },
        "timestamp": zulu(world.now),
        "receiveTimestamp": zulu(world.now),
        **_payload(line.decode(errors="replace").rstrip("\r")),
    }
    world.logs.add(entry)
    world.changes += 1


def _payload(text: str) -> Json:
    try:
        document: Any = json.loads(text)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        return {"textPayload": text, "severity": "DEFAULT"}
    severity = str(document.pop("severity", "DEFAULT")).upper()
    return {"jsonPayload": document, "severity": severity if severity in SEVERITIES else "DEFAULT"}


# --- requests ----------------------------------------------------------------------------------------------------


def list_(world: "World", call: Call) -> Answer:
    """Show the entries of some projects that a filter lets through, a page at a time."""
    document = _document(call)
    names = [*document.get("resourceNames", []), *(f"projects/{one}" for one in document.get("projectIds", []))]
    if not names:
        raise RpcError(400, "resource_names must be set")
    prefixes = tuple(f"projects/{_project(world, name)}/logs/" for name in names)
    try:
        matches = matcher(document.get("filter", ""))
    except BadFilterError as wrong:
        raise RpcError(400, f"Unparseable filter: {wrong}") from wrong
    newest_first = document.get("orderBy", "timestamp asc") == "timestamp desc"
    found = [(number, one) for number, one in world.logs.entries if one["logName"].startswith(prefixes)]
    found = [(number, one) for number, one in found if matches(one)]
    return _page(found[::-1] if newest_first else found, document, newest_first=newest_first)


def _page(found: list[tuple[int, Json]], document: Json, *, newest_first: bool) -> Json:
    size = min(document.get("pageSize") or PAGE, PAGE_MAX)
    if size < 0:
        raise RpcError(400, "page_size must not be negative")
    if token := document.get("pageToken"):
        if not token.isdigit():
            raise RpcError(400, "page_token is not one of this list")
        found = [pair for pair in found if (pair[0] < int(token)) == newest_first and pair[0] != int(token)]
    page = found[:size]
    answer: Json = {"entries": [entry for _, entry in page]} if page else {}
    if len(found) > size:
        answer["nextPageToken"] = str(page[-1][0])
    return answer


def _project(world: "World", name: str) -> str:
    wanted = name.split("/")[1] if name.startswith("projects/") else ""
    project = next((one for one in world.projects.values() if wanted in {one.id, one.number}), None)
    if project is None:
        raise RpcError(403, f"Permission 'logging.logEntries.list' denied on resource '{name}' (or it may not exist).")
    return project.id


def _document(call: Call) -> Json:
    try:
        return call.document()
    except ApiError as wrong:
        raise RpcError(400, wrong.message) from wrong


ROUTES = (Route("POST", "/v2/entries:list", "logging.logEntries.list", list_),)
