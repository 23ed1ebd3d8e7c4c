"""What the agent and its callers say to each other: protocol 1, JSON over HTTP.

With `signed` the only module of this package that others may import; both import nothing of ours.

    GET  /                      bare: Health · with credentials: Greeting (200 ready, 503 starting or failed)
    POST /run, POST /test       application/json: the params; START_MEDIA_TYPE: a whole StartRequest
                                Idempotency-Key, Mayfly-Epoch, Prefer: wait=N -> 202 RunView + Location, or 200 finished
    GET  /runs[?key=K]          RunList, newest first
    GET  /runs/{id}?wait=N&seen=V          RunView, as soon as its version differs from V (without seen: once finished)
    GET  /runs/{id}/logs?offset=N&wait=S   bytes from offset; LOG_NEXT_HEADER and LOG_COMPLETE_HEADER say how to go on
    GET  /runs/{id}/artifacts[/{path}]     ArtifactList, or one file (range requests)
    POST /runs/{id}/cancel      202 RunView
    PUT  /files/{sha256}?size=N&offset=M   Upload: a part of a file of N bytes, from byte M on; GET: how much is here
    POST /poweroff              202; not under a run that is inside its deadline (409): cancel that first
Errors are RFC 9457 problem details (PROBLEM_MEDIA_TYPE).
"""

import ssl
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from ipaddress import ip_address
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

PROTOCOL = 1
KEY_HEADER = "Idempotency-Key"
EPOCH_HEADER = "Mayfly-Epoch"
API_KEY_HEADER = "X-API-Key"
TOKEN_HEADER = "Authorization"  # noqa: S105 - Bearer, and a token that Google signed for `audience_of` this VM
LOG_NEXT_HEADER = "Mayfly-Log-Next"  # the byte offset to ask for next
LOG_COMPLETE_HEADER = "Mayfly-Log-Complete"  # "true" once the run has finished and these were its last bytes
START_MEDIA_TYPE = "application/vnd.mayfly.start+json"
PROBLEM_MEDIA_TYPE = "application/problem+json"
UPLOAD_SCHEME = "mayfly-upload"
WAIT_SECONDS_MAX = 60
TIMEOUT_SECONDS_MAX = 120 * 86400  # Compute Engine lets no VM with a deadline run longer
PARAMS_BYTES_MAX = 1 << 20
RESULT_BYTES_MAX = 1 << 20


def audience_of(project: str, zone: str, instance: str) -> str:
    """For whom a token is that is shown to the agent of this VM: a token for one VM is worth nothing at another."""
    return f"//compute.googleapis.com/projects/{project}/zones/{zone}/instances/{instance}"


class Mode(StrEnum):
    """Whether a run is for real."""

    RUN = "run"
    TEST = "test"


class State(StrEnum):
    """Where a run is in its life.

    ACCEPTED -> RUNNING -> SUCCEEDED | FAILED | CANCELLED | TIMED_OUT
        \\__________\\____-> INTERRUPTED (the agent or the VM went away under it)
         \\_______________-> FAILED (its process could not be started)
    """

    ACCEPTED = "ACCEPTED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"
    INTERRUPTED = "INTERRUPTED"

    @property
    def finished(self) -> bool:
        """No further change can follow."""
        return self not in {State.ACCEPTED, State.RUNNING}


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


def _canonical(text: str) -> str:
    return str(ip_address(text))


_IP = {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}
Ip = Annotated[str, AfterValidator(_canonical), WithJsonSchema(_IP)]


class FunctionJob(_Wire):
    """A Python function, `module:function`, called with no argument or with a context."""

    function: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]


class CommandJob(_Wire):
    """A program and its arguments; no shell is involved."""

    command: Annotated[list[str], Field(min_length=1)]


class ImageJob(_Wire):
    """A container image, and what takes the place of its CMD; no shell is involved."""

    # [host[:port]/]path[:tag][@digest]
    image: Annotated[
        str,
        Field(
            max_length=512,
            pattern=r"^([a-z0-9][a-z0-9.-]*(:[0-9]+)?/)?[a-z0-9]+([._/-]+[a-z0-9]+)*"
            r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$",
        ),
    ]
    arguments: list[str] = Field(default_factory=list)


Job = FunctionJob | CommandJob | ImageJob


