"""Images: whatever is asked for is there, since a guest here runs on none. gcloud looks one up before it makes a VM."""

from hashlib import sha256
from typing import TYPE_CHECKING

from gcp_emulator.links import link
from gcp_emulator.places import BEGINNING
from gcp_emulator.routes import GLOBAL, Answer, Call, Json, Route

if TYPE_CHECKING:
    from gcp_emulator.world import World


def get(_world: "World", call: Call) -> Answer:
    """Show the image of this name."""
    return _as_json(call.params["project"], call.params["image"])


def get_from_family(_world: "World", call: Call) -> Answer:
    """Show the newest image of a family."""
    family = call.params["family"]
    return {**_as_json(call.params["project"], f"{family}-v20260101"), "family": family}


def _as_json(project: str, name: str) -> Json:
    return {
        "kind": "compute#image",
        "id": str(3000 + int(sha256(name.encode()).hexdigest()[:8], 16)),
        "creationTimestamp": BEGINNING,
        "name": name,
        "status": "READY",
        "diskSizeGb": "10",
        "architecture": "X86_64",
        "selfLink": link(f"projects/{project}/global/images/{name}"),
    }


ROUTES = (
    Route("GET", f"{GLOBAL}/images/family/{{family}}", "images.getFromFamily", get_from_family),
    Route("GET", f"{GLOBAL}/images/{{image}}", "images.get", get),
)
