"""The reserved address, and the firewall's door to the agent."""

from dataclasses import dataclass

from mayfly.deploy.config import Config
from mayfly.deploy.differences import Difference
from mayfly.deploy.marks import LABELS, described
from mayfly.deploy.resource import Item
from orchestrator.google_admin import GoogleAdmin, Json, Service

TAG = "mayfly"  # of the VMs that the door is for
FIREWALL = "mayfly-agent"
IP = "static IP"  # the kind


@dataclass(frozen=True, kw_only=True)
class _Address(Item):
    async def change(self, google: GoogleAdmin, seen: Json, found: list[Difference]) -> None:  # noqa: ARG002
        """Of an address only the labels can be changed."""
        doing = self.about("label")
        body = {"labels": {**seen.get("labels", {}), **LABELS}, "labelFingerprint": seen["labelFingerprint"]}
        await self.followed(google, await google.post(self.service, f"{self.path}/setLabels", body, doing), doing)


def address(config: Config, name: str) -> Item:
    """The static IP. It costs by the hour from here on."""
    return _Address(
        kind=IP,
        name=name,
        service=Service.COMPUTE,
        collection=f"projects/{config.project}/regions/{config.settings.region}/addresses",
        wanted={"labels": LABELS},
        born_with={"description": described("the IP under which runs act")},
    )


def firewall(config: Config) -> Item:
    """Who reaches the agent's port at all."""
    return Item(
        kind="firewall rule",
        name=FIREWALL,
        service=Service.COMPUTE,
        collection=f"projects/{config.project}/global/firewalls",
        wanted={
            "network": f"projects/{config.project}/global/networks/{config.vm.network}",
            "direction": "INGRESS",
            "allowed": [{"IPProtocol": "tcp", "ports": [str(config.settings.agent_port)]}],
            "sourceRanges": config.source_ranges,
            "targetTags": [TAG],
            "disabled": False,
        },
        born_with={"description": described("to the agent, which asks everybody for a token")},
        masked=False,
    )