class StartRequest(BaseModel):
    """Everything a start can say. Unknown fields are refused: a misspelt limit must not be ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    job: Job | None = None  # None: the agent's own default for this mode
    params: dict[str, Any] = Field(default_factory=dict)
    timeout_seconds: Annotated[float, Field(gt=0, le=TIMEOUT_SECONDS_MAX)] | None = None
    attempt: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    egress_ip: Ip | None = None  # the address it must go out by; another: 412


class Progress(_Wire):
    """How far a run says it is: fraction in 0..1 or None when it cannot tell."""

    fraction: float | None = None
    message: str = ""


class Failure(_Wire):
    """Why a run did not succeed, for a person to read."""

    detail: str
    exit_code: int | None = None
    signal: str | None = None  # "SIGKILL"


class RunView(_Wire):
    """One run, as the ledger knows it."""

    id: str
    key: str
    mode: Mode
    attempt: int
    job: Job
    state: State
    version: int  # grows with every change: pass it as `seen` to wait for the next one
    accepted_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    deadline: datetime | None = None
    progress: Progress = Progress()
    result: Any = None
    failure: Failure | None = None
    image: str | None = None  # what an ImageJob ran, by digest
    log_bytes: int = 0


class RunList(_Wire):
    """Runs, newest first."""

    runs: list[RunView]


class Artifact(_Wire):
    """A file that a run wrote: path relative to the run's artifact folder."""

    path: str
    size: int  # bytes
    sha256: str | None = None  # hex; None while the run is live


class ArtifactList(_Wire):
    """The files of one run, by path."""

    artifacts: list[Artifact]


class Upload(_Wire):
    """A file that a caller brings. Params name it as UPLOAD_SCHEME:sha256/name, and the job gets its path."""

    sha256: str
    size: int  # bytes that are here
    complete: bool


class Gpu(_Wire):
    """One GPU as its driver describes it."""

    name: str
    memory_bytes: int
    driver: str
    ecc_errors: int | None = None  # uncorrected, since the driver was loaded; None where the GPU counts none


class Health(_Wire):
    """What anybody may know."""

    status: str  # "ok" | "starting" | "failed"


class Greeting(Health):
    """What a caller with credentials may know."""

    stage: str | None = None  # how far it is, or where it failed
    detail: str | None = None
    protocol: int = PROTOCOL
    version: str = ""
    instance_id: str | None = None  # None outside Compute Engine
    boot_id: str = ""
    egress_ip: str | None = None
    gpu: list[Gpu] | None = None
    run: RunView | None = None  # the live run
    epoch: int = 0  # the highest epoch that this agent has seen
    identity: str | None = None  # Google's word (a JWT) for which instance this is; its audience is Publication's


class Publication(_Wire):
    """What the agent publishes as guest attribute PUBLICATION, once per boot, before it listens."""

    boot_id: str
    nonce: str  # made for this boot
    epoch: int = 0  # of the lease under which it was published; 0: there was none
    certificate: str  # PEM: the one that the agent shows, and that callers trust

    @property
    def audience(self) -> str:
        """For whom the identity token is made: for callers of whoever has this certificate's key, in this boot."""
        certificate = ssl.PEM_cert_to_DER_cert(self.certificate)
        return f"mayfly/{self.nonce}/{sha256(certificate).hexdigest()}"


class BootReport(_Wire):
    """What startup.sh publishes as guest attribute BOOT_REPORT while it works."""

    epoch: int = 0  # of the lease under which this boot happened: tells this boot's report from an older one
    boot_id: str = ""
    stage: str = ""  # code | secrets | dependencies | agent
    status: str = "starting"  # starting | failed | done
    detail: str = ""


BOOT_REPORT = "mayfly/boot"  # namespace/key
PUBLICATION = "mayfly/agent"  # likewise
CERTS_URL = "https://www.googleapis.com/oauth2/v3/certs"  # where Google publishes its keys for tokens, as a JWK set
CERTIFICATE_NAME = "mayfly-agent"  # in the place of a host's: the certificate is trusted for where it is published
LEASE_ATTRIBUTE = "mayfly-lease"
HOLD_ATTRIBUTE = "mayfly-hold"


class Problem(_Wire):
    """An error (RFC 9457): title and detail are for people, `code` is for programs."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = ""
    # bad-request | bad-range | too-large | too-slow | key-reused | wrong-file | bad-offset | part-on-its-way |
    # unauthorized | too-many-attempts | wrong-host | not-found | unknown-run | busy | attempt-refused | stale-epoch |
    # lease-live | wrong-egress | not-ready | crowded | internal
    code: str = ""
