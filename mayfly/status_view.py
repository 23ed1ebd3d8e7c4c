"""How things stand, in words and as JSON."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from mayfly.standing import Standing
from mayfly.ticks import Tick
from orchestrator.lease import Lease, Phase, Remembered
from orchestrator.seen import Machine
from orchestrator.settings import Settings
from orchestrator.spans import written
from vm_agent.protocol import RunView

MINUTE = timedelta(minutes=1)
_OUTCOMES_SHOWN = 5  # of the fifty; the JSON has them all


def as_one_line(standing: Standing, settings: Settings) -> str:
    """JSON. What is not there, or was not seen, is null."""
    machine, address, lease = standing.machine, standing.address, standing.machine.lease
    config = machine.access_config
    run = _live(standing)
    return json.dumps(
        {
            "project": settings.project_id,
            "seen_at": machine.seen_at,
            "vm": {
                "instance": settings.instance,
                "zone": settings.zone,
                "id": machine.id,
                "status": machine.status,
                "started_at": machine.last_start,
                "stopped_at": machine.last_stop,
                "stopped_by_google_at": _limit(machine),
                "ip": config.ip if config else None,
            },
            "address": asdict(address) if address else None,
            "lease": _lease(lease, machine.seen_at) if lease and lease.phase is not Phase.FREE else None,
            "agent": standing.greeting.status if standing.greeting else None,
            "run": run.model_dump(mode="json") if run else None,
            "outcomes": [asdict(known) for known in reversed(lease.outcomes)] if lease else [],
            "schedule": None if standing.ticks is None else [asdict(tick) for tick in standing.ticks],
            "unseen": standing.unseen,
        },
        default=_plain,
    )


def _plain(value: object) -> str:
    """RFC 3339, in UTC."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    raise TypeError(f"{type(value).__name__} has no place in a status")


def as_lines(standing: Standing, settings: Settings) -> Iterator[str]:
    """For a person: a line for each thing."""
    machine, lease = standing.machine, standing.machine.lease
    yield _line("VM", f"{settings.instance} in {settings.zone}: {_condition(machine)}")
    yield _line("IP", _ip(standing, settings))
    yield _line("lease", _holding(lease, machine.seen_at))
    yield _line("run", _running(standing))
    for number, known in enumerate(reversed(lease.outcomes[-_OUTCOMES_SHOWN:]) if lease else ()):
        yield _line("" if number else "ended", _ended(known))
    for number, tick in enumerate(standing.ticks or ()):
        yield _line("" if number else "next", _coming(tick))
    for why in standing.unseen:
        yield _line("unseen", why)


def _line(name: str, what: str) -> str:
    return f"{name:<7} {what}"


def _condition(machine: Machine) -> str:
    if machine.running:
        limit = _limit(machine)
        end = f"; Google stops it at {_clock(limit)}" if limit else "; nobody but us stops it: it has no time limit"
        return f"RUNNING since {_clock(machine.last_start)}{end}"
    if machine.gone:
        return "there is none now; it is made for each run"
    return machine.status + (f" since {_clock(machine.last_stop)}" if machine.off and machine.last_stop else "")


def _limit(machine: Machine) -> datetime | None:
    if machine.max_run is None or machine.last_start is None or not machine.running:
        return None
    return machine.last_start + machine.max_run


def _ip(standing: Standing, settings: Settings) -> str:
    config, address = standing.machine.access_config, standing.address
    if address is None:
        there = f"{config.ip}, not reserved by us" if config and config.ip else "none"
        return f"{settings.static_name} is not reserved" if settings.static_name else there
    users = ", ".join(user.rpartition("/")[2] for user in address.users)
    return f"{address.name} {address.ip}, {f'on {users}' if users else 'on no VM'}"


def _holding(lease: Lease | None, now: datetime) -> str:
    if lease is None or lease.phase is Phase.FREE:
        return "free"
    until = "until" if lease.held(now) else "left behind: it ran out at"
    return f"{lease.phase} by {lease.holder} for run {lease.key}, {until} {_clock(lease.expires_at)}"


def _lease(lease: Lease, now: datetime) -> dict[str, Any]:
    fields = {name: value for name, value in asdict(lease).items() if name not in {"outcomes", "windows", "nonce"}}
    return fields | {"held": lease.held(now)}


def _live(standing: Standing) -> RunView | None:
    return standing.greeting.run if standing.greeting else None


def _running(standing: Standing) -> str:
    run = _live(standing)
    if run is None:
        return f"none; its agent is {standing.greeting.status}" if standing.greeting else "none"
    progress = "" if run.progress.fraction is None else f", {run.progress.fraction:.0%}"
    message = f" ({run.progress.message})" if run.progress.message else ""
    deadline = f", until {_clock(run.deadline)} at the latest" if run.deadline else ""
    return (
        f"{run.key} {run.state.lower()} since {_clock(run.started_at or run.accepted_at)}{progress}{message}{deadline}"
    )


def _ended(known: Remembered) -> str:
    mode = "" if known.mode == "run" else f" ({known.mode})"
    return f"{_clock(known.ended_at)}  {known.outcome} (exit {known.exit_code})  {known.key}{mode}"


def _coming(tick: Tick) -> str:
    failed = f"; the last one failed: {tick.last_failure}" if tick.last_failure else ""
    if tick.next is None:
        return f"{tick.name}: paused{failed}"
    left = tick.next - datetime.now(UTC)
    in_ = f", in {written(left - left % MINUTE)}" if left > MINUTE else ""
    return f"{tick.name}: {_clock(tick.next)}{in_} ({tick.cron}, {tick.time_zone}){failed}"


def _clock(time: datetime | None) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if time else "unknown"
