"""What some methods ask for besides the permission that is called as they are, in Compute Engine and Cloud Storage."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from gcp_emulator import templates
from gcp_emulator.errors import GoogleError
from gcp_emulator.instance_spec import merged
from gcp_emulator.links import address_key, instance_key
from gcp_emulator.needs import (
    ACT_AS,
    LIST_OBJECTS,
    UPDATE_NETWORK,
    USE_ADDRESS,
    USE_EXTERNAL_IP,
    USE_IMAGE,
    USE_SUBNETWORK,
    USE_TEMPLATE,
    Need,
)
from gcp_emulator.routes import Call, Json
from gcp_emulator.uploads import upload_in

if TYPE_CHECKING:
    from gcp_emulator.world import World

Further = Callable[["World", Call, str], Iterator[Need]]


def _insert(world: "World", call: Call, resource: str) -> Iterator[Need]:
    project, document = call.params["project"], described(world, call)
    if url := call.query.get("sourceInstanceTemplate"):
        yield Need(USE_TEMPLATE, _template_key(world, project, url))
    yield Need("compute.disks.create", resource)
    yield from _images(world, project, document)
    for field, permission in (("metadata", "setMetadata"), ("labels", "setLabels"), ("tags", "setTags")):
        given = document.get(field)
        if given.get("items") if field != "labels" and given else given:
            yield Need(f"compute.instances.{permission}", resource)
    yield from _network(world, call, document)
    for account in document.get("serviceAccounts") or []:
        yield Need("compute.instances.setServiceAccount", resource)
        yield acting_as(world, project, account.get("email", "default"))


def _images(world: "World", project: str, document: Json) -> Iterator[Need]:
    """Google's own images are for everybody; one of a project here is for whom that project lets use it."""
    for disk in document.get("disks") or []:
        url = str((disk.get("initializeParams") or {}).get("sourceImage", ""))
        owner = match[1] if (match := re.search(r"projects/([^/]+)/", url)) else project
        if url and owner in world.projects:
            yield Need(USE_IMAGE, f"projects/{owner}")


def described(world: "World", call: Call) -> Json:
    """Read what a request brings, with the template under it; a body that is none is for the method to refuse."""
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
    yield from _address(world, call, described(world, call))


def _address(world: "World", call: Call, config: Json) -> Iterator[Need]:
    """A reserved address is used: named by its IP, whose address that is."""
    project, region = call.params["project"], world.region_of(call.params["zone"])
    if world.knobs.reserved_ip_needs_use and (ip := config.get("natIP")):
        same = [one for one in world.addresses.values() if one.ip == ip and one.project == project]
        yield Need(USE_ADDRESS, same[0].key if same else address_key(project, region, str(ip)))


def _as_another_account(world: "World", call: Call, _resource: str) -> Iterator[Need]:
    yield acting_as(world, call.params["project"], described(world, call).get("email", "default"))


def _as_its_account(world: "World", call: Call, _resource: str) -> Iterator[Need]:
    """Who can make a VM run what they like can have the tokens of its account."""
    vm = world.instances.get(instance_key(call.params["project"], call.params["zone"], call.params["instance"]))
    if vm and vm.service_account and world.knobs.change_of_vm_needs_act_as:
        yield acting_as(world, vm.project, vm.service_account)


def acting_as(world: "World", project: str, email: str) -> Need:
    """Give what it takes to let something run as an account; `default` is Compute Engine's."""
    owner = world.projects.get(project)
    email = owner.service_account if owner and email == "default" else email
    account = world.accounts.get(email)
    return Need(ACT_AS, account.key if account else f"projects/{project}/serviceAccounts/{email}")


def _template(world: "World", call: Call, _resource: str) -> Iterator[Need]:
    for account in (described(world, call).get("properties") or {}).get("serviceAccounts") or []:
        yield acting_as(world, call.params["project"], account.get("email", "default"))


def _network_policy(_world: "World", call: Call, _resource: str) -> Iterator[Need]:
    yield Need(UPDATE_NETWORK, f"projects/{call.params['project']}/global/networks/default")


def _labelled_address(world: "World", call: Call, resource: str) -> Iterator[Need]:
    if described(world, call).get("labels") and world.knobs.labelled_address_needs_set_labels:
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


MORE: Mapping[str, Further] = {
    "instances.insert": _insert,
    "instances.start": _as_its_account,
    "instances.setMetadata": _as_its_account,
    "instances.setServiceAccount": _as_another_account,
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
