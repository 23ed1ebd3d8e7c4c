"""Scheduling: how an instance is provisioned, and when Google itself ends its run."""

from datetime import datetime, timedelta
from typing import Any

from gcp_emulator.errors import invalid
from gcp_emulator.routes import Json

MAX_RUN_LEAST = 30
MAX_RUN_MOST = 120 * 24 * 3600


def default_scheduling(*, has_gpu: bool) -> Json:
    """Give what a standard instance has when nobody said anything."""
    return {
        "onHostMaintenance": "TERMINATE" if has_gpu else "MIGRATE",  # a GPU cannot migrate
        "automaticRestart": True,
        "preemptible": False,
        "provisioningModel": "STANDARD",
    }


def scheduling_from(document: Json, *, has_gpu: bool) -> Json:
    """Check a Scheduling body; it replaces the block, so what it leaves out has its default again."""
    return _checked({**default_scheduling(has_gpu=has_gpu), **document}, has_gpu=has_gpu)


def _checked(scheduling: Json, *, has_gpu: bool) -> Json:
    """Refuse combinations that Compute Engine refuses."""
    if scheduling["provisioningModel"] == "SPOT":
        scheduling = {**scheduling, "onHostMaintenance": "TERMINATE", "automaticRestart": False, "preemptible": True}
    if has_gpu and scheduling["onHostMaintenance"] != "TERMINATE":
        value = scheduling["onHostMaintenance"]
        why = "Instances with guest accelerators do not support live migration."
        raise invalid("resource.scheduling.onHostMaintenance", value, why)
    if (action := scheduling.get("instanceTerminationAction", "STOP")) not in {"STOP", "DELETE"}:
        raise invalid("resource.scheduling.instanceTerminationAction", action, "Must be STOP or DELETE.")
    if "maxRunDuration" in scheduling:
        if "terminationTime" in scheduling:
            why = "maxRunDuration and terminationTime are mutually exclusive."
            raise invalid("resource.scheduling.terminationTime", scheduling["terminationTime"], why)
        seconds = _whole_seconds(scheduling["maxRunDuration"])
        scheduling = {**scheduling, "maxRunDuration": {**scheduling["maxRunDuration"], "seconds": str(seconds)}}
    elif "terminationTime" in scheduling:
        _moment(scheduling["terminationTime"])
    return scheduling


def _whole_seconds(duration: Any) -> int:
    try:
        seconds = int(duration["seconds"])
    except (TypeError, KeyError, ValueError):
        seconds = 0
    if not MAX_RUN_LEAST <= seconds <= MAX_RUN_MOST:
        why = f"Must be between {MAX_RUN_LEAST} and {MAX_RUN_MOST} seconds."
        raise invalid("resource.scheduling.maxRunDuration", duration, why)
    return seconds


def termination_of(scheduling: Json, running_since: datetime) -> datetime | None:
    """Tell when Google ends a run that entered RUNNING then."""
    if duration := scheduling.get("maxRunDuration"):
        return running_since + timedelta(seconds=int(duration["seconds"]), microseconds=duration.get("nanos", 0) / 1000)
    if absolute := scheduling.get("terminationTime"):
        return _moment(absolute)
    return None


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise invalid("resource.scheduling.terminationTime", text, "Must be a time in RFC 3339 format.")
    return moment
