"""Worlds in which an account has exactly the permissions that it is given, and what was refused to it there."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from gcp_emulator.seed import caller_email
from tests.journeys.lab import Lab

VM_ACCOUNT = "mayfly-vm@demo.iam.gserviceaccount.com"
PROJECT = "v1/projects/demo"
ON_VM_ACCOUNT = f"{PROJECT}/serviceAccounts/{VM_ACCOUNT}"
ON_SECRET = f"{PROJECT}/secrets/mayfly-agent-key"
ON_BUCKET = "storage/v1/b/mayfly-state"


@dataclass
class Allowed:
    """Custom roles for the caller, one for each resource: `{PROJECT: ORCHESTRATOR, ON_VM_ACCOUNT: ACTING}`."""

    lab: Lab

    async def only(self, lists: Mapping[str, Iterable[str]], without: str | None = None) -> None:
        """From here on the caller has these permissions, but for one, and nobody has any others."""
        async with httpx.AsyncClient(base_url=self.lab.emulator.url) as client:
            for resource, permissions in {PROJECT: (), **lists}.items():
                identifier = "on" + "".join(filter(str.isalnum, resource))[:60]
                included = [one for one in permissions if one != without]
                body: dict[str, Any] = {"roleId": identifier, "role": {"includedPermissions": included}}
                (await client.post(f"{PROJECT}/roles", json=body)).raise_for_status()
                role = f"projects/demo/roles/{identifier}"
                bindings = [{"role": role, "members": [f"serviceAccount:{caller_email('demo')}"]}]
                if resource == ON_BUCKET:
                    (await client.put(f"{resource}/iam", json={"bindings": bindings})).raise_for_status()
                else:
                    policy = {"policy": {"bindings": bindings}}
                    (await client.post(f"{resource}:setIamPolicy", json=policy)).raise_for_status()

    def refused(self) -> set[str]:
        """The verbs of what was refused for a missing permission."""
        return {entry["verb"] for entry in self.lab.requests() if entry["status"] == 403}
