"""A VM's metadata server, as pure functions: directories, values, JSON, hanging GETs, guest attributes, tokens."""

import json
import re
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from gcp_emulator import guest_attributes, tokens
from gcp_emulator.errors import HTML_TYPE
from gcp_emulator.instances import Instance, touched
from gcp_emulator.metadata_tree import Attributes, tree
from gcp_emulator.routes import Call
from gcp_emulator.wire import Held, Reply

if TYPE_CHECKING:
    from gcp_emulator.world import World

ROOT = "/computeMetadata/v1"
GUEST_ATTRIBUTES = f"{ROOT}/instance/guest-attributes/"
SERVICE_ACCOUNTS = re.compile(rf"{ROOT}/instance/service-accounts/(?P<account>[^/]+)/(?P<what>token|identity)\Z")
STAMP = {"metadata-flavor": "Google", "server": "Metadata Server for VM", "x-xss-protection": "0"}
FOREVER = timedelta(days=1)  # a hanging GET without timeout_sec; asked again then


def answer(world: "World", vm: Instance, call: Call) -> Reply | Held:
    """Answer one request of the guest."""
    request = call.request
    if refusal := _refusal(call):
        return refusal
    if request.path.startswith(GUEST_ATTRIBUTES) and not guest_attributes.enabled(world, vm):
        return page(403, "Forbidden", "Guest attributes endpoint access is disabled.")
    match request.method:
        case "GET" | "HEAD":
            return _get(world, vm, call)
        case "PUT" | "DELETE" if request.path.startswith(GUEST_ATTRIBUTES):
            return _write_guest_attribute(world, vm, call)
        case _:
            return page(405, "Method Not Allowed", f"The request method {request.method} is inappropriate.")


def _refusal(call: Call) -> Reply | None:
    headers = call.request.headers
    if not call.request.path.startswith("/computeMetadata/v1"):
        return None
    if headers.get("metadata-flavor", "").lower() != "google":
        return page(403, "Forbidden", "Missing Metadata-Flavor:Google header.")
    if "x-forwarded-for" in headers:
        return page(403, "Forbidden", "Requests with an X-Forwarded-For header are refused.")
    return None


def page(status: int, title: str, why: str) -> Reply:
    """Answer as the metadata server does when it has no value to give: a page."""
    body = f"<!DOCTYPE html>\n<html lang=en>\n<title>Error {status} ({title})!!1</title>\n<p>{why}\n"
    return Reply(status, body.encode(), {**HTML_TYPE, **STAMP})


# --- reading -----------------------------------------------------------------------------------------------------


def _get(world: "World", vm: Instance, call: Call) -> Reply | Held:
    path = call.request.path
    if path in {"/", "/computeMetadata", "/computeMetadata/"}:
        return _value("computeMetadata/\n" if path == "/" else "v1/\n", "application/text")
    if path == ROOT:
        return _redirect(path + "/")
    if match := SERVICE_ACCOUNTS.match(path):
        return _credential(world, vm, call, match["account"], match["what"])
    found = _lookup(tree(world, vm), path)
    if found is None:
        return page(404, "Not Found", f"The requested URL <code>{path}</code> was not found on this server.")
    if isinstance(found, dict | list) and not path.endswith("/"):
        return _redirect(path + "/")
    return _watched(world, call, _rendered(call, found))


def _lookup(node: Any, path: str) -> Any:
    for name in path.removeprefix(ROOT).strip("/").split("/"):
        if name == "":
            continue
        if isinstance(node, list) and name.isdigit() and int(name) < len(node):
            node = node[int(name)]
        elif isinstance(node, dict) and name in node:
            node = node[name]
        else:
            return None
    return node


def _redirect(path: str) -> Reply:
    return Reply(301, b"", {**HTML_TYPE, **STAMP, "location": path})


