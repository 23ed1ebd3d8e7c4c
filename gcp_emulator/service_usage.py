"""Service Usage: which APIs a project has enabled. An API that is not enabled answers nothing but that it is not."""

from typing import TYPE_CHECKING

from gcp_emulator import rpc, service_accounts
from gcp_emulator.errors import RpcError
from gcp_emulator.routes import Answer, Call, Json, Route
from gcp_emulator.rpc import TYPE, TakeEffect, body_of, page_of, project_of

if TYPE_CHECKING:
    from gcp_emulator.places import Project
    from gcp_emulator.world import World

DOMAIN = ".googleapis.com"
TITLES = {
    "artifactregistry": "Artifact Registry API",
    "cloudbuild": "Cloud Build API",
    "cloudresourcemanager": "Cloud Resource Manager API",
    "cloudscheduler": "Cloud Scheduler API",
    "compute": "Compute Engine API",
    "containeranalysis": "Container Analysis API",
    "containerscanning": "Container Scanning API",
    "iam": "Identity and Access Management (IAM) API",
    "iamcredentials": "IAM Service Account Credentials API",
    "logging": "Cloud Logging API",
    "ondemandscanning": "On-Demand Scanning API",
    "run": "Cloud Run Admin API",
    "secretmanager": "Secret Manager API",
    "serviceusage": "Service Usage API",
    "storage": "Cloud Storage API",
}
ALWAYS_ON = frozenset({"serviceusage", "cloudresourcemanager"})  # or else nothing could ever be enabled
BATCH = 20
NOTHING_TO_DO = "operations/noop.DONE_OPERATION"


def is_enabled(project: "Project", api: str) -> bool:
    """Tell whether a project may use an API, such as `compute`; all of them, if its seed names none."""
    return project.apis is None or api in project.apis or api in ALWAYS_ON


def _as_json(project: "Project", api: str) -> Json:
    name = f"{api}{DOMAIN}"
    return {
        "name": f"projects/{project.number}/services/{name}",
        "config": {"name": name, "title": TITLES[api]},
        "state": "ENABLED" if is_enabled(project, api) else "DISABLED",
        "parent": f"projects/{project.number}",
    }


# --- requests ----------------------------------------------------------------------------------------------------


def list_(world: "World", call: Call) -> Answer:
    """Show all services, or those that are on or off."""
    project, wanted = project_of(world, call), call.query.get("filter", "")
    if wanted not in {"", "state:ENABLED", "state:DISABLED"}:
        raise RpcError(400, f"Invalid filter: {wanted}. Allowed are state:ENABLED and state:DISABLED.")
    state = wanted.partition(":")[2]
    found = [_as_json(project, api) for api in TITLES]
    return page_of(call.query, "services", [one for one in found if state in {"", one["state"]}])


def get(world: "World", call: Call) -> Answer:
    """Show one service."""
    return _as_json(project_of(world, call), _api(call.params["service"]))


def enable(world: "World", call: Call) -> Answer:
    """Turn one on."""
    project, api = project_of(world, call), _api(call.params["service"])

    def response() -> Json:
        kind = f"{TYPE}google.api.serviceusage.v1.EnableServiceResponse"
        return {"@type": kind, "service": _as_json(project, api)}

    return _turn_on(world, project, [api], response)


def batch_enable(world: "World", call: Call) -> Answer:
    """Turn some on, all or none of them."""
    project, names = project_of(world, call), body_of(call).get("serviceIds") or []
    if not 0 < len(names) <= BATCH:
        raise RpcError(400, f"A batch names 1 to {BATCH} services, not {len(names)}.")
    apis = [_api(name) for name in names]

    def response() -> Json:
        services = [_as_json(project, api) for api in apis]
        return {"@type": f"{TYPE}google.api.serviceusage.v1.BatchEnableServicesResponse", "services": services}

    return _turn_on(world, project, apis, response)


def _turn_on(world: "World", project: "Project", apis: list[str], response: TakeEffect) -> Json:
    missing = [api for api in apis if not is_enabled(project, api)]
    if not missing:
        return {"name": NOTHING_TO_DO, "done": True, "response": response()}

    def take_effect() -> Json:
        for api in missing:
            if project.apis is not None and api not in project.apis:
                project.apis.append(api)
                world.moved(f"services/{api}{DOMAIN}", "DISABLED", "ENABLED")
        if "compute" in missing and project.service_account not in world.accounts:
            service_accounts.add(world, project.id, project.service_account)
        return response()

    return _begin(world, project, missing, take_effect)


def disable(world: "World", call: Call) -> Answer:
    """Turn one off."""
    project, api = project_of(world, call), _api(call.params["service"])
    if api in ALWAYS_ON:
        raise RpcError(400, f"The service {api}{DOMAIN} cannot be disabled here.", "FAILED_PRECONDITION")

    def take_effect() -> Json:
        if is_enabled(project, api):
            project.apis = [one for one in (TITLES if project.apis is None else project.apis) if one != api]
            world.moved(f"services/{api}{DOMAIN}", "ENABLED", "DISABLED")
        kind = f"{TYPE}google.api.serviceusage.v1.DisableServiceResponse"
        return {"@type": kind, "service": _as_json(project, api)}

    return _begin(world, project, [api], take_effect)


def _begin(world: "World", project: "Project", apis: list[str], take_effect: TakeEffect) -> Json:
    name = f"operations/acat.p2-{project.number}-{rpc.new_uuid(world)}"
    names = [f"services/{api}{DOMAIN}" for api in apis]
    metadata = {"@type": f"{TYPE}google.api.serviceusage.v1.OperationMetadata", "resourceNames": names}
    return rpc.begin(world, name, "service", metadata, take_effect)


def get_operation(world: "World", call: Call) -> Answer:
    """Show how far an operation is."""
    return rpc.operation_called(world, f"operations/{call.params['operation']}")


def _api(name: str) -> str:
    api = name.removesuffix(DOMAIN)
    if api not in TITLES or api == name:
        message = f"Not found or permission denied for service(s): {name}."
        raise RpcError(403, message)
    return api


SERVICES = "/v1/projects/{project}/services"
SERVICE = f"{SERVICES}/{{service}}"
ROUTES = (
    Route("GET", SERVICES, "serviceusage.services.list", list_),
    Route("POST", f"{SERVICES}:batchEnable", "serviceusage.services.batchEnable", batch_enable),
    Route("GET", SERVICE, "serviceusage.services.get", get),
    Route("POST", f"{SERVICE}:enable", "serviceusage.services.enable", enable),
    Route("POST", f"{SERVICE}:disable", "serviceusage.services.disable", disable),
    Route("GET", "/v1/operations/{operation}", "serviceusage.operations.get", get_operation),
)
