"""Grants: who has which role on what. A policy is everybody's: ours are added to it, and taken out, by its etag."""

from dataclasses import dataclass

from mayfly.deploy.differences import Difference
from mayfly.deploy.resource import Resource
from orchestrator.google_admin import GoogleAdmin, Json, Service

_VERSION = 3  # the first that shows conditions: asked for less, Google would have us write them away
_QUERY = {"options.requestedPolicyVersion": str(_VERSION)}


@dataclass(frozen=True)
class Grant:
    """One role for one service account."""

    role: str  # roles/run.invoker, projects/P/roles/mayflySweeper
    account: str  # its email

    @property
    def member(self) -> str:
        """As policies write it."""
        return f"serviceAccount:{self.account}"


@dataclass(frozen=True)
class Grants(Resource):
    """What our accounts may do on one thing. Theirs alone is ever changed: whatever else the policy says stays."""

    service: Service
    path: str  # of the thing: projects/P/secrets/S
    on: str  # "the secret S"
    grants: tuple[Grant, ...]
    no_more: tuple[Grant, ...] = ()  # what an earlier mayfly.toml may have granted, and this one does not

    kind = "permissions"

    @property
    def name(self) -> str:  # type: ignore[override]
        """As a person calls it."""
        return f"on {self.on}"

    async def look(self, google: GoogleAdmin) -> Json | None:
        """The policy; None: the thing is not there yet, or none of our grants is."""
        policy = await self._policy(google)
        return policy if policy and (not self.grants or not self.is_gone(policy)) else None

    def is_gone(self, seen: Json) -> bool:
        """Nothing of ours is in it."""
        return not any(_has(seen, grant) for grant in (*self.grants, *self.no_more))

    def differences(self, seen: Json) -> list[Difference]:
        """The grants that are missing, and those that are left over."""
        missing = [Difference(grant.role, None, grant.account) for grant in self.grants if not _has(seen, grant)]
        return missing + [Difference(grant.role, grant.account, None) for grant in self.no_more if _has(seen, grant)]

    def is_ours(self, seen: Json) -> bool:  # noqa: ARG002
        """They are for accounts that we made."""
        return True

    async def make(self, google: GoogleAdmin) -> None:
        """The same as adding what is missing."""
        await self.change(google, await self._policy(google) or {}, [])

    async def change(self, google: GoogleAdmin, seen: Json, found: list[Difference]) -> None:  # noqa: ARG002
        """Add what is missing, take out what is left over."""
        bindings = _without(seen.get("bindings", []), self.no_more)
        for grant in self.grants:
            if not _has(seen, grant):
                bindings = _with(bindings, grant)
        await self._write(google, seen, bindings)

    async def remove(self, google: GoogleAdmin, seen: Json) -> None:
        """Take ours out."""
        await self._write(google, seen, _without(seen.get("bindings", []), (*self.grants, *self.no_more)))

    async def _policy(self, google: GoogleAdmin) -> Json | None:
        path, doing = f"{self.path}:getIamPolicy", self.about("look at")
        match self.service:
            case Service.STORAGE:
                version = {"optionsRequestedPolicyVersion": str(_VERSION)}
                return await google.find(self.service, f"{self.path}/iam", doing, **version)
            case Service.PROJECTS:
                return await google.ask(self.service, path, {"options": {"requestedPolicyVersion": _VERSION}}, doing)
            case Service.IAM:
                return await google.ask(self.service, path, {}, doing, **_QUERY)
        return await google.find(self.service, path, doing, **_QUERY)

    async def _write(self, google: GoogleAdmin, seen: Json, bindings: list[Json]) -> None:
        policy, doing = {**seen, "bindings": bindings, "version": _VERSION}, self.about("set")
        if self.service is Service.STORAGE:
            await google.put(self.service, f"{self.path}/iam", policy, doing)
        else:
            await google.post(self.service, f"{self.path}:setIamPolicy", {"policy": policy}, doing)


def _has(policy: Json, grant: Grant) -> bool:
    return any(
        _is_for(binding, grant) and grant.member in binding.get("members", []) for binding in policy.get("bindings", [])
    )


def _is_for(binding: Json, grant: Grant) -> bool:
    return bool(binding["role"] == grant.role) and "condition" not in binding


def _with(bindings: list[Json], grant: Grant) -> list[Json]:
    if not any(_is_for(binding, grant) for binding in bindings):
        return [*bindings, {"role": grant.role, "members": [grant.member]}]
    return [
        {**binding, "members": [*binding["members"], grant.member]} if _is_for(binding, grant) else binding
        for binding in bindings
    ]


def _without(bindings: list[Json], grants: tuple[Grant, ...]) -> list[Json]:
    unwanted = {(grant.role, grant.member) for grant in grants}
    rest = [
        binding
        if "condition" in binding
        else {**binding, "members": [who for who in binding["members"] if (binding["role"], who) not in unwanted]}
        for binding in bindings
    ]
    return [binding for binding in rest if binding["members"]]
