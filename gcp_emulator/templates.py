"""Instance templates, global and regional: kept, shown, and used by instances.insert."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gcp_emulator import listing, operations
from gcp_emulator.errors import ApiError, OperationError, OperationFailedError, invalid, not_found
from gcp_emulator.fingerprints import fingerprint
from gcp_emulator.instance_body import metadata_as_json
from gcp_emulator.instance_spec import check_properties, checked_name
from gcp_emulator.instances import labels_from, metadata_from
from gcp_emulator.links import key_of, link, region_key, short
from gcp_emulator.routes import COMPUTE, GLOBAL, REGION, Answer, Call, Json, Route
from gcp_emulator.scheduling import scheduling_from
from gcp_emulator.timing import timestamp

if TYPE_CHECKING:
    from gcp_emulator.world import World


@dataclass(slots=True)
class InstanceTemplate:
    """One template."""

    scope: str  # projects/P/global or projects/P/regions/R
    name: str
    id: str
    created: datetime
    properties: Json
    description: str = ""
    gone: bool = False

    @property
    def key(self) -> str:
        """projects/P/global/instanceTemplates/T."""
        return f"{self.scope}/instanceTemplates/{self.name}"

    def as_json(self) -> Json:
        """Show it as the API does."""
        document: Json = {
            "kind": "compute#instanceTemplate",
            "id": self.id,
            "creationTimestamp": timestamp(self.created),
            "name": self.name,
            "description": self.description,
            "properties": self.properties,
            "selfLink": link(self.key),
        }
        return document if self.scope.endswith("/global") else {**document, "region": link(self.scope)}


def meant_by(world: "World", project: str, url: str) -> InstanceTemplate:
    """Find the template that a full or partial URL means."""
    key = key_of(url)
    if not key.startswith("projects/"):
        key = f"projects/{project}/{key.lstrip('/')}"
    if "/instanceTemplates/" not in key:
        raise invalid("sourceInstanceTemplate", url, "The URL is malformed.")
    if template := world.templates.get(key):
        return template
    raise not_found(key)


def properties_from(project: str, given: Json) -> Json:
    """Check properties, and fill in what Compute Engine does; a list that is empty is left out."""
    check_properties(given, "resource.properties")
    has_gpu = bool(given.get("guestAccelerators"))
    filled: Json = {
        **given,
        "metadata": metadata_as_json(metadata_from((given.get("metadata") or {}).get("items") or [])),
        "labels": labels_from(given.get("labels") or {}),
        "scheduling": scheduling_from(given.get("scheduling") or {}, has_gpu=has_gpu),
        "networkInterfaces": [_nic(project, nic) for nic in given["networkInterfaces"]],
        "disks": [_disk(index, disk) for index, disk in enumerate(given["disks"])],
    }
    if tags := (given.get("tags") or {}).get("items"):
        filled["tags"] = {"items": tags, "fingerprint": fingerprint(tags)}
    return {name: value for name, value in filled.items() if value not in ([], {})}


def _nic(project: str, given: Json) -> Json:
    configs = [
        {"kind": "compute#accessConfig", "type": "ONE_TO_ONE_NAT", "name": "External NAT", "networkTier": "PREMIUM"}
        | config
        for config in given.get("accessConfigs") or []
    ]
    nic = {
        "kind": "compute#networkInterface",
        "name": "nic0",
        "network": link(f"projects/{project}/global/networks/default"),
    }
    return {**nic, **given, **({"accessConfigs": configs} if configs else {})}


def _disk(index: int, given: Json) -> Json:
    defaults: dict[str, Any] = {"kind": "compute#attachedDisk", "type": "PERSISTENT", "mode": "READ_WRITE"}
    return {**defaults, "index": index, "boot": False, "autoDelete": False, **given}


# --- requests ----------------------------------------------------------------------------------------------------


def insert(world: "World", call: Call) -> Answer:
    """Keep a template."""
    scope, document = _scope(world, call), call.document()
    properties = properties_from(call.params["project"], document.get("properties") or {})
    template = InstanceTemplate(scope, checked_name(document), world.new_id(), world.now, properties)
    template.description = document.get("description", "")
    exists = ApiError(409, "alreadyExists", f"The resource '{template.key}' already exists")
    if template.key in world.templates:
        raise exists

    def take_effect() -> None:
        if template.key in world.templates:
            raise OperationFailedError(OperationError("RESOURCE_ALREADY_EXISTS", exists.message, exists.status))
        world.templates[template.key] = template
        world.moved(short(template.key), "", "READY")

    return operations.begin(world, call, template, "template", take_effect)


def get(world: "World", call: Call) -> Answer:
    """Show one template."""
    return _find(world, call).as_json()


def list_(world: "World", call: Call) -> Answer:
    """Show the templates of a region, or the global ones."""
    scope = _scope(world, call)
    found = [template.as_json() for template in world.templates.values() if template.scope == scope]
    return listing.page(call, found, kind="compute#instanceTemplateList", key=f"{scope}/instanceTemplates")


def aggregated_list(world: "World", call: Call) -> Answer:
    """Show the templates of all regions, and the global ones."""
    project = world.project(call.params["project"]).id
    own = f"projects/{project}/"
    mine = [template for template in world.templates.values() if template.key.startswith(own)]
    return listing.aggregated(
        call,
        [(template.scope.removeprefix(own), template.as_json()) for template in mine],
        kind="compute#instanceTemplateAggregatedList",
        key=f"{own}aggregated/instanceTemplates",
        name="instanceTemplates",
        scopes=["global", *(f"regions/{region}" for region in world.regions)],
    )


def delete(world: "World", call: Call) -> Answer:
    """Forget a template; the instances made from it stay."""
    template = _find(world, call)

    def take_effect() -> None:
        del world.templates[template.key]
        template.gone = True
        world.moved(short(template.key), "READY", "")

    return operations.begin(world, call, template, "template", take_effect)


def _scope(world: "World", call: Call) -> str:
    project = call.params["project"]
    if region := call.params.get("region"):
        world.check_region(project, region)
        return region_key(project, region)
    return f"projects/{world.project(project).id}/global"


def _find(world: "World", call: Call) -> InstanceTemplate:
    key = f"{_scope(world, call)}/instanceTemplates/{call.params['template']}"
    if template := world.templates.get(key):
        return template
    raise not_found(key)


ROUTES = (
    Route("GET", f"{COMPUTE}/aggregated/instanceTemplates", "instanceTemplates.aggregatedList", aggregated_list),
    *(
        route
        for place, api in ((GLOBAL, "instanceTemplates"), (REGION, "regionInstanceTemplates"))
        for route in (
            Route("GET", f"{place}/instanceTemplates", f"{api}.list", list_),
            Route("POST", f"{place}/instanceTemplates", f"{api}.insert", insert),
            Route("GET", f"{place}/instanceTemplates/{{template}}", f"{api}.get", get),
            Route("DELETE", f"{place}/instanceTemplates/{{template}}", f"{api}.delete", delete),
        )
    ),
)
