"""The policy of a bucket, in Cloud Storage's own form."""

from typing import TYPE_CHECKING

from gcp_emulator import policies
from gcp_emulator.buckets import BUCKET, find
from gcp_emulator.errors import ApiError, RpcError
from gcp_emulator.policies import Policy
from gcp_emulator.routes import Answer, Call, Json, Route

if TYPE_CHECKING:
    from gcp_emulator.world import World


def get(world: "World", call: Call) -> Answer:
    """Show it."""
    bucket = find(world, call)
    return _as_storage_has_it(bucket.name, world.policies.get(bucket.key, Policy()).as_json())


def set_(world: "World", call: Call) -> Answer:
    """Replace it, if nobody else did since the caller read it."""
    bucket = find(world, call)
    try:
        return _as_storage_has_it(bucket.name, policies.replace(world, bucket.key, call.document()))
    except RpcError as wrong:
        if wrong.status == 409:  # noqa: PLR2004 - a stale etag
            raise ApiError(412, "conditionNotMet", wrong.message) from wrong
        raise ApiError(wrong.status, "invalid", wrong.message) from wrong


def test(world: "World", call: Call) -> Answer:
    """Say which of these permissions the caller has."""
    bucket, asked = find(world, call), call.required("permissions").split(",")
    have = [one for one in asked if policies.allowed(world, call.principal, one, bucket.key)]
    return {"kind": "storage#testIamPermissionsResponse", **({"permissions": have} if have else {})}


def _as_storage_has_it(bucket: str, policy: Json) -> Json:
    return {"kind": "storage#policy", "resourceId": f"projects/_/buckets/{bucket}", **policy}


ROUTES = (
    Route("GET", f"{BUCKET}/iam", "buckets.getIamPolicy", get),
    Route("PUT", f"{BUCKET}/iam", "buckets.setIamPolicy", set_),
    Route("GET", f"{BUCKET}/iam/testPermissions", "buckets.testIamPermissions", test),
)
