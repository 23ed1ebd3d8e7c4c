"""What the user may set, read once: flags, then the environment, then `.env`, then `mayfly.toml`.

The only module that looks at the environment. Each setting is described here and nowhere else: the README's table
is made from these descriptions.
"""

import re
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from orchestrator.lease import STATE_URL, AddressPolicy
from orchestrator.names import NAME, PROJECT, ZONE
from orchestrator.run import OnInterrupt, OnRunning, Reach
from orchestrator.settings_file import MayflyToml
from orchestrator.spans import parse_duration

LONGEST_TIMEOUT = timedelta(days=100)  # Compute Engine's maxRunDuration ends at 120 days, with boot and margin
Duration = Annotated[timedelta, BeforeValidator(parse_duration)]


class Auth(StrEnum):
    """How we prove to the agent who we are."""

    ID_TOKEN = "id-token"  # noqa: S105 - no password
    API_KEY = "api-key"


class AgentTls(StrEnum):
    """Whether an agent must prove who it is."""

    PINNED = "pinned"
    OFF = "off"


class Settings(BaseSettings):
    """Every setting; the name in the environment and in `.env` is the field's in capitals."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",  # the environment and .env are not ours alone; mayfly.toml is, and is checked
        frozen=True,
        validate_default=True,
    )

    project_id: str = Field(description="The project that the VM is in.", examples=["my-project"])
    zone: str = Field(description="The VM's zone.", examples=["us-central1-a"])
    region: str = Field(default="", description="The static IP's region, the zone's own if not set.")
    instance: str = Field(description="The VM's name.", examples=["gpu-vm"])
    agent_reach: Reach = Field(
        default=Reach.EXTERNAL,
        description="How the agent is reached: `external` (the static IP) or `internal` (Direct VPC egress).",
    )
    template: str | None = Field(
        default=None,
        description="An instance template: the VM is made from it for each run, under the name INSTANCE, and deleted "
        "afterwards. Needs STATE_URL.",
        examples=["gpu-template"],
    )
    state_url: str | None = Field(
        default=None,
        description="Where the leases of such VMs are kept: `gs://BUCKET` or `gs://BUCKET/FOLDER`.",
        examples=["gs://my-project-mayfly"],
    )
    static_name: str | None = Field(
        default=None,
        description="The name of the reserved static IP. May be left out only with AGENT_REACH=internal.",
        examples=["gpu-ip"],
    )
    agent_port: int = Field(default=8000, ge=1, le=65535, description="The port that the agent listens on.")
    auth: Auth = Field(
        default=Auth.ID_TOKEN,
        description="What we show the agent: `id-token` (signed by Google, for this VM alone) or `api-key`.",
    )
    agent_tls: AgentTls = Field(
        default=AgentTls.PINNED,
        description="`pinned`: the agent must prove, by TLS and by Google's word, that it is the one on the VM. `off`: "
        "plain HTTP, for an agent with MAYFLY_TLS=off on a network where nobody listens.",
    )
    agent_key: SecretStr | None = Field(
        default=None,
        description="The agent's API key itself, for AUTH=api-key. If not set, it is read from Secret Manager.",
    )
    agent_key_secret: str = Field(
        default="mayfly-agent-key",
        description="The secret that holds the agent's key: its name, or `projects/P/secrets/S/versions/V`.",
    )
    mayfly_job: str | None = Field(
        default=None,
        description="The job where the command names none: `module:function` or `image:REF`. If not set, the VM's own "
        "default (`main:run` and `main:test`).",
    )
    timeout: Duration = Field(
        default=timedelta(hours=1), description="How long the job may take: `90s`, `45m`, `2h`, `1h30m`."
    )
    boot_timeout: Duration = Field(
        default=timedelta(minutes=10),
        description="How long the VM may take from RUNNING to a ready agent. First boots install drivers.",
    )
    boot_margin: Duration = Field(
        default=timedelta(minutes=5),
        description="Google itself stops the VM this long after BOOT_TIMEOUT and TIMEOUT are both over.",
    )
    lease_ttl: Duration = Field(
        default=timedelta(minutes=3),
        description="How long a lease lasts that nobody renews; its holder does so three times in that span.",
    )
    address_policy: AddressPolicy = Field(
        default=AddressPolicy.DETACH,
        description="What becomes of the static IP afterwards: `detach`, `keep` (on the stopped VM: cheaper by the "
        "hour) or `release`: Mayfly reserves one under STATIC_NAME for each run, and gives it back. It never deletes "
        "one that you reserved.",
    )
    once_per: str | None = Field(
        default=None,
        description="One run per window of time: `1h`, `2h`, `3h`, `4h`, `6h`, `8h`, `12h` or `1d`. A tick that comes "
        "twice is answered by the first.",
    )
    tz: str = Field(default="UTC", description="The time zone of ONCE_PER: an IANA name such as Asia/Seoul.")
    on_interrupt: OnInterrupt = Field(
        default=OnInterrupt.FAIL,
        description="A run that was cut off: `fail` (exit 5: nobody knows how far it came) or `rerun` (three attempts "
        "at most; for work that may be done twice).",
    )
    wait_for_lease: Duration = Field(
        default=timedelta(0), description="How long to wait for another run to give the VM back; 0s: exit 6 at once."
    )
    on_running: OnRunning = Field(
        default=OnRunning.REFUSE,
        description="A VM found on, without a lease of ours: `refuse` (exit 6) or `adopt` (used, left running).",
    )
    out: Path | None = Field(
        default=None, description="The folder that the job's files and its log are copied to before the VM stops."
    )
    price_per_hour: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="What an hour of the VM costs you; the receipt then shows what the run cost.",
    )
    currency: str = Field(default="USD", description="The currency of PRICE_PER_HOUR.")
    notify_url: SecretStr | None = Field(
        default=None,
        description="The incoming webhook of a Slack or Google Chat channel: told of exits 5 and 7, and of each "
        "sweep that had to act. Whoever has it may post there: keep it secret.",
    )
    compute_emulator_host: str | None = Field(
        default=None, description="`host:port` of a Compute Engine emulator: no call goes to Google then."
    )
    secret_manager_emulator_host: str | None = Field(
        default=None, description="`host:port` of a Secret Manager emulator."
    )
    run_emulator_host: str | None = Field(
        default=None, description="`host:port` of an emulator of Cloud Run and all else that a deploy touches."
    )
    storage_emulator_host: str | None = Field(
        default=None, description="`http://host:port` of a Cloud Storage emulator."
    )
    gce_metadata_host: str | None = Field(
        default=None, description="`host:port` of an emulator's metadata server, which says who we are."
    )
    mayfly_certs_url: str | None = Field(
        default=None, description="The URL of an emulator's public keys; if not set, Google's own are fetched."
    )
    cloud_run_job: str | None = Field(default=None, description="Set by Cloud Run: the logs are JSON lines then.")
    cloud_run_execution: str | None = Field(
        default=None, description="Set by Cloud Run: with the task's index it is the run key."
    )
    cloud_run_task_index: int = Field(default=0, description="Set by Cloud Run.")
    cloud_run_task_attempt: int = Field(default=0, description="Set by Cloud Run: which of its retries this is.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - part of the hook's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags come in as arguments, so the order here is the order of precedence."""
        return init_settings, env_settings, dotenv_settings, MayflyToml(settings_cls)

    @field_validator("project_id")
    @classmethod
    def _a_project(cls, name: str) -> str:
        if not re.fullmatch(PROJECT, name):
            raise ValueError("is not a project id: small letters, digits and hyphens (its display name is not it)")
        return name

    @field_validator("zone")
    @classmethod
    def _a_zone(cls, name: str) -> str:
        if not re.fullmatch(ZONE, name):
            raise ValueError("is not a zone: they look like us-central1-a")
        return name

    @field_validator("region")
    @classmethod
    def _the_zones_region(cls, name: str, info: ValidationInfo) -> str:
        zone = info.data.get("zone")
        of_zone = zone.rpartition("-")[0] if zone else name
        if name and name != of_zone:
            raise ValueError(
                f"does not hold the zone {zone}, which is in {of_zone}; leave REGION out or mend one of the two"
            )
        return of_zone

    @field_validator("auth")
    @classmethod
    def _names_the_vm(cls, auth: Auth, info: ValidationInfo) -> Auth:
        if auth is Auth.ID_TOKEN and info.data.get("project_id", "").isdecimal():
            raise ValueError("names the VM by its project's id: PROJECT_ID must be that, not the project's number")
        return auth

    @field_validator("agent_key")
    @classmethod
    def _a_header(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and not re.fullmatch(r"[!-~]+", key.get_secret_value()):
            raise ValueError("must be printable ASCII without spaces or line breaks: it travels in a header")
        return key

    @field_validator("notify_url")
    @classmethod
    def _a_webhook(cls, url: SecretStr | None) -> SecretStr | None:
        from orchestrator.notify import may_be_posted_to  # noqa: PLC0415 - who speaks HTTP there takes time to load

        if url is not None and not may_be_posted_to(url.get_secret_value()):
            raise ValueError("must begin with https:// (http:// only on this machine)")
        return url

    @field_validator("instance", "static_name")
    @classmethod
    def _a_resource(cls, name: str | None) -> str | None:
        if name is not None and not re.fullmatch(NAME, name):
            raise ValueError("is not a resource's name: small letters, digits and hyphens, 63 at most, a letter first")
        return name

    @field_validator("static_name")
    @classmethod
    def _an_address_to_call(cls, name: str | None, info: ValidationInfo) -> str | None:
        if name is None and info.data.get("agent_reach") is Reach.EXTERNAL:
            raise ValueError(
                "is not set: the name of the reserved static IP, for example gpu-ip (or AGENT_REACH=internal)"
            )
        return name

    @field_validator("state_url")
    @classmethod
    def _a_place_for_the_lease(cls, url: str | None, info: ValidationInfo) -> str | None:
        if url is None and info.data.get("template") is not None:
            raise ValueError("is not set: a VM that TEMPLATE makes cannot keep its lease, for example gs://my-bucket")
        if url is not None and not STATE_URL.fullmatch(url):
            raise ValueError("is not a place for leases: write gs://BUCKET or gs://BUCKET/FOLDER")
        return url

    @field_validator("address_policy", "on_running")
    @classmethod
    def _goes_with_a_template(
        cls, choice: AddressPolicy | OnRunning, info: ValidationInfo
    ) -> AddressPolicy | OnRunning:
        if info.data.get("template") is not None and choice in {AddressPolicy.KEEP, OnRunning.ADOPT}:
            raise ValueError("does not go with TEMPLATE: that VM is made for the run, and deleted after it")
        return choice

    @field_validator("timeout", "boot_timeout", "boot_margin", "lease_ttl")
    @classmethod
    def _a_limit(cls, limit: timedelta) -> timedelta:
        if not timedelta(seconds=1) <= limit <= LONGEST_TIMEOUT:
            raise ValueError(f"must be from 1s to {LONGEST_TIMEOUT.days}d")
        return limit

    @field_validator("boot_margin")
    @classmethod
    def _within_googles_limit(cls, margin: timedelta, info: ValidationInfo) -> timedelta:
        parts = [info.data.get("boot_timeout"), info.data.get("timeout"), margin]
        if sum((part for part in parts if part is not None), timedelta(0)) > LONGEST_TIMEOUT:
            raise ValueError(
                f"makes more than {LONGEST_TIMEOUT.days}d with BOOT_TIMEOUT and TIMEOUT: longer than Google lets a VM "
                "with a limit run"
            )
        return margin

    @field_validator("wait_for_lease")
    @classmethod
    def _a_wait(cls, wait: timedelta) -> timedelta:
        if not timedelta(0) <= wait <= timedelta(days=7):  # Cloud Run lets no task run longer
            raise ValueError("must be from 0s to 7d")
        return wait

    @property
    def on_cloud_run(self) -> bool:
        """Whether Cloud Run started us."""
        return self.cloud_run_job is not None
