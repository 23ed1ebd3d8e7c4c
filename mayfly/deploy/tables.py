"""The tables of `mayfly.toml`: what `mayfly deploy` makes. Each field is described here and nowhere else."""

import re
from datetime import timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from mayfly.deploy.cron import a_cron
from orchestrator.names import NAME
from orchestrator.spans import parse_duration

_GPU_MACHINES = ("a2-", "g2-", "g4-")
# Google stops such a VM, and gives it a limit, only under the condition that their content is thrown away.
_LOCAL_SSDS = r"a2-ultragpu-.+|(a3|a4|a4x|z3)-.+|.+-lssd"
_SECRET = r"(projects/[^/\s]+/secrets/)?[A-Za-z0-9_-]{1,255}(/(versions/)?[a-z0-9]+)?"  # noqa: S105 - a form of names


def _matching(pattern: str, sentence: str) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(sentence)
        return text

    return AfterValidator(check)


def _without_a_secret(url: str) -> str:
    if re.match(r"[a-z+]+://[^/]*:[^/]*@|https?://[^/]*@", url, re.IGNORECASE):
        raise ValueError("has a user in it, or a password: whoever sees the VM reads it there. Write the address alone")
    return url


def _a_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("is no time zone: write an IANA name such as Asia/Seoul") from None
    return name


def cron_of(every: str) -> str:
    """10m -> */10 * * * *. ValueError where cron knows no such rhythm."""
    minutes, rest = divmod(parse_duration(every), timedelta(minutes=1))
    if not rest and 1 <= minutes <= 30 and 60 % minutes == 0:  # noqa: PLR2004 - of an hour
        return f"*/{minutes} * * * *"
    hours, rest = divmod(parse_duration(every), timedelta(hours=1))
    if not rest and 1 <= hours <= 24 and 24 % hours == 0:  # noqa: PLR2004 - of a day
        return f"0 */{hours} * * *" if hours < 24 else "0 0 * * *"  # noqa: PLR2004
    raise ValueError("must divide an hour or a day: 5m, 10m, 30m, 1h, 6h")


def _a_rhythm(every: str) -> str:
    cron_of(every)
    return every


Name = Annotated[str, _matching(NAME, "is not a name: small letters, digits and hyphens, a letter first")]
Account = Annotated[str, _matching(r"[^@\s]+@[^@\s]+\.[^@\s]+", "is not the email of a service account")]
SecretName = Annotated[str, _matching(_SECRET, "is not a secret: write NAME, NAME/VERSION or projects/P/secrets/NAME")]
VariableName = Annotated[str, _matching(r"[A-Za-z_][A-Za-z0-9_]*", "is not a variable's name")]
AttributeName = Annotated[str, _matching(r"[A-Za-z0-9_-]{1,128}", "is not a name of metadata")]


