"""Where a deployment is, so that one that is elsewhere is not forgotten: its VM is billed, its schedules tick.

Zones and regions are looked at one by one, so what is in another would never be found. Accounts are of the project:
their descriptions name the places of what was made last. They are written before it is made, and go after it.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mayfly.deploy.apis import is_enabled
from mayfly.deploy.config import Config
from mayfly.deploy.identities import email_of
from mayfly.deploy.marks import is_described, is_labelled
from orchestrator.errors import BadUsage
from orchestrator.google_admin import GoogleAdmin, Service
from orchestrator.google_errors import Subject
from orchestrator.together import together

SWEEPER, SCHEDULER = "mayfly-sweeper", "mayfly-scheduler"
_PLACE = re.compile(r"\b(?P<kind>VM|IP|job) (?P<where>[a-z0-9-]+)/(?P<name>[a-z0-9-]+)")
_PATHS = {
    "VM": (Service.COMPUTE, "zones/{where}/instances/{name}"),
    "IP": (Service.COMPUTE, "regions/{where}/addresses/{name}"),
    "job": (Service.RUN, "locations/{where}/jobs/{name}"),
}


@dataclass(frozen=True)
class _Place:
    """`where`: a zone or a region."""

    kind: str
    where: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.where}/{self.name}"


def sweepers_purpose(config: Config) -> str:
    """Of its account: whose clean-up it does. Google takes 256 characters, so it is told in two parts."""
    return f"finishes what dead runs left: {', '.join(map(str, _of_runs(config)))}"


def schedulers_purpose(config: Config) -> str:
    """Of its account: what it starts."""
    return f"starts Cloud Run jobs: {_job(config)}"


def _of_runs(config: Config) -> Iterator[_Place]:
    own = config.settings
    yield _Place("VM", own.zone, own.instance)
    if own.static_name:
        yield _Place("IP", own.region, own.static_name)


def _job(config: Config) -> _Place:
    return _Place("job", config.job_region, config.job.name)


async def refuse_if_elsewhere(google: GoogleAdmin, config: Config, enabled: Sequence[str]) -> None:
    """BadUsage if the last deploy made things where this config does not look, and they are still there."""
    if not is_enabled(Service.IAM, enabled):
        return
    told = [place for account in (SWEEPER, SCHEDULER) for place in await _told(google, config, account)]
    others = [place for place in told if place not in {*_of_runs(config), _job(config)}]
    seen = await together(*(_is_there(google, config, place, enabled) for place in others))
    if left := [str(place) for place, there in zip(others, seen, strict=True) if there]:
        raise BadUsage(
            f"{config.project} holds a deployment that mayfly.toml no longer describes: {', '.join(left)}. It would be "
            "forgotten, and go on: its schedules tick, its disk and its IP cost. Put the zone, region and names back "
            "as they were and `mayfly destroy` it; or delete what is named here, and its schedules, by hand. Nothing "
            "was touched."
        )


async def _told(google: GoogleAdmin, config: Config, account: str) -> list[_Place]:
    email = email_of(config.project, account)
    subject = Subject(f"look at the service account {email}", "")
    seen = await google.find(Service.IAM, f"projects/{config.project}/serviceAccounts/{email}", subject) or {}
    return [_Place(**found.groupdict()) for found in _PLACE.finditer(seen["description"])] if is_described(seen) else []


async def _is_there(google: GoogleAdmin, config: Config, place: _Place, enabled: Sequence[str]) -> bool:
    service, path = _PATHS[place.kind]
    if not is_enabled(service, enabled):
        return False
    below = path.format(where=place.where, name=place.name)
    seen = await google.find(service, f"projects/{config.project}/{below}", Subject(f"look at the {place}", ""))
    return seen is not None and (is_labelled(seen) if place.kind == "job" else is_described(seen))
