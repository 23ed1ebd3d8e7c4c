"""The Scheduler's entries: when the job is started by itself, and how often the sweeper is."""

import base64
import json
from dataclasses import dataclass, replace

from mayfly.deploy.config import Config
from mayfly.deploy.differences import Difference
from mayfly.deploy.marks import described
from mayfly.deploy.resource import Item
from mayfly.deploy.run_jobs import collection, sweeper
from mayfly.deploy.tables import Schedule, cron_of
from orchestrator.errors import BadResource
from orchestrator.google_admin import GoogleAdmin, Json, Service
from orchestrator.google_credentials import SCOPE

_RETRIES = 3  # of the request to Cloud Run. The second may be a second run, so only where a window makes them one
_SWEEP = "sweep"
_ENABLED, _PAUSED, _DISABLED = "ENABLED", "PAUSED", "DISABLED"
_FAR = "0 0 29 2 *"


@dataclass(frozen=True, kw_only=True)
class _Entry(Item):
    paused: bool | None  # None: nobody said; then who has paused it by hand knows why

    @property
    def own_name(self) -> str:
        return self.path

    def differences(self, seen: Json) -> list[Difference]:
        state = seen.get("state")
        wanted = _PAUSED if self.paused or self._rests(seen) else _ENABLED
        return super().differences(seen) + ([Difference("state", state, wanted)] if state != wanted else [])

    def remark(self, seen: Json) -> str:
        place = self.collection.split("/")[3]
        how = f"gcloud scheduler jobs resume {self.name} --location {place}"
        return f"somebody has paused it, and it stays so: {how}, or paused = false" if self._rests(seen) else ""

    def _rests(self, seen: Json) -> bool:
        return self.paused is None and seen.get("state") == _PAUSED

    async def make(self, google: GoogleAdmin) -> None:
        """Google makes every entry enabled: one that shall rest is made for a day that is far away, until it does."""
        far = replace(self, paused=None, wanted={**self.wanted, "schedule": _FAR}) if self.paused else self
        await super(_Entry, far).make(google)

    async def change(self, google: GoogleAdmin, seen: Json, found: list[Difference]) -> None:
        state = seen.get("state")
        if state == _DISABLED:
            raise BadResource(
                f"Google itself has disabled the {self.kind} {self.name}, and nobody can enable it. Delete it, and "
                f"deploy again: gcloud scheduler jobs delete {self.name} --location {self.collection.split('/')[3]}"
            )
        if self.paused and state == _ENABLED:  # first of all: it may be due any moment
            await google.post(self.service, f"{self.path}:pause", {}, self.about("pause"))
        elif [difference.path for difference in found] == ["state"] and state == _PAUSED:
            await google.post(self.service, f"{self.path}:resume", {}, self.about("resume"))
        else:
            await super().change(google, seen, found)


def entry(config: Config, schedule: Schedule, account: str) -> Item:
    """One [[schedule]]."""
    what = f"{schedule.mode} of the Cloud Run job {config.job.name}"
    return _entry(config, schedule, config.job.name, what, account)


def sweep_entry(config: Config, account: str) -> Item:
    """[sweep]."""
    schedule = Schedule(name=_SWEEP, cron=cron_of(config.sweep.every), paused=False)
    return _entry(config, schedule, sweeper(config), "what dead runs left is finished", account)


def overrides(config: Config, schedule: Schedule) -> list[str] | None:
    """The job's words, where the schedule has other ones; to give them takes a larger permission."""
    if (schedule.mode, schedule.args, schedule.once_per) == ("run", None, None):
        return None
    window = ["--once-per", schedule.once_per, "--tz", schedule.time_zone] if schedule.once_per else []
    return [schedule.mode, *window, *(config.job.args if schedule.args is None else schedule.args)]


def _entry(config: Config, schedule: Schedule, job: str, what: str, account: str) -> Item:
    words = overrides(config, schedule)
    body = {} if words is None else {"overrides": {"containerOverrides": [{"args": words}]}}
    return _Entry(
        kind="schedule",
        name=f"mayfly-{schedule.name}",
        service=Service.SCHEDULER,
        collection=collection(config),
        wanted={
            "description": described(what),
            "schedule": schedule.cron,
            "timeZone": schedule.time_zone,
            "httpTarget": {
                "uri": f"https://{Service.RUN}/{collection(config)}/{job}:run",
                "httpMethod": "POST",
                "headers": {"Content-Type": "application/json"},
                "body": base64.b64encode(json.dumps(body).encode()).decode(),
                "oauthToken": {"serviceAccountEmail": account, "scope": SCOPE},
            },
            "retryConfig": {"retryCount": _RETRIES if schedule.once_per else 0},
        },
        paused=schedule.paused,
    )
