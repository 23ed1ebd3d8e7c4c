"""IAM: service accounts."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from gcp_emulator import policies
from gcp_emulator.errors import RpcError
from gcp_emulator.routes import Answer, Call, Json, Route
from gcp_emulator.rpc import body_of, etag, page_of, project_of

if TYPE_CHECKING:
    from gcp_emulator.world import World

ID = re.compile(r"[a-z][-a-z0-9]*[a-z0-9]\Z")
ID_LENGTH = range(6, 31)
DISPLAY_NAME_BYTES = 100


@dataclass(slots=True)
class ServiceAccount:
    """One service account of a project."""

    project: str
    email: str
    unique_id: str
    created: datetime
    display_name: str = ""
    description: str = ""
    disabled: bool = False

    @property
    def key(self) -> str:
        """projects/P/serviceAccounts/EMAIL."""
        return f"projects/{self.project}/serviceAccounts/{self.email}"

    def as_json(self) -> Json:
        """Show it as the API does: what is empty is left out."""
        document: Json = {
            "name": self.key,
            "projectId": self.project,
            "uniqueId": self.unique_id,
            "email": self.email,
            "displayName": self.display_name,
            "etag": etag(self.email, self.display_name, self.description, self.disabled),
            "description": self.description,
            "oauth2ClientId": self.unique_id,
            "disabled": self.disabled,
        }
        return {name: value for name, value in document.items() if value}


def add(world: "World", project: str, email: str) -> ServiceAccount:
    """Let an account be there, as Google does for its own and seeds for theirs."""
    number = "1" + world.new_id() + "0"
    account = world.accounts[email] = ServiceAccount(project, email, number, world.now)
    return account


def create(world: "World", call: Call) -> Answer:
    """Make an account."""
    project, document = project_of(world, call), body_of(call)
    identifier = document.get("accountId", "")
    if len(identifier) not in ID_LENGTH:
        raise RpcError(400, f'The account ID "{identifier}" does not have a length between 6 and 30.')
    if not ID.match(identifier):
        raise RpcError(400, f'The account ID "{identifier}" must match "[a-z]([-a-z0-9]*[a-z0-9])".')
    email = f"{identifier}@{project.id}.iam.gserviceaccount.com"
    if email in world.accounts:
        raise RpcError(409, f"Service account {identifier} already exists within project projects/{project.id}.")
    given = document.get("serviceAccount") or {}
    _check(given)
    account = add(world, project.id, email)
    account.display_name, account.description = given.get("displayName", ""), given.get("description", "")
    world.moved(f"serviceAccounts/{email}", "", "ENABLED")
    return account.as_json()


def get(world: "World", call: Call) -> Answer:
    """Show one account."""
    return find(world, call).as_json()


def list_(world: "World", call: Call) -> Answer:
    """Show the project's accounts."""
    project = project_of(world, call).id
    return page_of(call.query, "accounts", [one.as_json() for one in world.accounts.values() if one.project == project])


def patch(world: "World", call: Call) -> Answer:
    """Change its display name and description."""
    account, document = find(world, call), body_of(call)
    given = document.get("serviceAccount") or {}
    _check(given)
    mask = [field for field in document.get("updateMask", "").split(",") if field]
    for field in mask or [name for name in ("displayName", "description") if name in given]:
        match field:
            case "displayName" | "display_name":
                account.display_name = given.get("displayName", "")
            case "description":
                account.description = given.get("description", "")
            case _:
                raise RpcError(400, f"The field {field} cannot be updated.")
    return account.as_json()


def delete(world: "World", call: Call) -> Answer:
    """Delete it. What policies said of it they say of a deleted account from now on: a namesake has nothing of it."""
    account = find(world, call)
    del world.accounts[account.email]
    policies.forget(world, account.key)
    policies.rename_member(
        world,
        f"serviceAccount:{account.email}",
        f"deleted:serviceAccount:{account.email}?uid={account.unique_id}",
    )
    world.moved(f"serviceAccounts/{account.email}", "ENABLED", "")
    return {}


def find(world: "World", call: Call) -> ServiceAccount:
    """Find the account that a request names by email or number, in its project or in `-`, which is any."""
    wanted = call.params["account"]
    project = None if call.params["project"] == "-" else project_of(world, call).id
    for account in world.accounts.values():
        if wanted in {account.email, account.unique_id} and project in {None, account.project}:
            return account
    raise RpcError(404, f"Unknown service account: {wanted}")


def _check(given: Json) -> None:
    if len(given.get("displayName", "").encode()) > DISPLAY_NAME_BYTES:
        raise RpcError(400, f"Display name must be at most {DISPLAY_NAME_BYTES} bytes.")


def _find_key(world: "World", call: Call) -> str:
    return find(world, call).key


ACCOUNTS = "/v1/projects/{project}/serviceAccounts"
ACCOUNT = f"{ACCOUNTS}/{{account}}"
ROUTES = (
    Route("POST", ACCOUNTS, "iam.serviceAccounts.create", create),
    Route("GET", ACCOUNTS, "iam.serviceAccounts.list", list_),
    Route("GET", ACCOUNT, "iam.serviceAccounts.get", get),
    Route("PATCH", ACCOUNT, "iam.serviceAccounts.update", patch),
    Route("DELETE", ACCOUNT, "iam.serviceAccounts.delete", delete),
    *policies.routes(ACCOUNT, "iam.serviceAccounts", _find_key, get_by="POST"),
)
