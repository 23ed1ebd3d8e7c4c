"""Who we are in the project: service accounts, and the roles that hold what they may do."""

from collections.abc import Iterable
from dataclasses import dataclass

from mayfly.deploy.differences import Difference
from mayfly.deploy.marks import described
from mayfly.deploy.resource import Item
from orchestrator.google_admin import GoogleAdmin, Json, Service

ACCOUNT = "service account"  # the kind


def email_of(project: str, account: str) -> str:
    """The address of a service account of this project. Of a domain's project "example.com:p" the domain comes last."""
    domain, _, name = project.rpartition(":")
    return f"{account}@{name}.{f'{domain}.' if domain else ''}iam.gserviceaccount.com"


@dataclass(frozen=True, kw_only=True)
class _ServiceAccount(Item):
    account: str

    async def make(self, google: GoogleAdmin) -> None:
        body = {"accountId": self.account, "serviceAccount": self.wanted}
        await google.post(self.service, self.collection, body, self.about("make"))

    async def change(self, google: GoogleAdmin, seen: Json, found: list[Difference]) -> None:  # noqa: ARG002
        body = {"serviceAccount": self.wanted, "updateMask": ",".join(self.wanted)}
        await google.patch(self.service, self.path, body, self.about("change"))


def service_account(project: str, account: str, purpose: str) -> Item:
    """One of our accounts; what it may do is granted elsewhere."""
    return _ServiceAccount(
        kind=ACCOUNT,
        name=email_of(project, account),
        account=account,
        service=Service.IAM,
        collection=f"projects/{project}/serviceAccounts",
        wanted={"displayName": f"Mayfly: {purpose.partition(':')[0]}", "description": described(purpose)},
    )


@dataclass(frozen=True, kw_only=True)
class _Role(Item):
    """A deleted role is there for another week, and its name with it."""

    def differences(self, seen: Json) -> list[Difference]:
        lacks = set(self.wanted["includedPermissions"]) - set(seen.get("includedPermissions", []))
        has = set(seen.get("includedPermissions", [])) - set(self.wanted["includedPermissions"])
        found = [Difference("deleted", True, None)] if seen.get("deleted") else []
        found += [Difference("permission", None, name) for name in sorted(lacks)]
        found += [Difference("permission", name, None) for name in sorted(has)]
        described = {name: value for name, value in self.wanted.items() if name != "includedPermissions"}
        return found + [
            Difference(name, seen.get(name), value) for name, value in described.items() if seen.get(name) != value
        ]

    def is_gone(self, seen: Json) -> bool:
        return bool(seen.get("deleted"))

    async def make(self, google: GoogleAdmin) -> None:
        await google.post(self.service, self.collection, {"roleId": self.name, "role": self.wanted}, self.about("make"))

    async def change(self, google: GoogleAdmin, seen: Json, found: list[Difference]) -> None:
        if seen.get("deleted"):
            await google.post(self.service, f"{self.path}:undelete", {}, self.about("undelete"))
        else:
            await super().change(google, seen, found)


def role(project: str, identifier: str, purpose: str, permissions: Iterable[str]) -> Item:
    """A custom role with exactly these permissions."""
    return _Role(
        kind="role",
        name=identifier,
        service=Service.IAM,
        collection=f"projects/{project}/roles",
        wanted={
            "title": f"Mayfly: {purpose}",
            "description": described(purpose),
            "includedPermissions": sorted(permissions),
            "stage": "GA",
        },
    )
