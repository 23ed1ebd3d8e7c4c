"""The run key: what makes a run one, however often it is asked for."""

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from orchestrator.errors import BadUsage
from vm_agent.protocol import Job

_HOURS = (1, 2, 3, 4, 6, 8, 12)  # what divides a day


def meaning_of(job: Job | None, params: Mapping[str, Any]) -> str:
    """What a key stands for, in 16 characters. Not the time limit: who asks again may have less time left."""
    said = json.dumps([job.model_dump() if job else None, params], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def window_key(once_per: str, zone: str, now: datetime, meaning: str) -> str:
    """The key of all runs with that meaning in the window of time that holds `now`.

    `once_per` is 1h (or 2h, 3h, 4h, 6h, 8h, 12h) or 1d, by the clocks of `zone` (an IANA name). BadUsage for others.
    Where clocks are set back, an hour that comes twice is two windows; of a longer window it lengthens one.
    """
    hours = _hours_of(once_per)
    local = now.astimezone(_zone(zone))
    if hours is None:
        return f"{local:%Y-%m-%d}/{zone}/{meaning}"
    begins = local.replace(hour=local.hour - local.hour % hours)
    offset = f"{local:%z}" if hours == 1 else ""
    return f"{begins:%Y-%m-%dT%H}{offset}/{once_per}/{zone}/{meaning}"


def check_window(once_per: str, zone: str) -> None:
    """BadUsage if there is no such window."""
    _hours_of(once_per)
    _zone(zone)


def _hours_of(once_per: str) -> int | None:
    """None: a day."""
    if once_per in {"1d", "24h"}:
        return None
    found = re.fullmatch(r"(\d{1,2})h", once_per)
    if found is None or int(found[1]) not in _HOURS:
        hours = ", ".join(f"{hours}h" for hours in _HOURS)
        raise BadUsage(f"ONCE_PER={once_per} is no window: write 1d, or one of {hours}.")
    return int(found[1])


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise BadUsage(f"{name!r} is no time zone. Write its IANA name, for example Asia/Seoul or UTC.") from None
