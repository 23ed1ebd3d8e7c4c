"""What methods of Cloud Run and Cloud Scheduler ask for besides: for words of one's own, and for whom they act."""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from gcp_emulator.further_needs import Further, acting_as, described
from gcp_emulator.needs import DOWNLOAD, RUN_WITH_OVERRIDES, Need
from gcp_emulator.routes import Call

if TYPE_CHECKING:
    from gcp_emulator.world import World


IMAGE = re.compile(r"(?P<location>[a-z0-9-]+)-docker\.pkg\.dev/(?P<project>[^/]+)/(?P<repository>[^/]+)/")


def _run(world: "World", call: Call, resource: str) -> Iterator[Need]:
    if described(world, call).get("overrides"):
        yield Need(RUN_WITH_OVERRIDES, resource)


def _job(world: "World", call: Call, resource: str) -> Iterator[Need]:
    """A job runs as its account, or else as Compute Engine's: whoever writes it must be allowed to act as that."""
    template = described(world, call).get("template") or {}
    email = (template.get("template") or {}).get("serviceAccount") or "default"
    yield acting_as(world, _project(resource), email)
    for container in (template.get("template") or {}).get("containers") or []:
        if (image := IMAGE.match(str(container.get("image", "")))) and image["project"] in world.projects:
            place = f"projects/{image['project']}/locations/{image['location']}"
            yield Need(DOWNLOAD, f"{place}/repositories/{image['repository']}")


def _schedule(world: "World", call: Call, resource: str) -> Iterator[Need]:
    target = described(world, call).get("httpTarget") or {}
    for token in ("oauthToken", "oidcToken"):
        if email := (target.get(token) or {}).get("serviceAccountEmail"):
            yield acting_as(world, _project(resource), email)


def _project(resource: str) -> str:
    return resource.split("/")[1]


MORE: Mapping[str, Further] = {
    "run.jobs.run": _run,
    "run.jobs.create": _job,
    "run.jobs.update": _job,
    "cloudscheduler.jobs.create": _schedule,
    "cloudscheduler.jobs.update": _schedule,
}
