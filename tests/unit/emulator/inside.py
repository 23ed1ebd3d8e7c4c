"""An in-process door for tests: virtual time, and guests that do as they are told."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from gcp_emulator.cloud import Cloud
from gcp_emulator.identity import Signer
from gcp_emulator.knobs import Knobs
from gcp_emulator.latency import INSTANT, Latency
from gcp_emulator.seed import AddressSeed, InstanceSeed, ProjectSeed, SecretSeed, Seed
from gcp_emulator.wire import Effect, GuestEvent, Held, Reply, Request

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
ZONE = "projects/demo/zones/us-central1-a"
REGION = "projects/demo/regions/us-central1"
VM = f"{ZONE}/instances/gpu-vm"
ADDRESS = f"{REGION}/addresses/gpu-ip"
FLAVOR = {"metadata-flavor": "Google"}

MAY = {  # besides the caller, who owns the project
    "roles/owner": ("serviceAccount:mayfly-orchestrator@demo.iam.gserviceaccount.com",),
    "roles/run.jobsExecutorWithOverrides": ("serviceAccount:scheduler@demo.iam.gserviceaccount.com",),
    "roles/secretmanager.secretAccessor": ("serviceAccount:orchestrator@demo.iam.gserviceaccount.com",),
}
DEMO = Seed(
    projects=(ProjectSeed("demo", policy=MAY),),
    instances=(InstanceSeed("gpu-vm", metadata={"startup-script": "true", "enable-guest-attributes": "TRUE"}),),
    addresses=(AddressSeed("gpu-ip"),),
    secrets=(SecretSeed("mayfly-agent-key", versions=("first", "second")), SecretSeed("others", denied=True)),
)
SOME_TIME = Latency(
    provisioning=(1, 1),
    staging=(2, 2),
    stopping=(5, 5),
    reset=(1, 1),
    access_config=(3, 3),
    metadata=(1, 1),
    labels=(1, 1),
    scheduling=(1, 1),
    address=(1, 1),
)


class Inside:
    """The cloud with its clock in the test's hand."""

    def __init__(
        self,
        seed: Seed = DEMO,
        *,
        latency: Latency = INSTANT,
        knobs: Knobs | None = None,
        guests: bool = False,
        signer: Signer | None = None,
    ) -> None:
        self.now = NOON
        self.effects: list[Effect] = []
        self.cloud = Cloud(seed, NOON, port=8475, latency=latency, knobs=knobs, guests=guests, signer=signer)
        self.passes(0)

    def ask(self, method: str, url: str, body: Any = None, **more: Any) -> Reply | Held:
        self.sent = Request(method, urlsplit(url).path, dict(parse_qsl(urlsplit(url).query)), {}, _bytes(body))
        return self.cloud.answer(self.sent, self.now, **more)

    def say(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """One request below /compute/v1/, or from the root; its status and document. Then time stands still."""
        url = path if path.startswith("/") else f"/compute/v1/{path}"
        reply = self.ask(method, url, body)
        assert isinstance(reply, Reply)
        return reply.status, json.loads(reply.body)

    def get(self, path: str) -> Any:
        status, document = self.say("GET", path)
        assert status == 200, document
        return document

    def post(self, path: str, body: Any = None) -> Any:
        """A request that succeeds; what takes no time has happened when it returns."""
        status, document = self.say("POST", path, body)
        assert status == 200, document
        self.passes(0)
        return document

    def refused(self, method: str, path: str, body: Any = None) -> tuple[int, str, str]:
        """A request that fails: status, reason and message."""
        status, document = self.say(method, path, body)
        error = document["error"]
        assert error["code"] == status
        return status, error["errors"][0]["reason"] if "errors" in error else error["status"], error["message"]

    def passes(self, seconds: float) -> list[Effect]:
        """Let time pass, stopping wherever something is due; the effects of it."""
        end = self.now + timedelta(seconds=seconds)
        effects: list[Effect] = []
        while (due := self.cloud.due()) and due <= end:
            self.now = max(self.now, due)
            effects += self.cloud.advance(self.now)
        self.now = end
        effects += self.cloud.advance(end)
        self.effects += effects
        return effects

    def guest(self, event: GuestEvent, instance: str = VM) -> None:
        self.cloud.guest_says(instance, event, self.now)
        self.passes(0)

    def operation(self, shown: dict[str, Any]) -> Any:
        """The operation as it is by now."""
        return self.get(shown["selfLink"].partition("/compute/v1/")[2])

    def vm(self) -> Any:
        return self.get(VM)

    def status(self) -> str:
        return str(self.vm()["status"])

    def states(self, resource: str = "instances/gpu-vm") -> list[str]:
        entries = self.cloud.history.since(0)["entries"]
        return [entry["to"] for entry in entries if entry["kind"] == "state" and entry["resource"] == resource]

    def inquire(self, path: str, method: str = "GET", body: bytes = b"", headers: Any = FLAVOR, **more: Any) -> Any:
        """Ask gpu-vm's metadata server, below /computeMetadata/v1/ or from the root."""
        url = path if path.startswith("/") else f"/computeMetadata/v1/{path}"
        self.sent = Request(method, urlsplit(url).path, dict(parse_qsl(urlsplit(url).query)), headers, body)
        return self.cloud.metadata(VM, self.sent, self.now, **more)


def _bytes(body: Any) -> bytes:
    return b"" if body is None else json.dumps(body).encode()
