"""`mayfly deploy`: look at the project, say what is to be done, do it, and say what comes next."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass

from mayfly.deploy.apis import Apis, is_enabled
from mayfly.deploy.carry_out import Tell, bring_about, plan_of
from mayfly.deploy.config import Config
from mayfly.deploy.identities import email_of
from mayfly.deploy.images import by_digest
from mayfly.deploy.marks import is_described
from mayfly.deploy.places import refuse_if_elsewhere
from mayfly.deploy.plan import Action, Step, down, up
from mayfly.deploy.resource import Item, Resource
from mayfly.deploy.run_jobs import collection, sweep_job, sweeper
from mayfly.deploy.vm_body import orchestrator_email
from mayfly.deploy.wanted import REPOSITORY, Wanted
from orchestrator.errors import BadUsage
from orchestrator.google_admin import GoogleAdmin, Json, Service
from orchestrator.google_errors import Subject
from orchestrator.ports import Clock

_ANY_IMAGE = "any"  # where only kinds and names count
Agreed = Callable[[Sequence[Step]], bool]  # asks whoever is there, or nobody


@dataclass(frozen=True)
class Deployed:
    """What came of it."""

    steps: list[Step]
    done: bool
    advice: list[str]


async def deploy(
    google: GoogleAdmin,
    clock: Clock,
    config: Config,
    *,
    image: str | None,
    values: Mapping[str, bytes],
    agreed: Agreed,
    tell: Tell,
) -> Deployed:
    """Make it all so; `agreed` sees the plan first. BadUsage, StepFailed, and what a look meets."""
    there = await _there(google, config)
    chosen = image or config.job.image
    chosen = await by_digest(google, chosen) if chosen else there.image
    wanted = Wanted(config, chosen, values)
    if unknown := sorted(values.keys() - wanted.readers().keys()):
        raise BadUsage(f"--secret {', '.join(unknown)}: mayfly.toml names no such secret, so nobody would read it.")
    resources = wanted.resources()
    # Without an image the jobs are not wanted now, but their schedules are still described.
    described = {(one.kind, one.name) for one in Wanted(config, chosen or _ANY_IMAGE).resources()}
    stale: list[Resource] = [entry for entry in there.schedules if (entry.kind, entry.name) not in described]
    stale += [] if config.sweep.enabled else [sweep_job(config, "", "")]
    steps = await plan_of(google, config.project, resources, up)
    steps += await plan_of(google, config.project, stale, down)
    work = any(step.does_something for step in steps)
    done = work and agreed(steps)
    if done:
        await bring_about(google, clock, [*resources, *stale], steps, tell)
    return Deployed(steps, done, list(_advice(config, there.image, chosen, steps, values)))


@dataclass(frozen=True)
class _There:
    image: str | None  # of the job as it is
    schedules: list[Item]  # all that start our jobs, and that we made


async def _there(google: GoogleAdmin, config: Config) -> _There:
    apis = await Apis(config.project).look(google) or {}
    enabled: list[str] = apis.get("enabled", [])
    await refuse_if_elsewhere(google, config, enabled)
    job = None
    if is_enabled(Service.RUN, enabled):
        subject = Subject(f"look at the Cloud Run job {config.job.name}", "")
        job = await google.find(Service.RUN, f"{collection(config)}/{config.job.name}", subject)
    schedules = schedules_of(google, config) if is_enabled(Service.SCHEDULER, enabled) else None
    return _There(_image_of(config, job), [entry async for entry in schedules] if schedules else [])


def _image_of(config: Config, job: Json | None) -> str | None:
    """Of a job of that name which runs as somebody else, nobody knows what it is: our sweeper is not made of it."""
    task = job["template"]["template"] if job else {}
    ours = {orchestrator_email(config), email_of(config.project, "mayfly-orchestrator")}
    return str(task["containers"][0]["image"]) if task.get("serviceAccount") in ours else None


async def schedules_of(google: GoogleAdmin, config: Config) -> AsyncIterator[Item]:
    """All entries that we made and that start one of our jobs, also those that mayfly.toml no longer has."""
    targets = tuple(f"/{collection(config)}/{name}:run" for name in (config.job.name, sweeper(config)))
    subject = Subject("list the schedules", f"There is no project {config.project}.")
    async for entry in google.list(Service.SCHEDULER, collection(config), "jobs", subject):
        if is_described(entry) and entry.get("httpTarget", {}).get("uri", "").endswith(targets):
            yield Item(
                kind="schedule",
                name=entry["name"].rpartition("/")[2],
                service=Service.SCHEDULER,
                collection=collection(config),
                wanted={},
            )


def _advice(
    config: Config, before: str | None, image: str | None, steps: Sequence[Step], values: Mapping[str, bytes]
) -> list[str]:
    said = [
        f"The secret {step.name} is empty: printf %s THE-VALUE | mayfly deploy --secret {step.name}=-"
        for step in steps
        if (step.kind, step.action) == ("secret", Action.MAKE) and step.name not in values
    ]
    said += [f"The {step.kind} {step.name}: {step.remark}" for step in steps if step.remark]
    if config.vm.lacks_a_driver:
        said.append(
            f"[vm] has a GPU and the image {config.vm.image}, which has no driver for it: no run will find the GPU. "
            "Name one that has it as [vm] image."
        )
    if image is None:
        name = f"{config.job_region}-docker.pkg.dev/{config.project}/{REPOSITORY}/orchestrator"
        said.append(
            f"There is no Cloud Run job yet, for there is no image: gcloud auth configure-docker "
            f"{name.partition('/')[0]} && docker build -t {name} . && "
            f"docker push {name} && mayfly deploy --image {name}"
        )
    elif before not in {None, image}:
        said.append(f"To go back to the image before this one: mayfly deploy --image {before}")
    return said
