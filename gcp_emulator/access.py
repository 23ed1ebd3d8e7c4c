"""The one place where it is asked whether somebody may do this: who asks, is the API on, has he the permission?"""

from typing import TYPE_CHECKING, Any

from gcp_emulator import policies
from gcp_emulator.errors import GoogleError
from gcp_emulator.needs import ACT_AS, Need
from gcp_emulator.permissions import needs, permission_of
from gcp_emulator.principals import check_token
from gcp_emulator.routes import Call
from gcp_emulator.service_usage import DOMAIN, TITLES, is_enabled

if TYPE_CHECKING:
    from gcp_emulator.places import Project
    from gcp_emulator.world import World

APIS = {"resourcemanager": "cloudresourcemanager"}  # whose permissions begin otherwise
OLDER = ("compute", "storage")  # they say errors with reasons
ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"


class AccessError(GoogleError):
    """403: somebody may not, or nobody may yet."""

    status = 403

    def __init__(self, api: str, message: str, reason: str, domain: str, info: dict[str, Any]) -> None:
        super().__init__(message)
        self._api, self._message, self._reason, self._domain, self._info = api, message, reason, domain, info

    def body(self) -> dict[str, Any]:
        """Write it in the form of the service."""
        detail = {"@type": ERROR_INFO, **self._info}
        error = {"code": 403, "message": self._message, "status": "PERMISSION_DENIED", "details": [detail]}
        if self._api not in OLDER:
            return {"error": error}
        first = {"message": self._message, "domain": self._domain, "reason": self._reason}
        if self._domain == "global":  # they have no details for a permission
            return {"error": {"code": 403, "message": self._message, "errors": [first]}}
        return {"error": {**error, "errors": [first]}}


def check(world: "World", call: Call) -> None:
    """Raise a 401 or 403 if nobody has that token, the API is not enabled, or the caller lacks a permission."""
    own = permission_of(call.verb)
    if own is None:
        return
    check_token(call.request)
    api = own.partition(".")[0]
    api = APIS.get(api, api)
    project = world.projects.get(call.params.get("project", ""))
    if project and not is_enabled(project, api):
        raise _disabled(project, api)
    if call.principal is None:
        return
    for need in needs(world, call):
        if not policies.allowed(world, call.principal, need.permission, need.resource):
            raise _denied(api, call.principal, need)


def _denied(api: str, email: str, need: Need) -> AccessError:
    info = {
        "reason": "IAM_PERMISSION_DENIED",
        "domain": f"{api}{DOMAIN}",
        "metadata": {"permission": need.permission, "resource": need.resource},
    }
    return AccessError(api, _words(api, email, need), "forbidden", "global", info)


def _words(api: str, email: str, need: Need) -> str:
    permission, resource = need.permission, need.resource
    if api == "compute":
        return f"Required '{permission}' permission for '{resource}'"
    if api == "storage":
        what = "object" if permission.startswith("storage.objects.") else "bucket"
        return (
            f"{email} does not have {permission} access to the Google Cloud Storage {what}. "
            f"Permission '{permission}' denied on resource (or it may not exist)."
        )
    if permission == ACT_AS:
        account = resource.rpartition("/")[2]
        return f"Permission '{permission}' denied on service account {account} (or it may not exist)."
    return f"Permission '{permission}' denied on resource '{resource}' (or it may not exist)."


def _disabled(project: "Project", api: str) -> AccessError:
    url = f"https://console.developers.google.com/apis/api/{api}{DOMAIN}/overview?project={project.number}"
    message = (
        f"{TITLES[api]} has not been used in project {project.number} before or it is disabled. Enable it by visiting "
        f"{url} then retry. If you enabled this API recently, wait a few minutes for the action to propagate to our "
        "systems and retry."
    )
    info = {
        "reason": "SERVICE_DISABLED",
        "domain": "googleapis.com",
        "metadata": {"service": f"{api}{DOMAIN}", "consumer": f"projects/{project.number}"},
    }
    return AccessError(api, message, "accessNotConfigured", "usageLimits", info)
