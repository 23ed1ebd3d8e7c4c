"""Secrets: made empty, and filled from standard input. Nothing here ever reads one."""

import base64

from mayfly.deploy.differences import Difference
from mayfly.deploy.marks import LABELS, is_labelled
from mayfly.deploy.resource import Item, Resource
from orchestrator.google_admin import GoogleAdmin, Json, Service


def secret(project: str, name: str) -> Item:
    """A secret without a version."""
    return Item(
        kind="secret",
        name=name,
        service=Service.SECRETS,
        collection=f"projects/{project}/secrets",
        wanted={"labels": LABELS},
        born_with={"replication": {"automatic": {}}},
        named_by="secretId",
        ours=is_labelled,
    )


class SecretValue(Resource):
    """A value that somebody gave us: a new version each time, for what the old ones hold is not ours to read."""

    kind, service = "value of the secret", Service.SECRETS

    def __init__(self, project: str, name: str, value: bytes) -> None:
        self.name = name
        self._path, self._value, self._added = f"projects/{project}/secrets/{name}", value, False

    async def look(self, google: GoogleAdmin) -> Json | None:  # noqa: ARG002
        """It is there once Google has said so."""
        return {} if self._added else None

    def is_ours(self, seen: Json) -> bool:  # noqa: ARG002
        """What we were given to add."""
        return True

    def differences(self, seen: Json) -> list[Difference]:  # noqa: ARG002
        """None that we could see."""
        return []

    async def make(self, google: GoogleAdmin) -> None:
        """Add it as the newest version. After a lost reply it may be there twice, which changes nothing."""
        payload = {"data": base64.b64encode(self._value).decode()}
        await google.post(Service.SECRETS, f"{self._path}:addVersion", {"payload": payload}, self.about("add"))
        self._added = True

    async def change(self, google: GoogleAdmin, seen: Json, found: list[Difference]) -> None:
        """Nothing ever differs."""

    async def remove(self, google: GoogleAdmin, seen: Json) -> None:
        """It goes with its secret."""
