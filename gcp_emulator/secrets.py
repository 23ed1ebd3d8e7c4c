"""Secret Manager: secrets, versions, and their payloads."""

import base64
import binascii
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import google_crc32c

from gcp_emulator import policies
from gcp_emulator.errors import RpcError
from gcp_emulator.routes import Answer, Call, Handler, Json, Route
from gcp_emulator.rpc import body_of, etag, project_of
from gcp_emulator.timing import zulu

if TYPE_CHECKING:
    from gcp_emulator.world import World

ENABLED, DISABLED, DESTROYED = "ENABLED", "DISABLED", "DESTROYED"
PAYLOAD_BYTES = 65_536
ID = re.compile(r"[A-Za-z0-9_-]{1,255}\Z")


@dataclass(slots=True)
class Version:
    """One version of a secret."""

    payload: bytes
    created: datetime
    state: str = ENABLED


@dataclass(slots=True)
class Secret:
    """A secret; its versions count from 1."""

    name: str  # projects/NUMBER/secrets/ID
    created: datetime
    versions: list[Version] = field(default_factory=list)
    denied: bool = False
    labels: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> Json:
        """Show it as the API does."""
        document: Json = {
            "name": self.name,
            "replication": {"automatic": {}},
            "createTime": zulu(self.created),
            "etag": _quoted(self.name, str(len(self.versions)), str(self.labels)),
        }
        if self.labels:
            document["labels"] = self.labels
        return document

    def version_as_json(self, number: int) -> Json:
        """Show one version, without its payload."""
        version = self.versions[number - 1]
        name = f"{self.name}/versions/{number}"
        return {
            "name": name,
            "createTime": zulu(version.created),
            "state": version.state,
            "replicationStatus": {"automatic": {}},
            "etag": _quoted(name, version.state),
        }


def _quoted(*parts: str) -> str:
    return f'"{etag(*parts)}"'


# --- requests ----------------------------------------------------------------------------------------------------


def create(world: "World", call: Call) -> Answer:
    """Make a secret without versions."""
    project = project_of(world, call)
    document = body_of(call)
    identifier = call.query.get("secretId", "")
    if not ID.match(identifier):
        raise RpcError(400, f"The provided Secret ID [{identifier}] does not match the expected format [[a-zA-Z_0-9]+]")
    name = f"projects/{project.number}/secrets/{identifier}"
    if name in world.secrets:
        raise RpcError(409, f"Secret [{name}] already exists.")
    secret = world.secrets[name] = Secret(name, world.now, labels=document.get("labels", {}))
    world.moved(f"secrets/{identifier}", "", "ENABLED")
    return secret.as_json()


def get(world: "World", call: Call) -> Answer:
    """Show a secret."""
    return _secret(world, call, "secretmanager.secrets.get").as_json()


def patch(world: "World", call: Call) -> Answer:
    """Change a secret's labels."""
    secret, given = _secret(world, call, "secretmanager.secrets.update"), body_of(call)
    if (mask := call.query.get("updateMask", "")) != "labels":
        raise RpcError(400, f"This emulator can change the labels of a secret, not {mask!r}.")
    secret.labels = given.get("labels") or {}
    return secret.as_json()


def delete(world: "World", call: Call) -> Answer:
    """Destroy a secret with all its versions."""
    secret = _secret(world, call, "secretmanager.secrets.delete")
    policies.forget(world, _key(world, call))
    del world.secrets[secret.name]
    world.moved(f"secrets/{call.params['secret']}", "ENABLED", "")
    return {}


def list_(world: "World", call: Call) -> Answer:
    """Show the project's secrets."""
    prefix = f"projects/{project_of(world, call).number}/"
    found = [secret.as_json() for name, secret in world.secrets.items() if name.startswith(prefix)]
    return {"secrets": found, "totalSize": len(found)} if found else {}


def add_version(world: "World", call: Call) -> Answer:
    """Put a new payload on top of the others."""
    secret = _secret(world, call, "secretmanager.versions.add")
    given = body_of(call).get("payload") or {}
    try:
        payload = base64.b64decode(given.get("data", ""), validate=True)
    except (binascii.Error, TypeError) as wrong:
        raise RpcError(400, "Invalid value at 'payload.data' (TYPE_BYTES), Base64 decoding failed") from wrong
    if not 0 < len(payload) <= PAYLOAD_BYTES:
        raise RpcError(400, f"Secret Payload must be between 1 and {PAYLOAD_BYTES} bytes.")
    if "dataCrc32c" in given and int(given["dataCrc32c"]) != google_crc32c.value(payload):
        raise RpcError(400, "Payload checksum does not match the data.")
    secret.versions.append(Version(payload, world.now))
    return secret.version_as_json(len(secret.versions))


