"""What a job can ask of the VM's metadata server. Outside Compute Engine there is none: None, after three seconds."""

import json
import os
from urllib.request import ProxyHandler, Request, build_opener

TIMEOUT_SECONDS = 3
_DIRECTLY = build_opener(ProxyHandler({}))  # a proxy has no business between a VM and its metadata server


def project() -> str | None:
    """The id of the project that this VM is in."""
    return _read("project/project-id")


def egress_ip() -> str | None:
    """The external address of this VM: what others see its requests come from."""
    return _read("instance/network-interfaces/0/access-configs/0/external-ip") or None


def token() -> str | None:
    """A token of the VM's service account."""
    answer = _read("instance/service-accounts/default/token")
    return str(json.loads(answer)["access_token"]) if answer else None


def _read(path: str) -> str | None:
    host = os.environ.get("GCE_METADATA_HOST") or "metadata.google.internal"
    request = Request(f"http://{host}/computeMetadata/v1/{path}", headers={"Metadata-Flavor": "Google"})
    try:
        with _DIRECTLY.open(request, timeout=TIMEOUT_SECONDS) as response:
            return str(response.read().decode("utf-8"))
    except OSError:  # HTTP's refusals and time-outs are OSErrors, too
        return None
