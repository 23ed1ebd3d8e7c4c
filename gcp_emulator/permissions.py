"""Which permission each method asks for, on which resource.

Most methods ask for one, which is called as they are. The tables hold the others; their source is the section "IAM
permissions" of Google's reference of each method. Where that is silent, a knob decides.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gcp_emulator import templates
from gcp_emulator.errors import GoogleError
from gcp_emulator.instance_spec import merged
from gcp_emulator.links import address_key, instance_key
from gcp_emulator.routes import Call, Json
from gcp_emulator.uploads import upload_in

if TYPE_CHECKING:
    from gcp_emulator.world import World

ACT_AS = "iam.serviceAccounts.actAs"
USE_ADDRESS = "compute.addresses.use"
USE_SUBNETWORK = "compute.subnetworks.use"
USE_EXTERNAL_IP = "compute.subnetworks.useExternalIp"
LIST_OBJECTS = "storage.objects.list"
UPDATE_NETWORK = "compute.networks.updatePolicy"
USE_TEMPLATE = "compute.instanceTemplates.useReadOnly"
# What no method is called by.
BESIDES = frozenset(
    {ACT_AS, USE_ADDRESS, USE_SUBNETWORK, USE_EXTERNAL_IP, LIST_OBJECTS, UPDATE_NETWORK, USE_TEMPLATE}
    | {f"compute.{name}" for name in ("disks.create", "instances.setTags", "instances.setServiceAccount")}
    | {f"artifactregistry.repositories.{name}loadArtifacts" for name in ("down", "up")}
)

# What asks for no permission: everybody may ask what they may, and which keys Google signs with.
FREE = re.compile(
    r".*\.testIamPermissions|certs\..*|artifactregistry\.operations\.get|iam\.roles\.getPredefined|iam\.permissions\..*"
)

# Methods of Compute Engine whose permission is called otherwise, and those of the services that name no API.
METHODS = {"insert": "create", "aggregatedList": "list", "wait": "get", "patch": "update"}
RESOURCES = {"regionInstanceTemplates": "instanceTemplates"}
OTHERWISE: Mapping[str, str] = {
    "secrets.addVersion": "secretmanager.versions.add",
    "secrets.patch": "secretmanager.secrets.update",
    "serviceusage.services.batchEnable": "serviceusage.services.enable",
}
NAMED_WITH_API = ("iam", "resourcemanager", "serviceusage", "artifactregistry")


@dataclass(frozen=True, slots=True)
class Need:
    """A permission, and the resource that it is needed on: projects/P, projects/P/zones/Z/instances/I."""

    permission: str
    resource: str


def permission_of(verb: str) -> str | None:
    """Name the permission that a method itself asks for; None if it asks for none."""
    if FREE.fullmatch(verb):
        return None
    if verb in OTHERWISE:
        return OTHERWISE[verb]
    first, _, method = verb.partition(".")
    if first in NAMED_WITH_API:
        return verb
    if first == "secrets":
        return "secretmanager." + (method if method.startswith("versions.") else verb)
    if first in {"buckets", "objects"}:
        return f"storage.{first}.{METHODS.get(method, method)}"
    return f"compute.{RESOURCES.get(first, first)}.{METHODS.get(method, method)}"


def needs(world: "World", call: Call) -> Iterator[Need]:
    """List all that this request needs, its method's own permission first."""
    permission = permission_of(call.verb)
    if permission is None or _is_public(world, call):
        return
    resource = resource_of(world, call)
    yield Need(permission, resource)
    if more := MORE.get(call.verb):
        yield from more(world, call, resource)


def _is_public(world: "World", call: Call) -> bool:
    """Google's own images (debian-cloud...) are for everybody."""
    return call.verb.startswith("images.") and call.params["project"] not in world.projects


# --- on which resource -------------------------------------------------------------------------------------------

PREFIX = re.compile(r"\A(/(up|down)load)?/(compute/v1|storage/v1|v\d)/")
ACTION = re.compile(r":[a-zA-Z]+\Z")


def resource_of(world: "World", call: Call) -> str:
    """Find what a request is about, by the key that policies know it by."""
    path = ACTION.sub("", PREFIX.sub("", call.request.path))
    if path == "b" or path.startswith("b/"):
        return _bucket_key(world, call)
    if "account" in call.params:
        return _account_key(world, call)
    return _with_project_id(world, _whole_pairs(path))