def get_version(world: "World", call: Call) -> Answer:
    """Show one version."""
    secret = _secret(world, call, "secretmanager.versions.get")
    return secret.version_as_json(_number(secret, call))


def list_versions(world: "World", call: Call) -> Answer:
    """Show all versions, newest first."""
    secret = _secret(world, call, "secretmanager.versions.list")
    numbers = range(len(secret.versions), 0, -1)
    found = [secret.version_as_json(number) for number in numbers]
    return {"versions": found, "totalSize": len(found)} if found else {}


def access(world: "World", call: Call) -> Answer:
    """Hand over a payload with its checksum."""
    secret = _secret(world, call, "secretmanager.versions.access")
    number = _number(secret, call)
    name, version = f"{secret.name}/versions/{number}", secret.versions[number - 1]
    if version.state != ENABLED:
        message = f"Secret Version [{name}] is in {version.state} state."
        raise RpcError(400, message, "FAILED_PRECONDITION")
    data = base64.b64encode(version.payload).decode()
    return {"name": name, "payload": {"data": data, "dataCrc32c": str(google_crc32c.value(version.payload))}}


def _turn_into(state: str) -> Handler:
    def change(world: "World", call: Call) -> Answer:
        secret = _secret(world, call, "secretmanager.versions." + call.verb.rsplit(".", 1)[1])
        body_of(call)
        number = _number(secret, call)
        version = secret.versions[number - 1]
        if version.state == DESTROYED:
            message = f"Secret Version [{secret.name}/versions/{number}] is in DESTROYED state."
            raise RpcError(400, message, "FAILED_PRECONDITION")
        version.state = state
        if state == DESTROYED:
            version.payload = b""
        return secret.version_as_json(number)

    return change


def _secret(world: "World", call: Call, permission: str) -> Secret:
    name = f"projects/{project_of(world, call).number}/secrets/{call.params['secret']}"
    secret = world.secrets.get(name)
    if secret is None:
        raise RpcError(404, f"Secret [{name}] not found or has no versions.")
    if secret.denied:
        asked = call.request.path.removeprefix("/v1/").partition(":")[0]
        raise RpcError(403, f"Permission '{permission}' denied for resource '{asked}' (or it may not exist).")
    return secret


def _key(world: "World", call: Call) -> str:
    """projects/P/secrets/S, by the project's id: what policies are kept by."""
    _secret(world, call, "secretmanager.secrets.get")
    return f"projects/{project_of(world, call).id}/secrets/{call.params['secret']}"


def _number(secret: Secret, call: Call) -> int:
    """Find which version is meant; `latest` is the newest, whatever its state."""
    wanted = call.params["version"]
    if wanted == "latest" and secret.versions:
        return len(secret.versions)
    if wanted.isdigit() and 1 <= int(wanted) <= len(secret.versions):
        return int(wanted)
    if wanted == "latest":
        raise RpcError(404, f"Secret [{secret.name}] not found or has no versions.")
    raise RpcError(404, f"Secret Version [{secret.name}/versions/{wanted}] not found.")


SECRETS = "/v1/projects/{project}/secrets"
SECRET = f"{SECRETS}/{{secret}}"
VERSION = f"{SECRET}/versions/{{version}}"
ROUTES = (
    Route("GET", SECRETS, "secrets.list", list_),
    Route("POST", SECRETS, "secrets.create", create),
    Route("GET", SECRET, "secrets.get", get),
    Route("PATCH", SECRET, "secrets.patch", patch),
    Route("DELETE", SECRET, "secrets.delete", delete),
    Route("POST", f"{SECRET}:addVersion", "secrets.addVersion", add_version),
    Route("GET", f"{SECRET}/versions", "secrets.versions.list", list_versions),
    Route("GET", VERSION, "secrets.versions.get", get_version),
    Route("GET", f"{VERSION}:access", "secrets.versions.access", access),
    Route("POST", f"{VERSION}:enable", "secrets.versions.enable", _turn_into(ENABLED)),
    Route("POST", f"{VERSION}:disable", "secrets.versions.disable", _turn_into(DISABLED)),
    Route("POST", f"{VERSION}:destroy", "secrets.versions.destroy", _turn_into(DESTROYED)),
    *policies.routes(SECRET, "secrets", _key),
)
