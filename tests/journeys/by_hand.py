"""A person's own client of the agent: what `curl --cacert` does, with the certificate that the VM has published."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from tests.journeys.lab import API_KEY, Lab
from vm_agent.protocol import CERTIFICATE_NAME, PUBLICATION, Publication

BY_HAND = {"X-API-Key": API_KEY}


async def published(lab: Lab, vm: str = "gpu-vm") -> Publication:
    """As `gcloud compute instances get-guest-attributes` shows it, once it does."""
    url = f"{lab.emulator.url}/compute/v1/projects/demo/zones/us-central1-a/instances/{vm}/getGuestAttributes"
    async with httpx.AsyncClient() as client, asyncio.timeout(30):
        while (shown := await client.get(url, params={"queryPath": PUBLICATION})).status_code == httpx.codes.NOT_FOUND:
            await asyncio.sleep(0.05)
    return Publication.model_validate_json(shown.raise_for_status().json()["queryValue"]["items"][0]["value"])


def trusting_it_alone(publication: Publication) -> ssl.SSLContext:
    """With every check that there is, the name's too."""
    return ssl.create_default_context(cadata=publication.certificate)


@asynccontextmanager
async def a_person(lab: Lab, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who calls the agent at the static IP."""
    context = trusting_it_alone(await published(lab))
    ip = (await lab.address())["address"]
    async with httpx.AsyncClient(base_url=f"https://{ip}:8000", verify=context, headers=headers, timeout=30) as client:
        client.event_hooks["request"].append(_by_its_name)
        yield client


async def _by_its_name(request: httpx.Request) -> None:
    """curl's --resolve."""
    request.extensions["sni_hostname"] = CERTIFICATE_NAME
