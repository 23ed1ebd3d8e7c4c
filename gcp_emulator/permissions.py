"""Which permission each method asks for, on which resource.

Most methods ask for one, which is called as they are. The tables hold the others; their source is the section "IAM
permissions" of Google's reference of each method. Where that is silent, a knob decides.
"""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from gcp_emulator import further_needs, run_needs
from gcp_emulator.errors import ApiError
from gcp_emulator.needs import Need
from gcp_emulator.routes import Call

if TYPE_CHECKING:
    from gcp_emulator.world import World

# What asks for no permission: everybody may ask what they may, and which keys Google signs with.
FREE = re.compile(
    r".*\.testIamPermissions|certs\..*|(artifactregistry|serviceusage)\.operations\.get|iam\.roles\.getPredefined"
    r"|iam\.permissions\..*"
)

# Methods of Compute Engine whose permission is called otherwise, and those of the services that name no API.
METHODS = {"insert": "create", "aggregatedList": "list", "wait": "get", "patch": "update"}
RESOURCES = {"regionInstanceTemplates": "instanceTemplates"}
OTHERWISE: Mapping[str, str] = {
    "secrets.addVersion": "secretmanager.versions.add",
    "secrets.patch": "secretmanager.secrets.update",
    "serviceusage.services.batchEnable": "serviceusage.services.enable",
    "run.operations.wait": "run.operations.get",
}
NAMED_WITH_API = ("iam", "resourcemanager", "serviceusage", "artifactregistry", "run", "cloudscheduler", "logging")


FURTHER = {**further_needs.MORE, **run_needs.MORE}


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
    if more := FURTHER.get(call.verb):
        yield from more(world, call, resource)


def _is_public(world: "World", call: Call) -> bool:
    """Google's own images (debian-cloud...) are for everybody."""
    return call.verb.startswith("images.") and call.params["project"] not in world.projects


# --- on which resource -------------------------------------------------------------------------------------------

PREFIX = re.compile(r"\A(/(up|down)load)?/(compute/v1|storage/v1|v\d)/")
ACTION = re.compile(r":[a-zA-Z]+\Z")
NAMESPACE = re.compile(r"/apis/[^/]+/v1/namespaces/(?P<project>[^/]+)/\w+/?(?P<name>[^/]*)")


def resource_of(world: "World", call: Call) -> str:
    """Find what a request is about, by the key that policies know it by."""
    path = ACTION.sub("", PREFIX.sub("", call.request.path))
    if path == "b" or path.startswith("b/"):
        return _bucket_key(world, call)
    if "account" in call.params:
        return _account_key(world, call)
    if path == "entries":
        return _with_project_id(world, _first_named(call))
    if match := NAMESPACE.match(path):
        return _in_namespace(world, match["project"], match["name"])
    return _with_project_id(world, _whole_pairs(path))


def _whole_pairs(path: str) -> str:
    """Cut off what is not a name: projects/P/zones/Z/instances/I/start, projects/P/zones/Z/instances."""
    project, _, rest = path.partition("/aggregated")[0].partition("/global")
    if "/" not in rest.strip("/"):
        parts = project.split("/")
        return "/".join(parts[: len(parts) // 2 * 2])
    parts = rest.strip("/").split("/")
    return "/".join([project, "global", *parts[: len(parts) // 2 * 2]])


def _first_named(call: Call) -> str:
    """Logging is asked of projects, in the body."""
    try:
        document = call.document()
    except ApiError:
        return "projects/-"
    names = document.get("resourceNames") or [f"projects/{one}" for one in document.get("projectIds") or ["-"]]
    return str(names[0])


def _in_namespace(world: "World", project: str, name: str) -> str:
    """The older API of Cloud Run leaves out where a job or an execution is."""
    place = _with_project_id(world, f"projects/{project}")
    known = (key for key in (*world.jobs, *world.executions) if key.startswith(f"{place}/"))
    return next((key for key in known if key.endswith(f"/{name}")), place)


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