def _whole_pairs(path: str) -> str:
    """Cut off what is not a name: projects/P/zones/Z/instances/I/start, projects/P/zones/Z/instances."""
    project, _, rest = path.partition("/aggregated")[0].partition("/global")
    if "/" not in rest.strip("/"):
        parts = project.split("/")
        return "/".join(parts[: len(parts) // 2 * 2])
    parts = rest.strip("/").split("/")
    return "/".join([project, "global", *parts[: len(parts) // 2 * 2]])


def _with_project_id(world: "World", key: str) -> str:
    kind, _, rest = key.partition("/")
    number, _, below = rest.partition("/")
    for project in world.projects.values():
        if project.number == number:
            return f"{kind}/{project.id}/{below}".rstrip("/")
    return key


def _account_key(world: "World", call: Call) -> str:
    wanted, project = call.params["account"], call.params["project"]
    for account in world.accounts.values():
        if wanted in {account.email, account.unique_id}:
            return account.key
    return _with_project_id(world, f"projects/{project}/serviceAccounts/{wanted}")


def _bucket_key(world: "World", call: Call) -> str:
    if bucket := world.buckets.get(call.params.get("bucket", "")):
        return bucket.key
    project = call.query.get("project") or next(iter(world.projects))  # of a bucket that is not there nobody knows
    return _with_project_id(world, f"projects/{project}")


# --- what some methods need besides ------------------------------------------------------------------------------


def _insert(world: "World", call: Call, resource: str) -> Iterator[Need]:
    project, document = call.params["project"], _described(world, call)
    if url := call.query.get("sourceInstanceTemplate"):
        yield Need(USE_TEMPLATE, _template_key(world, project, url))
    yield Need("compute.disks.create", resource)
    for field, permission in (("metadata", "setMetadata"), ("labels", "setLabels"), ("tags", "setTags")):
        given = document.get(field)
        if given.get("items") if field != "labels" and given else given:
            yield Need(f"compute.instances.{permission}", resource)
    yield from _network(world, call, document)
    for account in document.get("serviceAccounts") or []:
        yield Need("compute.instances.setServiceAccount", resource)
        yield _acting_as(world, project, account.get("email", "default"))


def _described(world: "World", call: Call) -> Json:
    """What is to be made; a body that is none, or a template that is not there, is for the method to refuse."""
    try:
        body = call.document()
        url = call.query.get("sourceInstanceTemplate")
        under = templates.meant_by(world, call.params["project"], url).properties if url else {}
    except GoogleError:
        return {}
    document: Json = merged(under, body)
    return document


def _template_key(world: "World", project: str, url: str) -> str:
    try:
        return templates.meant_by(world, project, url).key
    except GoogleError:
        return f"projects/{project}"


def _network(world: "World", call: Call, document: Json) -> Iterator[Need]:
    project, region = call.params["project"], world.region_of(call.params["zone"])
    subnetwork = f"projects/{project}/regions/{region}/subnetworks/default"
    yield Need(USE_SUBNETWORK, subnetwork)
    for nic in document.get("networkInterfaces") or []:
        for config in nic.get("accessConfigs") or []:
            yield Need(USE_EXTERNAL_IP, subnetwork)
            yield from _address(world, call, config)


def _add_access_config(world: "World", call: Call, _resource: str) -> Iterator[Need]:
    region = world.region_of(call.params["zone"])
    yield Need(USE_EXTERNAL_IP, f"projects/{call.params['project']}/regions/{region}/subnetworks/default")
    yield from _address(world, call, _described(world, call))


def _address(world: "World", call: Call, config: Json) -> Iterator[Need]:
    """A reserved address is used: named by its IP, whose address that is."""
    project, region = call.params["project"], world.region_of(call.params["zone"])
    if world.knobs.reserved_ip_needs_use and (ip := config.get("natIP")):
        same = [one for one in world.addresses.values() if one.ip == ip and one.project == project]
        yield Need(USE_ADDRESS, same[0].key if same else address_key(project, region, str(ip)))


def _as_its_account(world: "World", call: Call, _resource: str) -> Iterator[Need]:
    """Who can make a VM run what they like can have the tokens of its account."""
    vm = world.instances.get(instance_key(call.params["project"], call.params["zone"], call.params["instance"]))
    if vm and vm.service_account and world.knobs.change_of_vm_needs_act_as:
        yield _acting_as(world, vm.project, vm.service_account)


def _acting_as(world: "World", project: str, email: str) -> Need:
    owner = world.projects.get(project)
    email = owner.service_account if owner and email == "default" else email
    account = world.accounts.get(email)
    return Need(ACT_AS, account.key if account else f"projects/{project}/serviceAccounts/{email}")


def _template(world: "World", call: Call, _resource: str) -> Iterator[Need]:
    for account in (_described(world, call).get("properties") or {}).get("serviceAccounts") or []:
        yield _acting_as(world, call.params["project"], account.get("email", "default"))


def _network_policy(_world: "World", call: Call, _resource: str) -> Iterator[Need]:
    yield Need(UPDATE_NETWORK, f"projects/{call.params['project']}/global/networks/default")


def _labelled_address(world: "World", call: Call, resource: str) -> Iterator[Need]:
    if _described(world, call).get("labels") and world.knobs.labelled_address_needs_set_labels:
        yield Need("compute.addresses.setLabels", resource)


def _object_read(world: "World", call: Call, resource: str) -> Iterator[Need]:
    """Who may not list learns nothing of what is not there."""
    bucket = world.buckets.get(call.params["bucket"])
    absent = bucket is not None and call.params["object"] not in bucket.objects
    if absent and world.knobs.missing_object_needs_list:
        yield Need(LIST_OBJECTS, resource)


def _object_written(world: "World", call: Call, resource: str) -> Iterator[Need]:
    """To replace an object is to delete the old one."""
    bucket = world.buckets.get(call.params["bucket"])
    if bucket and _name_of(call) in bucket.objects:
        yield Need("storage.objects.delete", resource)


def _name_of(call: Call) -> str:
    if name := call.query.get("name"):
        return name
    try:
        return str(json.loads(upload_in(call.request).document or b"{}").get("name"))
    except (GoogleError, ValueError):
        return ""


MORE: Mapping[str, Callable[["World", Call, str], Iterator[Need]]] = {
    "instances.insert": _insert,
    "instances.start": _as_its_account,
    "instances.setMetadata": _as_its_account,
    "instances.addAccessConfig": _add_access_config,
    "instanceTemplates.insert": _template,
    "regionInstanceTemplates.insert": _template,
    "addresses.insert": _labelled_address,
    "firewalls.insert": _network_policy,
    "firewalls.patch": _network_policy,
    "firewalls.update": _network_policy,
    "firewalls.delete": _network_policy,
    "objects.get": _object_read,
    "objects.insert": _object_written,
}
