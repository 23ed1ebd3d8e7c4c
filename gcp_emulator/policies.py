"""Policies: which members have which roles on a resource, and so who may do what."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gcp_emulator.errors import RpcError
from gcp_emulator.predefined_roles import PREDEFINED
from gcp_emulator.routes import Answer, Call, Json, Route
from gcp_emulator.rpc import body_of, etag

if TYPE_CHECKING:
    from gcp_emulator.world import World

NEVER_SET = "ACAB"  # the etag of a policy that nobody has set yet
MEMBER = re.compile(r"(user|serviceAccount|group|domain|deleted:\w+|projectOwner|projectEditor|projectViewer):\S+\Z")
EVERYBODY = ("allUsers", "allAuthenticatedUsers")

Find = Callable[["World", Call], str]  # the key of the resource that a request is about; raises if it is not there


@dataclass(slots=True)
class Policy:
    """The policy of one resource."""

    bindings: dict[str, list[str]] = field(default_factory=dict)  # role -> members
    times_set: int = 0

    @property
    def etag(self) -> str:
        """Changes whenever the policy does."""
        return etag(self.times_set, self.bindings) if self.times_set else NEVER_SET

    def as_json(self) -> Json:
        """Show it as the API does."""
        bindings = [{"role": role, "members": members} for role, members in self.bindings.items()]
        return {"version": 1, "etag": self.etag, **({"bindings": bindings} if bindings else {})}


def member(email: str) -> str:
    """Call somebody as policies do."""
    kind = "serviceAccount" if email.endswith("gserviceaccount.com") else "user"
    return f"{kind}:{email}"


def allowed(world: "World", email: str | None, permission: str, resource: str) -> bool:
    """Tell whether somebody has a permission on a resource, by its own policy or one of what it is in.

    None is who shows no token: a laptop without accounts, whose owner may do everything.
    """
    if email is None:
        return True
    own = {member(email), *EVERYBODY}
    return any(
        not own.isdisjoint(members) and has_permission(world, role, permission)
        for key, policy in world.policies.items()
        if resource == key or resource.startswith(f"{key}/")
        for role, members in policy.bindings.items()
    )


def has_permission(world: "World", role: str, permission: str) -> bool:
    """Tell whether a role has a permission; one that is deleted or disabled has none."""
    if custom := world.roles.get(role):
        return custom.active and permission in custom.permissions
    return any(pattern.fullmatch(permission) for pattern in PREDEFINED.get(role, ()))


def grant(world: "World", resource: str, role: str, who: str) -> None:
    """Add a member to a role, without a word."""
    members = world.policies.setdefault(resource, Policy()).bindings.setdefault(role, [])
    if who not in members:
        members.append(who)


def forget(world: "World", resource: str) -> None:
    """The resource is gone, and its policy with it."""
    world.policies.pop(resource, None)


def rename_member(world: "World", before: str, after: str) -> None:
    """Call a member otherwise, in all policies."""
    for policy in world.policies.values():
        for role, members in policy.bindings.items():
            policy.bindings[role] = [after if one == before else one for one in members]


# --- requests ----------------------------------------------------------------------------------------------------


def routes(template: str, verb: str, find: Find, *, get_by: str = "GET") -> tuple[Route, ...]:
    """Make the three methods that every resource with a policy has; `verb` is like run.jobs."""

    def get(world: "World", call: Call) -> Answer:
        return world.policies.get(find(world, call), Policy()).as_json()

    def set_(world: "World", call: Call) -> Answer:
        return replace(world, find(world, call), body_of(call).get("policy") or {})

    def test(world: "World", call: Call) -> Answer:
        return test_permissions(world, find(world, call), call)

    return (
        Route(get_by, f"{template}:getIamPolicy", f"{verb}.getIamPolicy", get),
        Route("POST", f"{template}:setIamPolicy", f"{verb}.setIamPolicy", set_),
        Route("POST", f"{template}:testIamPermissions", f"{verb}.testIamPermissions", test),
    )


def replace(world: "World", resource: str, given: Json) -> Json:
    """Replace a whole policy, if nobody else did since the caller read it."""
    policy = world.policies.get(resource, Policy())
    if (expected := given.get("etag")) and expected != policy.etag:
        message = (
            "There were concurrent policy changes. Please retry the whole read-modify-write with exponential backoff. "
            f"The request's ETag '{expected}' did not match the current policy's ETag '{policy.etag}'."
        )
        raise RpcError(409, message, "ABORTED")
    bindings: dict[str, list[str]] = {}
    for binding in given.get("bindings") or []:
        role, members = binding.get("role", ""), binding.get("members") or []
        _check(world, role, members, binding, before=policy.bindings.get(role, []))
        have = bindings.setdefault(role, [])
        have += [one for one in members if one not in have]
    policy.bindings = {role: members for role, members in bindings.items() if members}
    policy.times_set += 1
    world.policies[resource] = policy
    world.changes += 1
    return policy.as_json()


def _check(world: "World", role: str, members: list[str], binding: Json, before: list[str]) -> None:
    if binding.get("condition"):
        raise RpcError(400, "This emulator has no conditions in policies.")
    custom = world.roles.get(role)
    if role.startswith("roles/") and role not in PREDEFINED:
        raise RpcError(400, f"Role {role} is not supported for this resource.")
    if not role.startswith("roles/") and (custom is None or custom.deleted):
        raise RpcError(400, f"Role ({role}) does not exist in the resource's hierarchy.")
    for one in members:
        if one not in EVERYBODY and not MEMBER.match(one):
            raise RpcError(400, f"Invalid principal '{one}': it has no type prefix that policies know.")
        kind, _, email = one.partition(":")
        if kind == "serviceAccount" and one not in before and _is_missing(world, email):
            raise RpcError(400, f"Service account {email} does not exist.")


def _is_missing(world: "World", email: str) -> bool:
    """Only of the projects that are here can we know; Google's own agents (gcp-sa-run...) come and go by themselves."""
    project = email.partition("@")[2].removesuffix(".iam.gserviceaccount.com")
    return project in world.projects and email not in world.accounts


def test_permissions(world: "World", resource: str, call: Call) -> Json:
    """Say which of these permissions the caller has on a resource."""
    asked = body_of(call).get("permissions") or []
    if wild := [one for one in asked if "*" in one]:
        raise RpcError(400, f"Permission {wild[0]} is not valid: wildcards are not allowed.")
    have = [one for one in asked if allowed(world, call.principal, one, resource)]
    return {"permissions": have} if have else {}
