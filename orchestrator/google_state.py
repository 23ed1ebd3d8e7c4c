"""The lease as an object of Cloud Storage, for VMs that do not outlive their run (port `Leases`)."""

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from orchestrator.errors import BadUsage, Conflict
from orchestrator.google_errors import Subject
from orchestrator.google_rest import Asked, GoogleRest
from orchestrator.lease import STATE_URL, Lease, read_lease
from orchestrator.ports import Clock
from orchestrator.seen import Machine

STORAGE = "https://storage.googleapis.com"


@dataclass(frozen=True)
class Stored:
    """What the object held. `generation` is Google's number for that content, 0 where there is no object."""

    lease: Lease | None
    generation: int
    seen_at: datetime  # by Google's clock


class GoogleState:
    """One object, replaced by compare-and-swap on its generation."""

    def __init__(self, rest: GoogleRest, clock: Clock, state_url: str, place: str, endpoint: str | None = None) -> None:
        """`place` is what the lease is about, below STATE_URL: "PROJECT/ZONE/INSTANCE"."""
        match = STATE_URL.fullmatch(state_url)
        if match is None:
            raise BadUsage(
                f"STATE_URL={state_url} is not a place for the lease: write gs://BUCKET or gs://BUCKET/FOLDER."
            )
        self._rest, self._clock = rest, clock
        self._bucket = match["bucket"]
        self._name = "/".join(part for part in (match["prefix"], place, "lease.json") if part)
        self._endpoint = (endpoint or STORAGE).rstrip("/")
        self.url = f"gs://{self._bucket}/{self._name}"

    async def read(self) -> Stored:
        """Value and generation in one answer, so that they belong together."""
        url = f"{self._endpoint}/storage/v1/b/{self._bucket}/o/{quote(self._name, safe='')}"
        # A bucket that is not there looks the same as an object that is not: the first write tells them apart.
        asked = Asked(url, query={"alt": "media"}, missing_is_fine=True)
        answered = await self._rest.send(asked, self._subject("read the lease in"))
        seen_at = answered.date() or self._clock.now()
        if answered.missing:
            return Stored(None, 0, seen_at)
        lease = read_lease(answered.content.decode(errors="replace"))
        return Stored(lease, int(answered.headers["x-goog-generation"]), seen_at)

    async def write(self, machine: Machine, lease: Lease) -> None:
        """Port `Leases`: replace the lease that `machine` showed."""
        await self.swap(lease, machine.lease_generation)

    async def swap(self, lease: Lease, generation: int) -> None:
        """Write over that generation, or raise Conflict if it is not the one that is there.

        A try whose reply was lost may have written: the next is refused then, and what is there tells whose it is.
        """
        asked = Asked(
            f"{self._endpoint}/upload/storage/v1/b/{self._bucket}/o",
            query={"uploadType": "media", "name": self._name, "ifGenerationMatch": str(generation)},
            content=lease.to_json().encode(),
        )
        try:
            await self._rest.send(asked, self._subject("write the lease to"))
        except Conflict:
            there = (await self.read()).lease
            if there is None or there.to_json() != lease.to_json():
                raise

    def _subject(self, doing: str) -> Subject:
        create = f"gcloud storage buckets create gs://{self._bucket} --location REGION"
        return Subject(f"{doing} {self.url}", f"There is no bucket {self._bucket}: check STATE_URL, or run `{create}`.")