class Table(BaseModel):
    """One table: what it does not know is an error, not a word to itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _without_local_ssds(machine_type: str) -> str:
    if re.fullmatch(_LOCAL_SSDS, machine_type):
        raise ValueError("has local SSDs in it, whose content a stop throws away: mayfly deploy makes no such VM")
    return machine_type


class Vm(Table):
    """[vm]: the VM INSTANCE, or the instance template TEMPLATE if that is set."""

    machine_type: Annotated[str, AfterValidator(_without_local_ssds)] = Field(
        default="e2-standard-4", description="What Compute Engine calls it; g2-standard-4 has a GPU in it."
    )
    gpu: str | None = Field(
        default=None,
        description="A GPU to add, such as nvidia-tesla-t4 (machine types n1). Types a2, g2, g4 have theirs.",
    )
    gpu_count: int = Field(default=1, ge=1, le=16, description="How many of `gpu`.")
    image: str = Field(
        default="debian-cloud/debian-12",
        description="Of the boot disk: PROJECT/FAMILY, or projects/P/global/images/IMAGE. A GPU needs its driver.",
    )
    disk_gb: int = Field(default=50, ge=10, le=65536, description="Of the boot disk.")
    disk_type: str = Field(default="pd-balanced", description="Of the boot disk.")
    spot: bool = Field(default=False, description="Cheaper, and Google may take it back at any time.")
    network: Name = Field(default="default", description="The VPC network.")
    subnetwork: Name | None = Field(default=None, description="If not set, the region's subnetwork of that network.")
    source: Annotated[str, AfterValidator(_without_a_secret)] | None = Field(
        default=None, description="The git repository that the VM runs."
    )
    ref: str | None = Field(default=None, description="The commit or tag of it.")
    extras: list[str] = Field(default=["agent"], description="The extras of the project to install; [] for none.")
    metadata: dict[AttributeName, str] = Field(
        default_factory=dict, description="More for startup.sh, as listed at its top: mayfly-job-metadata and so on."
    )
    secrets: dict[VariableName, SecretName] = Field(
        default_factory=dict, description="For the jobs' environment: NAME = secret, or secret/version."
    )
    callers: list[Account] = Field(
        default_factory=list,
        description="Whom the agent obeys besides the orchestrator's account: yours, for a laptop.",
    )
    service_account: Account | None = Field(
        default=None, description="One of yours. If not set, mayfly-vm is made. To yours nothing is granted."
    )

    @property
    def has_gpu(self) -> bool:
        """One was added, or the machine type has one in it."""
        return self.gpu is not None or self.machine_type.startswith(_GPU_MACHINES)

    @property
    def lacks_a_driver(self) -> bool:
        """The default image has none."""
        return self.has_gpu and self.image == Vm.model_fields["image"].default


class Job(Table):
    """[job]: the Cloud Run job that carries runs out, and the sweeper beside it."""

    name: Name = Field(default="mayfly", description="The sweeper's name is this and -sweep.")
    image: str | None = Field(
        default=None, description="The orchestrator's image, by digest, or by a tag that is looked up. See `--image`."
    )
    region: str | None = Field(default=None, description="If not set, the VM's.")
    max_retries: int = Field(default=3, ge=0, le=10, description="Of a task that did not exit 0.")
    cpu: str = Field(default="1", description="Of the orchestrator, not of the VM.")
    memory: str = Field(default="512Mi", description="Of the orchestrator, not of the VM.")
    egress: Literal["default", "vpc"] | None = Field(
        default=None,
        description="`vpc`: into the VM's network, as AGENT_REACH=internal needs it (and then the default).",
    )
    args: list[str] = Field(default_factory=list, description="After `mayfly run`: a job, --set name=value and so on.")
    secrets: dict[VariableName, SecretName] = Field(
        default_factory=dict, description="For the orchestrator's environment: NOTIFY_URL = secret, say."
    )
    service_account: Account | None = Field(
        default=None, description="One of yours. If not set, mayfly-orchestrator is made. To yours nothing is granted."
    )


class Schedule(Table):
    """[[schedule]]: when the job is started by itself; as many as you like."""

    name: Name = Field(description="The Scheduler's entry is mayfly- and this.")
    cron: Annotated[str, AfterValidator(a_cron)] = Field(description="minute hour day month weekday")
    time_zone: Annotated[str, AfterValidator(_a_zone)] = Field(default="UTC", description="Of `cron` and `once_per`.")
    mode: Literal["run", "test"] = Field(default="run", description="For real, or as a rehearsal.")
    args: list[str] | None = Field(default=None, description="In place of the job's own.")
    once_per: Literal["1h", "2h", "3h", "4h", "6h", "8h", "12h", "1d"] | None = Field(
        default=None, description="One run per window, however often the tick comes. The Scheduler may tick twice."
    )
    paused: bool | None = Field(
        default=None,
        description="Kept, but does not tick. If not set, one that somebody has paused by hand stays paused.",
        examples=[False],
    )


class Sweep(Table):
    """[sweep]: the sweeper's own schedule."""

    every: Annotated[str, AfterValidator(_a_rhythm)] = Field(default="10m", description="How often.")
    enabled: bool = Field(default=True, description="Without it nobody finishes what a killed run left on.")


class Firewall(Table):
    """[firewall]: who reaches the agent's port at all. Whoever does still needs a token."""

    source_ranges: list[str] | None = Field(
        default=None,
        description='If not set: ["10.0.0.0/8"] with AGENT_REACH=internal; else ["0.0.0.0/0"], for nobody knows Cloud '
        "Run's addresses beforehand.",
    )
