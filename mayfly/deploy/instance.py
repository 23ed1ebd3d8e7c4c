"""The VM itself. Compute Engine knows no VM that is born switched off, so ours is born bare, and seen off at once.

    nothing -> bare: no startup script, and a limit of two minutes that Google keeps should we die -> off
            -> armed for a run -> complete: metadata, startup script and its hash

Whoever comes next goes on where the last one stopped: a VM without the hash is not complete, and may be stopped.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

from mayfly.deploy.config import Config
from mayfly.deploy.differences import Difference, differences
from mayfly.deploy.marks import LABELS, described
from mayfly.deploy.resource import Resource
from mayfly.deploy.startup import HASH_ATTRIBUTE, StartupScript
from mayfly.deploy.vm_body import OTHERS, attributes, items, metadata_of, properties, scheduling
from orchestrator.errors import BadResource, Transient
from orchestrator.google_admin import GoogleAdmin, Json, Service
from orchestrator.google_credentials import SCOPE

_BARE = timedelta(minutes=2)  # of a VM that nobody needs yet; Google takes 30 s at least
OFF = ("TERMINATED", "STOPPED")
# What can be mended on a VM that is off, and how; the rest is decided when it is made.
_MENDS = {"machineType": "setMachineType", "serviceAccounts": "setServiceAccount", "tags": "setTags"}


@dataclass(frozen=True)
class Instance(Resource):
    """INSTANCE, stopped."""

    config: Config
    script: StartupScript

    kind, service = "VM", Service.COMPUTE

    @property
    def name(self) -> str:  # type: ignore[override]
        """INSTANCE."""
        return self.config.settings.instance

    @property
    def path(self) -> str:
        """Below the API's version."""
        return f"{self._zone}/instances/{self.name}"

    @property
    def _zone(self) -> str:
        return f"projects/{self.config.project}/zones/{self.config.settings.zone}"

    @cached_property
    def _body(self) -> Json:
        return properties(self.config, f"{self._zone}/")

    async def look(self, google: GoogleAdmin) -> Json | None:
        """The VM."""
        return await google.find(Service.COMPUTE, self.path, self.about("look at"))

    def differences(self, seen: Json) -> list[Difference]:
        """Of one that is not complete only what comes first is told."""
        has = metadata_of(seen)
        if HASH_ATTRIBUTE not in has and seen["status"] not in OFF:
            return [Difference("status", seen["status"], "TERMINATED")]
        fixed: Json = {
            name: self._body[name] for name in ("networkInterfaces", "guestAccelerators") if name in self._body
        }
        disk = {"diskSizeGb": str(self.config.vm.disk_gb)}
        found = [*self._rented(seen)]
        found += differences({**fixed, "disks": [disk]}, {**seen, "disks": seen["disks"][:1]})
        found += differences({"labels": LABELS, **{name: self._body[name] for name in _MENDS if name != "tags"}}, seen)
        found += [Difference("tags", None, tag) for tag in self._body["tags"]["items"] if tag not in _tags(seen)]
        return [*found, *self._unarmed(seen), *self._metadata(has)]

    def _rented(self, seen: Json) -> Iterator[Difference]:
        """Spot, or not: that is decided when it is made."""
        is_spot = seen.get("scheduling", {}).get("provisioningModel") == "SPOT"
        if is_spot != self.config.vm.spot:
            yield Difference("spot", is_spot, self.config.vm.spot)

    def _unarmed(self, seen: Json) -> list[Difference]:
        """As the ladder has it: long enough for a run, and at most twice that. It can be set on a VM that is off."""
        if seen["status"] not in OFF:
            return []
        block, limit = seen.get("scheduling", {}), self.config.vm_limit.total_seconds()
        wanted = scheduling(self.config, self.config.vm_limit, "STOP")
        del wanted["provisioningModel"]  # which is told apart: this sets it on no VM
        if limit <= int(block.get("maxRunDuration", {}).get("seconds", 0)) <= 2 * limit:
            del wanted["maxRunDuration"]
        return differences({"scheduling": wanted}, {"scheduling": block})

    def _metadata(self, has: dict[str, str]) -> list[Difference]:
        wanted = attributes(self.config, self.script)
        ours = {name for name in has if name.startswith("mayfly-")} - OTHERS
        return [
            Difference(f"metadata.{name}", has.get(name), wanted.get(name))
            for name in [*wanted, *sorted(ours - wanted.keys())]
            if has.get(name) != wanted.get(name)
        ]

    async def make(self, google: GoogleAdmin) -> None:
        """Insert it, bare."""
        body = {
            "name": self.name,
            "description": described("the VM that runs are made on"),
            **self._body,
            "scheduling": scheduling(self.config, _BARE, "STOP"),
        }
        doing = self.about("make")
        made = await google.post(Service.COMPUTE, f"{self._zone}/instances", body, doing)
        await google.finished(Service.COMPUTE, made, doing)

    async def change(self, google: GoogleAdmin, seen: Json, found: list[Difference]) -> None:
        """One thing; what comes after it is found by the next look."""
        first = found[0].path.partition(".")[0].partition("[")[0]
        fingerprint = seen.get("metadata", {}).get("fingerprint", "")
        match first:
            case "status":
                await self._switch_off(google, seen)
            case "labels":
                labels = {"labels": {**seen.get("labels", {}), **LABELS}, "labelFingerprint": seen["labelFingerprint"]}
                await self._do(google, "setLabels", labels)
            case "scheduling":
                await self._do(google, "setScheduling", scheduling(self.config, self.config.vm_limit, "STOP"))
            case "metadata":
                await self._do(google, "setMetadata", {"items": items(self._merged(seen)), "fingerprint": fingerprint})
            case _ if first in _MENDS:
                await self._mend(google, seen, first)
            case _:
                raise BadResource(self._unchangeable(found[0]))

    async def _switch_off(self, google: GoogleAdmin, seen: Json) -> None:
        if seen["status"] != "RUNNING":
            raise Transient(f"The VM {self.name} is {seen['status']}, on its way to somewhere else.")
        await self._do(google, "stop", {})

    def _merged(self, seen: Json) -> dict[str, str]:
        """Ours, and what others wrote: the lease, somebody's hold, ssh keys."""
        theirs = {
            name: value for name, value in metadata_of(seen).items() if name in OTHERS or not name.startswith("mayfly-")
        }
        return theirs | attributes(self.config, self.script)

    async def _mend(self, google: GoogleAdmin, seen: Json, field: str) -> None:
        if seen["status"] not in OFF and field != "tags":
            raise BadResource(
                f"The VM {self.name} is on, and its {field} can only be changed while it is off: deploy again then."
            )
        value = self._body[field]
        tags = list(dict.fromkeys([*_tags(seen), *self._body["tags"]["items"]]))  # others' doors stay open
        body = {
            "machineType": {"machineType": value},
            "serviceAccounts": {"email": value[0]["email"], "scopes": [SCOPE]} if field == "serviceAccounts" else {},
            "tags": {"items": tags, "fingerprint": seen["tags"]["fingerprint"]} if field == "tags" else {},
        }[field]
        await self._do(google, _MENDS[field], body)

    async def _do(self, google: GoogleAdmin, verb: str, body: Json) -> None:
        doing = self.about(f"{verb} of")
        await google.finished(
            Service.COMPUTE, await google.post(Service.COMPUTE, f"{self.path}/{verb}", body, doing), doing
        )

    def _unchangeable(self, difference: Difference) -> str:
        return (
            f"Of a VM that is there this cannot be changed: {difference}. Put mayfly.toml back as the VM is, or delete "
            f"it, with its disk and what that remembers of runs, and deploy again: gcloud compute instances delete "
            f"{self.name} --zone {self.config.settings.zone}"
        )

    async def remove(self, google: GoogleAdmin, seen: Json) -> None:  # noqa: ARG002
        """With its disk."""
        doing = self.about("delete")
        if (removed := await google.delete(Service.COMPUTE, self.path, doing)) is not None:
            await google.finished(Service.COMPUTE, removed, doing)


def _tags(seen: Json) -> list[str]:
    tags: list[str] = seen.get("tags", {}).get("items", [])
    return tags
