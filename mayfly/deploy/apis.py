"""Google's APIs: those that a project has enabled, and those that we need."""

from collections.abc import Iterable
from dataclasses import dataclass

from mayfly.deploy.differences import Difference
from mayfly.deploy.resource import Resource
from orchestrator.google_admin import GoogleAdmin, Json, Service

# iamcredentials: people act as the orchestrator's account through it.
NEEDED = tuple(sorted({service.partition("/")[0] for service in Service} | {"iamcredentials.googleapis.com"}))


@dataclass(frozen=True)
class Apis(Resource):
    """All of them at once. They stay enabled when all else is taken down: others may use them by then."""

    project: str

    kind, name, service = "APIs", "of the project", Service.USAGE

    async def look(self, google: GoogleAdmin) -> Json | None:
        """The names of those that are enabled. Asked first of all: it shows whether the project is ours to see."""
        query = {"filter": "state:ENABLED", "pageSize": "200"}
        listed = google.list(
            Service.USAGE, f"projects/{self.project}/services", "services", self.about("look at"), **query
        )
        return {"enabled": [entry["config"]["name"] async for entry in listed]}

    def differences(self, seen: Json) -> list[Difference]:
        """Those that are not enabled."""
        return [Difference(name, "disabled", "enabled") for name in NEEDED if name not in seen["enabled"]]

    def is_ours(self, seen: Json) -> bool:  # noqa: ARG002
        """Enabling one takes nothing from anybody."""
        return True

    async def make(self, google: GoogleAdmin) -> None:
        """There always is a list, if an empty one."""

    async def change(self, google: GoogleAdmin, seen: Json, found: list[Difference]) -> None:  # noqa: ARG002
        """Enable what is missing; Google takes minutes sometimes."""
        body, doing = {"serviceIds": [difference.path for difference in found]}, self.about("enable")
        enabling = await google.post(Service.USAGE, f"projects/{self.project}/services:batchEnable", body, doing)
        await google.finished(Service.USAGE, enabling, doing)

    async def remove(self, google: GoogleAdmin, seen: Json) -> None:
        """Never."""


def is_enabled(service: Service, enabled: Iterable[str]) -> bool:
    """Whether it can be asked anything."""
    return service.partition("/")[0] in enabled
