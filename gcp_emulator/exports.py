"""The environment that points every client at an emulator: Google's libraries, gcloud, Mayfly itself."""

import shlex
from collections.abc import Mapping

from gcp_emulator.loopback import LOCALHOST
from gcp_emulator.seed import (
    DEMO_ADDRESS,
    DEMO_BUCKET,
    DEMO_IMAGE,
    DEMO_INSTANCE,
    DEMO_PROJECT,
    DEMO_REGION,
    DEMO_SECRET,
    DEMO_ZONE,
)

# gcloud puts the region before this name (us-central1-...), which nobody could resolve without a line in /etc/hosts:
# so it is told that the emulator is its proxy, and a proxy gets the name as it is.
GCLOUD_RUN_HOST = "run.mayfly-emulator"
AT_THE_ROOT = ("IAM", "CLOUDRESOURCEMANAGER", "SERVICEUSAGE", "ARTIFACTREGISTRY")


def certs_url(host: str) -> str:
    """Where this cloud publishes the keys of what it signs."""
    return f"http://{host}/oauth2/v3/certs"


def exports(port: int) -> dict[str, str]:
    """Where an emulator on this port answers, for each client that can be told."""
    host = f"{LOCALHOST}:{port}"
    return {
        "COMPUTE_EMULATOR_HOST": host,
        "SECRET_MANAGER_EMULATOR_HOST": host,
        "RUN_EMULATOR_HOST": host,
        "STORAGE_EMULATOR_HOST": f"http://{host}",  # a URL, unlike the others: so Google's library wants it
        "MAYFLY_CERTS_URL": certs_url(host),
        # Both: Google's libraries ask the one for data, and look at the other to see whether there is a server.
        "GCE_METADATA_HOST": host,
        "GCE_METADATA_IP": host,
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE": f"http://{host}/compute/v1/",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER": f"http://{host}/",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"http://{host}/storage/v1/",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN": f"http://{GCLOUD_RUN_HOST}/",
        "CLOUDSDK_PROXY_TYPE": "http_no_tunnel",
        "CLOUDSDK_PROXY_ADDRESS": LOCALHOST,
        "CLOUDSDK_PROXY_PORT": str(port),
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDSCHEDULER": f"http://{host}/",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING": f"http://{host}/",
        **{f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}": f"http://{host}/" for api in AT_THE_ROOT},
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
    }


def demo_exports() -> dict[str, str]:
    """The names of the demo's world, as Mayfly's settings and gcloud's."""
    return {
        "PROJECT_ID": DEMO_PROJECT,
        "REGION": DEMO_REGION,
        "ZONE": DEMO_ZONE,
        "INSTANCE": DEMO_INSTANCE,
        "STATIC_NAME": DEMO_ADDRESS,
        "AGENT_KEY_SECRET": DEMO_SECRET,
        "STATE_URL": f"gs://{DEMO_BUCKET}",
        "MAYFLY_IMAGE": DEMO_IMAGE,
        "CLOUDSDK_CORE_PROJECT": DEMO_PROJECT,
        "CLOUDSDK_COMPUTE_REGION": DEMO_REGION,
        "CLOUDSDK_COMPUTE_ZONE": DEMO_ZONE,
        "CLOUDSDK_RUN_REGION": DEMO_REGION,
    }


def as_shell(variables: Mapping[str, str]) -> str:
    """Lines for `eval "$(mayfly emulator env)"`."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
