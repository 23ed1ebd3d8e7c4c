"""What a deploy makes: each kind says what is wanted, how it is looked at, what differs, and how it is made."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mayfly.deploy.differences import Difference, differences
from mayfly.deploy.marks import is_described
from orchestrator.google_admin import GoogleAdmin, Json, Service
from orchestrator.google_errors import Subject


class Resource(ABC):
    """One thing in the project. None of its methods waits for others to see what it did: the loop does."""

    kind: str  # "firewall rule"
    name: str
    service: Service

    @abstractmethod
    async def look(self, google: GoogleAdmin) -> Json | None:
        """What is there, or None."""

    @abstractmethod
    def differences(self, seen: Json) -> list[Difference]:
        """What is not as wanted; nothing means done."""

    @abstractmethod
    async def make(self, google: GoogleAdmin) -> None:
        """Bring it about where there is nothing. AlreadyExists: there is something after all."""

    @abstractmethod
    async def change(self, google: GoogleAdmin, seen: Json, found: list[Difference]) -> None:
        """Mend `found`, or a part of it: it is looked at again. Conflict: somebody else wrote meanwhile."""

    @abstractmethod
    async def remove(self, google: GoogleAdmin, seen: Json) -> None:
        """Undo it. Fine if it is gone."""

    def is_ours(self, seen: Json) -> bool:
        """We made it, so we may change and remove it."""
        return is_described(seen)

    def made_of(self) -> list[Difference]:
        """What a person should read before it is made."""
        return []

    def remark(self, seen: Json) -> str:  # noqa: ARG002
        """What is left as it is, and somebody should know; or nothing."""
        return ""

    def is_gone(self, seen: Json) -> bool:  # noqa: ARG002
        """It was removed, though it still shows."""
        return False

    def stays(self, seen: Json) -> str:  # noqa: ARG002
        """Why it is not removed, though we made it; or nothing."""
        return ""

    def about(self, doing: str) -> Subject:
        """What a request is about, for errors."""
        return Subject(f"{doing} the {self.kind} {self.name}", f"There is no {self.kind} {self.name}.")


@dataclass(frozen=True, kw_only=True)
class Item(Resource):
    """A resource of the usual form: POST to a collection, GET, PATCH and DELETE by its path."""

    kind: str
    name: str
    service: Service
    collection: str  # projects/P/...; its path is that, a slash, and the name
    wanted: Json  # what is compared, and changed
    born_with: Json = field(default_factory=dict)  # said at its making only
    named_by: str | None = None  # the query parameter that names a new one; None: the body does
    masked: bool = True  # PATCH names the fields that it changes
    made_in: Mapping[str, str] = field(default_factory=dict)  # more query parameters of its making
    ours: Callable[[Json], bool] = is_described

    @property
    def path(self) -> str:
        """Below the API's version."""
        return f"{self.collection}/{self.name}"

    def is_ours(self, seen: Json) -> bool:  # noqa: D102 - as above
        return self.ours(seen)

    async def look(self, google: GoogleAdmin) -> Json | None:  # noqa: D102
        return await google.find(self.service, self.path, self.about("look at"))

    def differences(self, seen: Json) -> list[Difference]:  # noqa: D102
        return differences(self.wanted, seen)

    async def make(self, google: GoogleAdmin) -> None:  # noqa: D102
        name = {} if self.named_by else {"name": self.own_name}
        query = dict(self.made_in) | ({self.named_by: self.name} if self.named_by else {})
        body = said({**name, **self.born_with, **self.wanted})
        doing = self.about("make")
        made = await google.post(self.service, self.collection, body, doing, again=True, **query)
        await self.followed(google, made, doing)

    async def change(self, google: GoogleAdmin, seen: Json, found: list[Difference]) -> None:  # noqa: ARG002, D102
        mask = {"updateMask": ",".join(self.wanted)} if self.masked else {}
        doing = self.about("change")
        await self.followed(
            google, await google.patch(self.service, self.path, said(self.wanted), doing, **mask), doing
        )

    async def remove(self, google: GoogleAdmin, seen: Json) -> None:  # noqa: ARG002, D102
        doing = self.about("remove")
        removed = await google.delete(self.service, self.path, doing)
        if removed is not None:
            await self.followed(google, removed, doing)

    @property
    def own_name(self) -> str:
        """What the body of its making calls it."""
        return self.name

    async def followed(self, google: GoogleAdmin, answer: Json, doing: Subject) -> None:
        """To the end of the operation, if it is one."""
        if is_operation(answer):
            await google.finished(self.service, answer, doing)


def is_operation(answer: Json) -> bool:
    """Artifact Registry makes by an operation, and changes at once: its answer is then the resource itself."""
    return "/operations/" in answer.get("name", "") or str(answer.get("kind", "")).endswith("#operation")


def said(wanted: Json) -> Json:
    """A body for Google: None means that a field shall not be there, and no API takes a null."""
    return {
        name: said(value) if isinstance(value, dict) else value for name, value in wanted.items() if value is not None
    }
