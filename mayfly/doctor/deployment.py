"""The Cloud Run job, the sweeper beside it, and the Scheduler's entries that start them."""

import re
from datetime import timedelta

from mayfly.deploy.run_jobs import sweeper
from mayfly.doctor.findings import Finding, Level, NotLooked, Trouble, check, well
from mayfly.doctor.patient import Patient
from mayfly.ticks import Tick
from orchestrator.errors import NotFound
from orchestrator.google_admin import Json, Service
from orchestrator.settings import Settings
from orchestrator.spans import parse_duration, written

BY_TAG = Trouble(
    Level.WARN,
    "The Cloud Run job {name} names its image by a tag, {image}: what runs tomorrow may be another one than today.",
    "Deploy it by digest: `mayfly deploy` looks up the one that the tag stands for now.",
    "mayfly deploy --image {image}",
)
GONE = Trouble(
    Level.FAIL,
    "The image of the Cloud Run job {job} is not in Artifact Registry (any more): {image}. No run of it begins.",
    "Push one, and deploy that.",
    "mayfly deploy --image {name}:latest",
)
NOT_ONE = Trouble(
    Level.WARN,
    "The sweeper {sweeper} runs another image than the job {job}: {other} and {image}.",
    "Deploy both at once.",
    "mayfly deploy --image {image}",
)
TOO_SHORT = Trouble(
    Level.FAIL,
    "Cloud Run ends a task of the job {job} after {seen}, and a run may take {needed}, with the wait for its turn, the "
    "way up and the way down: it would be cut off, and the VM left to its dead-man.",
    "Give the task more time.",
    "gcloud run jobs update {job} --region {job_region} --project {project} --task-timeout {seconds}s",
)
OTHER_SETTINGS = Trouble(
    Level.WARN,
    "The Cloud Run job {job} has other settings than there are here: {differ}. What is looked at here may not be what "
    "it uses.",
    "Deploy the settings that are right, or set them here.",
    "mayfly deploy",
)
NO_SWEEPER = Trouble(
    Level.FAIL,
    "Nothing sweeps: {why}. What a killed run leaves on stays on until the VM's own limits end it.",
    "Deploy the sweeper and its schedule ([sweep] in mayfly.toml).",
    "mayfly deploy",
)
SWEEP_PAUSED = Trouble(
    Level.FAIL,
    "Nothing sweeps: the Scheduler's entry mayfly-sweep is paused.",
    "Resume it.",
    "gcloud scheduler jobs resume mayfly-sweep --location {job_region} --project {project}",
)
PAUSED = Trouble(
    Level.WARN,
    "The Scheduler's entry {name} is paused: it starts nothing.",
    "Resume it, or write paused = true into its [[schedule]].",
    "gcloud scheduler jobs resume {name} --location {job_region} --project {project}",
)
TICK_FAILED = Trouble(
    Level.FAIL,
    "The last tick of the Scheduler's entry {name} started nothing: {why}.",
    "If a permission is missing, grant its account run.jobs.runWithOverrides on the job; then have it tick again.",
    "gcloud scheduler jobs run {name} --location {job_region} --project {project}",
)
ELSEWHERE = Trouble(
    Level.WARN,
    "The Scheduler's entry {name} starts {target}, which is not the job {job}.",
    "Deploy again, or delete it.",
    "gcloud scheduler jobs delete {name} --location {job_region} --project {project}",
)
_STORED = r"([a-z0-9-]+)-docker\.pkg\.dev/([^/]+)/([^/]+)/(.+@sha256:[0-9a-f]{64})"
_NAMED = ("PROJECT_ID", "ZONE", "INSTANCE", "TEMPLATE", "STATIC_NAME")  # what decides which VM it is
_SPANS = ("TIMEOUT", "BOOT_TIMEOUT", "WAIT_FOR_LEASE")  # what decides how long a task may take


@check("job-image", BY_TAG, GONE, NOT_ONE)
async def image(patient: Patient) -> list[Finding]:
    """The Cloud Run job runs one image and no other: named by digest, in the registry, and the sweeper's as well."""
    own = _image(await patient.deployed_job())
    if "@sha256:" not in own:
        return [BY_TAG.found(patient.names, name=patient.config.job.name, image=own)]
    stored = re.fullmatch(_STORED, own)
    if stored is not None and await patient.found(Service.REGISTRY, _resource(stored)) is None:
        return [GONE.found(patient.names, image=own, name=own.partition("@")[0])]
    beside = await patient.job(sweeper(patient.config))
    if beside is not None and _image(beside) != own:
        return [NOT_ONE.found(patient.names, other=_image(beside), image=own)]
    return well(own)


