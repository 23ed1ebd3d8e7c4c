"""IAM: a project's own roles. A deleted one can be had back for 7 days, and its name is not free for 37."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from gcp_emulator.errors import RpcError
from gcp_emulator.routes import Answer, Call, Json, Route
from gcp_emulator.rpc import body_of, etag, page_of, project_of

if TYPE_CHECKING:
    from gcp_emulator.world import World

ID = re.compile(r"[a-zA-Z0-9_.]{3,64}\Z")
PERMISSION = re.compile(r"[a-z]+(\.[a-zA-Z]+){2}\Z")
UNDELETE = timedelta(days=7)
NAME_BLOCKED = timedelta(days=37)
FIELDS = ("title", "description", "stage", "includedPermissions")


@dataclass(slots=True)
class CustomRole:
    """One role of a project."""

    name: str  # projects/P/roles/ID
    document: Json
    changes: int = 1
    deleted_at: datetime | None = None

    @property
    def deleted(self) -> bool:
        """It grants nothing any more."""
        return self.deleted_at is not None

    @property
    def active(self) -> bool:
        """Whoever has it has its permissions."""
        return not self.deleted and self.document.get("stage") != "DISABLED"

    @property
    def permissions(self) -> list[str]:
        """What it grants."""
        included: list[str] = self.document.get("includedPermissions", [])
        return included

    def as_json(self, *, full: bool = True) -> Json:
        """Show it as the API does; lists leave the permissions out unless they are asked for."""
        document = {"name": self.name, **self.document, "etag": etag(self.name, self.changes)}
        if not full:
            document.pop("includedPermissions", None)
        return {**document, "deleted": True} if self.deleted else document


def create(world: "World", call: Call) -> Answer:
    """Make a role."""
    project, document = project_of(world, call), body_of(call)
    identifier, role = document.get("roleId", ""), document.get("role") or {}
    if not ID.match(identifier):
        raise RpcError(400, f"The role_id ({identifier}) must match [a-zA-Z0-9_.]{{3,64}}.")
    name = f"projects/{project.id}/roles/{identifier}"
    known = world.roles.get(name)
    if known and known.deleted_at and world.now - known.deleted_at < NAME_BLOCKED:
        message = f"You can't create a role_id ({identifier}) which has been marked for deletion."
        raise RpcError(400, message, "FAILED_PRECONDITION")
    if known and not known.deleted:
        raise RpcError(409, f"A role named {identifier} in projects/{project.id} already exists.")
    made = world.roles[name] = CustomRole(name, _fields(role))
    world.moved(f"roles/{identifier}", "", "ACTIVE")
    return made.as_json()


def get(world: "World", call: Call) -> Answer:
    """Show one role, also one that is marked for deletion."""
    return _find(world, call).as_json()


def list_(world: "World", call: Call) -> Answer:
    """Show the project's roles."""
    prefix = f"projects/{project_of(world, call).id}/roles/"
    full, with_deleted = call.query.get("view") == "FULL", call.flag("showDeleted")
    found = [role for name, role in world.roles.items() if name.startswith(prefix) and not _is_gone(world, role)]
    return page_of(call.query, "roles", [one.as_json(full=full) for one in found if with_deleted or not one.deleted])


def patch(world: "World", call: Call) -> Answer:
    """Change the fields of the mask, or without one those that are given."""
    role, given = _find(world, call), body_of(call)
    if role.deleted:
        raise RpcError(400, "You can't update a role which has been marked for deletion.", "FAILED_PRECONDITION")
    _check_etag(role, given.get("etag"))
    mask = [_camel(field) for field in call.query.get("updateMask", "").split(",") if field]
    if unknown := set(mask) - set(FIELDS):
        raise RpcError(400, f"Invalid field in update mask: {min(unknown)}.")
    changed = _fields(given)
    for field in mask or changed:
        if field in changed:
            role.document[field] = changed[field]
        else:
            role.document.pop(field, None)
    role.changes += 1
    world.changes += 1
    return role.as_json()


def delete(world: "World", call: Call) -> Answer:
    """Mark a role for deletion: its bindings stay, and grant nothing."""
    role = _find(world, call)
    _check_etag(role, call.query.get("etag"))
    if not role.deleted:
        role.deleted_at = world.now
        role.changes += 1
        world.moved(f"roles/{role.name.rpartition('/')[2]}", "ACTIVE", "DELETED")
    return role.as_json()


def undelete(world: "World", call: Call) -> Answer:
    """Take the mark off again."""
    role = _find(world, call)
    _check_etag(role, body_of(call).get("etag"))
    if not role.deleted:
        raise RpcError(400, "You can't undelete a role that is not marked for deletion.", "FAILED_PRECONDITION")
    role.deleted_at = None
    role.changes += 1
    world.moved(f"roles/{role.name.rpartition('/')[2]}", "DELETED", "ACTIVE")
    return role.as_json()


def _find(world: "World", call: Call) -> CustomRole:
    name = f"projects/{project_of(world, call).id}/roles/{call.params['role']}"
    role = world.roles.get(name)
    if role is None or _is_gone(world, role):
        raise RpcError(404, f"The role named {name} was not found.")
    return role


def _is_gone(world: "World", role: CustomRole) -> bool:
    return role.deleted_at is not None and world.now - role.deleted_at >= UNDELETE


def _fields(given: Json) -> Json:
    for permission in given.get("includedPermissions") or []:
        if not PERMISSION.match(permission):
            raise RpcError(400, f"Permission {permission} is not valid.")
    return {field: given[field] for field in FIELDS if given.get(field)}


def _check_etag(role: CustomRole, expected: str | None) -> None:
    if expected and expected != role.as_json()["etag"]:
        raise RpcError(409, "There were concurrent changes of the role. Read it again, then retry.", "ABORTED")


def _camel(field: str) -> str:
    first, *others = field.split("_")
    return first + "".join(word.capitalize() for word in others)


OF_PROJECT = "/v1/projects/{project}/roles"
ROLE = f"{OF_PROJECT}/{{role}}"
ROUTES = (
    Route("POST", OF_PROJECT, "iam.roles.create", create),
    Route("GET", OF_PROJECT, "iam.roles.list", list_),
    Route("GET", ROLE, "iam.roles.get", get),
    Route("PATCH", ROLE, "iam.roles.update", patch),
    Route("DELETE", ROLE, "iam.roles.delete", delete),
    Route("POST", f"{ROLE}:undelete", "iam.roles.undelete", undelete),
)