def _rendered(call: Call, found: Any) -> Reply:
    as_json = call.query.get("alt") == "json"
    recursive = call.flag("recursive")
    if isinstance(found, dict | list):
        if recursive and call.query.get("alt") == "text":
            return _value("".join(_lines(found, "")), "application/text")
        if recursive or as_json:
            return _value(json.dumps(_camel(found)), "application/json")
        return _value(_listing(found), "application/text")
    if as_json:
        return _value(json.dumps(found), "application/json")
    text = "".join(f"{line}\n" for line in found) if isinstance(found, tuple) else str(found)
    return _value(text, "application/text")


def _listing(found: dict[str, Any] | list[Any]) -> str:
    pairs = found.items() if isinstance(found, dict) else enumerate(found)
    return "".join(f"{name}/\n" if isinstance(value, dict | list) else f"{name}\n" for name, value in pairs)


def _lines(found: Any, prefix: str) -> list[str]:
    if isinstance(found, tuple):
        return [f"{prefix} {line}\n" for line in found]
    if not isinstance(found, dict | list):
        return [f"{prefix} {found}\n"]
    pairs = found.items() if isinstance(found, dict) else enumerate(found)
    return [line for name, value in pairs for line in _lines(value, f"{prefix}/{name}" if prefix else str(name))]


def _camel(found: Any) -> Any:
    if isinstance(found, Attributes):
        return {name: _camel(value) for name, value in found.items()}
    if isinstance(found, dict):
        return {re.sub(r"-(.)", lambda match: match[1].upper(), name): _camel(item) for name, item in found.items()}
    return [_camel(item) for item in found] if isinstance(found, list) else found


def _value(text: str, kind: str) -> Reply:
    body = text.encode()
    etag = sha256(body).hexdigest()[:16]
    return Reply(200, body, {"content-type": kind, "etag": etag, **STAMP})


def _watched(world: "World", call: Call, reply: Reply) -> Reply | Held:
    """Hold a `wait_for_change` until the etag differs from the last one, or from the one it had when it was asked."""
    if not call.flag("wait_for_change"):
        return reply
    last = call.query.get("last_etag") or world.etags_first_seen.setdefault(call.request, reply.headers["etag"])
    if reply.headers["etag"] != last:
        return reply
    seconds = call.query.get("timeout_sec", "")
    until = call.first_asked + (timedelta(seconds=int(seconds)) if seconds.isdigit() else FOREVER)
    return reply if world.now >= until else Held(until)


def _credential(world: "World", vm: Instance, call: Call, account: str, what: str) -> Reply:
    if not vm.service_account or account not in {"default", vm.service_account}:
        return page(404, "Not Found", "No such service account.")
    if what == "token":
        return _value(json.dumps(tokens.access_token(vm.service_account)), "application/json")
    if world.signer is None:
        return page(503, "Service Unavailable", "This emulated cloud was given no key to sign with.")
    audience = call.query.get("audience", "")
    if not audience:
        return page(400, "Bad Request", "non-empty audience parameter required")
    full = call.query.get("format") == "full"
    return _value(world.signer.sign(tokens.identity_claims(world, vm, audience, full=full)), "application/text")


# --- guest attributes --------------------------------------------------------------------------------------------


def _write_guest_attribute(world: "World", vm: Instance, call: Call) -> Reply:
    space, _, key = call.request.path.removeprefix(GUEST_ATTRIBUTES).rstrip("/").partition("/")
    if call.request.method == "DELETE":
        gone = [name for name in vm.guest_attributes if name[0] == space and key in {"", name[1]}]
        for name in gone:
            del vm.guest_attributes[name]
        touched(world, vm)
        return _value("", "application/text") if gone else page(404, "Not Found", "No such guest attribute.")
    if not space or not key or "/" in key:
        return page(400, "Bad Request", "A guest attribute is written to guest-attributes/NAMESPACE/KEY.")
    if len(call.request.body) > guest_attributes.VALUE_BYTES:
        return page(400, "Bad Request", f"A value has at most {guest_attributes.VALUE_BYTES} bytes.")
    vm.guest_attributes[space, key] = call.request.body.decode(errors="replace")
    touched(world, vm)
    return _value("", "application/text")
