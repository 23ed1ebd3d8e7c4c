"""For VMs that are made for each run: the instance template, and the bucket that keeps their leases."""

import re
from dataclasses import dataclass
from urllib.parse import quote

from mayfly.deploy.config import Config
from mayfly.deploy.differences import Difference, differences
from mayfly.deploy.marks import LABELS, described, is_labelled
from mayfly.deploy.resource import Item
from mayfly.deploy.startup import StartupScript
from mayfly.deploy.vm_body import attributes, items, metadata_of, properties, scheduling
from orchestrator.google_admin import GoogleAdmin, Json, Service
from orchestrator.lease import STATE_URL


@dataclass(frozen=True, kw_only=True)
class _Template(Item):
    metadata: dict[str, str]

    def differences(self, seen: Json) -> list[Difference]:
        has, wanted = metadata_of(seen["properties"]), self.metadata
        names = sorted(has.keys() | wanted.keys())
        found = [
            Difference(f"metadata.{name}", has.get(name), wanted.get(name))
            for name in names
            if has.get(name) != wanted.get(name)
        ]
        return differences(self.wanted, seen["properties"]) + found

    async def make(self, google: GoogleAdmin) -> None:
        body = {"name": self.name, "properties": {**self.wanted, "metadata": {"items": items(self.metadata)}}}
        doing = self.about("make")
        await self.followed(
            google, await google.post(self.service, self.collection, {**self.born_with, **body}, doing), doing
        )

    async def change(self, google: GoogleAdmin, seen: Json, found: list[Difference]) -> None:  # noqa: ARG002
        """A template never changes: it makes way for a new one. No VM depends on it."""
        await self.remove(google, seen)


def template(config: Config, name: str, script: StartupScript) -> Item:
    """TEMPLATE. A name is a global one; regions/R/instanceTemplates/NAME is that region's."""
    region, _, short = name.rpartition("/instanceTemplates/")
    scope = region if "/" in region else "global"
    return _Template(
        kind="instance template",
        name=short or name,
        service=Service.COMPUTE,
        collection=f"projects/{config.project}/{scope}/instanceTemplates",
        wanted={**properties(config, ""), "scheduling": scheduling(config, config.vm_limit, "DELETE")},
        metadata=attributes(config, script),
        born_with={"description": described("runs make their VM from it")},
    )


@dataclass(frozen=True, kw_only=True)
class Bucket(Item):
    """Of STATE_URL. On the way down it is looked into: with anything but our leases in it, it stays."""

    leases: re.Pattern[str]  # the names of our objects
    going: bool = False

    async def look(self, google: GoogleAdmin) -> Json | None:
        """The bucket; if it is going, with the names of what is in it."""
        seen = await super().look(google)
        if seen is None or not self.going:
            return seen
        listed = google.list(self.service, f"{self.path}/o", "items", self.about("list"))
        return {**seen, "holds": [entry["name"] async for entry in listed]}

    def stays(self, seen: Json) -> str:
        """Whatever else is in it is somebody's."""
        others = [name for name in seen.get("holds", []) if not self.leases.fullmatch(name)]
        return f"there is more in it than our leases: {', '.join(others[:3])}" if others else ""

    async def remove(self, google: GoogleAdmin, seen: Json) -> None:
        """With the leases that are in it."""
        for name in seen.get("holds", []):
            await google.delete(self.service, f"{self.path}/o/{quote(name, safe='')}", self.about("empty"))
        await super().remove(google, seen)


def bucket(config: Config, state_url: str) -> Bucket:
    """Of STATE_URL."""
    match = STATE_URL.fullmatch(state_url)
    assert match is not None  # noqa: S101 - the settings have checked it
    folder = f"{match['prefix']}/" if match["prefix"] else ""
    return Bucket(
        kind="bucket",
        name=match["bucket"],
        service=Service.STORAGE,
        collection="b",
        wanted={"labels": LABELS, "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}}},
        born_with={"location": config.settings.region.upper()},
        masked=False,
        made_in={"project": config.project},
        ours=is_labelled,
        leases=re.compile(rf"{re.escape(f'{folder}{config.project}')}/[^/]+/[^/]+/lease\.json"),
    )