@check("job-timeout", TOO_SHORT)
async def timeout(patient: Patient) -> list[Finding]:
    """Cloud Run lets a task live longer than a run can take."""
    seen = timedelta(seconds=float(_task(await patient.deployed_job()).get("timeout", "600s").removesuffix("s")))
    needed = timedelta(seconds=int(patient.config.task_timeout.total_seconds()))  # as a deploy says it
    if seen < needed:
        seconds = f"{needed.total_seconds():.0f}"
        return [TOO_SHORT.found(patient.names, seen=written(seen), needed=written(needed), seconds=seconds)]
    return well(f"{written(seen)}; a run takes {written(needed)} at most, waiting and coming down included.")


@check("job-settings", OTHER_SETTINGS)
async def settings(patient: Patient) -> list[Finding]:
    """The job is about the VM that is looked at here, and for runs as long."""
    container = _task(await patient.deployed_job())["containers"][0]
    theirs = {variable["name"]: variable.get("value", "") for variable in container.get("env", [])}
    own = patient.settings
    named = {name: getattr(own, name.lower()) or "" for name in _NAMED}
    differ = {name: theirs.get(name) for name in _NAMED if theirs.get(name, "") != named[name]}
    differ |= {name: theirs.get(name) for name in _SPANS if _span(theirs, name) != getattr(own, name.lower())}
    if not differ:
        return well("They are the same.")
    told = ", ".join(f"{name}={value or '(not set)'}" for name, value in differ.items())
    return [OTHER_SETTINGS.found(patient.names, differ=told)]


@check("sweeper", NO_SWEEPER, SWEEP_PAUSED)
async def sweeps(patient: Patient) -> list[Finding]:
    """A sweep comes by regularly."""
    await patient.deployed_job()
    name = sweeper(patient.config)
    if await patient.job(name) is None:
        return [NO_SWEEPER.found(patient.names, why=f"there is no Cloud Run job {name}")]
    entries = [tick for tick in await _ticks(patient) if f"/jobs/{name}:run" in tick.target]
    if not entries:
        return [NO_SWEEPER.found(patient.names, why=f"no entry of the Scheduler starts the job {name}")]
    if not entries[0].enabled:
        return [SWEEP_PAUSED.found(patient.names)]
    return _ticked(entries[0], patient) or well(f"{entries[0].cron}, next at {_next(entries[0])}.")


@check("schedules", PAUSED, TICK_FAILED, ELSEWHERE)
async def schedules(patient: Patient) -> list[Finding]:
    """Every entry of the Scheduler ticks, and its ticks start the job."""
    await patient.deployed_job()
    meant_to_rest = {f"mayfly-{one.name}" for one in patient.config.schedules if one.paused}
    found: list[Finding] = []
    entries = [tick for tick in await _ticks(patient) if f"/jobs/{sweeper(patient.config)}:run" not in tick.target]
    for tick in entries:
        if f"/jobs/{patient.config.job.name}:run" not in tick.target:
            found.append(ELSEWHERE.found(patient.names, name=tick.name, target=tick.target))
        elif not tick.enabled and tick.name not in meant_to_rest:
            found.append(PAUSED.found(patient.names, name=tick.name))
        else:
            found += _ticked(tick, patient)
    told = [f"{tick.name} at {_next(tick)}" for tick in entries]
    return found or well(f"{', '.join(told)}." if told else "There is none: runs are started by hand.")


async def _ticks(patient: Patient) -> list[Tick]:
    try:
        return await patient.ticks()
    except NotFound as no_place:
        raise NotLooked(str(no_place)) from no_place


def _ticked(tick: Tick, patient: Patient) -> list[Finding]:
    return [TICK_FAILED.found(patient.names, name=tick.name, why=tick.last_failure)] if tick.last_failure else []


def _next(tick: Tick) -> str:
    return f"{tick.next:%Y-%m-%d %H:%M} UTC" if tick.next else "no time: it is paused"


def _span(variables: dict[str, str], name: str) -> timedelta | None:
    """What that setting is there; None if that is no duration."""
    try:
        return parse_duration(variables.get(name) or Settings.model_fields[name.lower()].default)
    except ValueError:
        return None


def _image(job: Json) -> str:
    return str(_task(job)["containers"][0]["image"])


def _resource(stored: re.Match[str]) -> str:
    location, project, repository, image = stored.groups()
    where = f"projects/{project}/locations/{location}/repositories/{repository}"
    return f"{where}/dockerImages/{image.replace('/', '%2F')}"


def _task(job: Json) -> Json:
    task: Json = job["template"]["template"]
    return task
