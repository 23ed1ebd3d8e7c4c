"""What a world begins with, as dataclasses and as the JSON that `POST /_emulator/seed` takes (the same names)."""

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

DEMO_PROJECT = "demo"
DEMO_REGION = "us-central1"
DEMO_ZONE = "us-central1-a"
DEMO_INSTANCE = "gpu-vm"
DEMO_ADDRESS = "gpu-ip"
DEMO_TEMPLATE = "gpu-template"
DEMO_BUCKET = "mayfly-state"
DEMO_SECRET = "mayfly-agent-key"  # noqa: S105  (a name)
# Of the orchestrator. Tasks are processes of `mayfly` here, whatever image their job names.
DEMO_IMAGE = f"{DEMO_REGION}-docker.pkg.dev/{DEMO_PROJECT}/mayfly/orchestrator@sha256:{'0' * 64}"

PERSON = "user@example.com"  # who is not a service account

REGIONS: Mapping[str, Sequence[str]] = {
    "us-central1": ("us-central1-a", "us-central1-b", "us-central1-c", "us-central1-f"),
    "us-east1": ("us-east1-b", "us-east1-c", "us-east1-d"),
    "europe-west4": ("europe-west4-a", "europe-west4-b", "europe-west4-c"),
    "asia-northeast3": ("asia-northeast3-a", "asia-northeast3-b", "asia-northeast3-c"),
}


class BadSeedError(ValueError):
    """The seed is not one: an unknown name, a missing one, a value of the wrong type, or a place that is not there."""


@dataclass(frozen=True, slots=True)
class ProjectSeed:
    """A project, with its own metadata.

    `apis` are those that are enabled, such as "compute": all of them if it does not say. `policy` has role -> members;
    if it does not say, the caller is the owner, and the accounts of its VMs may read secrets and what editors may.
    """

    id: str
    number: str = "123456789012"
    metadata: Mapping[str, str] = field(default_factory=dict)
    apis: Sequence[str] | None = None
    quotas: Mapping[str, float] = field(default_factory=dict)  # limits that are not the usual ones, by metric
    policy: Mapping[str, Sequence[str]] | None = None


@dataclass(frozen=True, slots=True)
class AddressSeed:
    """A reserved regional external address; without `ip` one is picked from the pool."""

    name: str
    project: str = DEMO_PROJECT
    region: str = DEMO_REGION
    ip: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InstanceSeed:
    """An instance, TERMINATED or RUNNING; `address` names an AddressSeed to attach, or says "ephemeral"."""

    name: str
    project: str = DEMO_PROJECT
    zone: str = DEMO_ZONE
    status: str = "TERMINATED"
    machine_type: str = "e2-standard-2"
    gpu: str | None = None  # accelerator type, such as nvidia-tesla-t4
    local_ssd: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    tags: Sequence[str] = ()
    scheduling: Mapping[str, Any] = field(default_factory=dict)
    address: str | None = None
    access_config: str = "External NAT"  # its name, when there is an address
    deletion_protection: bool = False
    service_account: str | None = None  # default: the project's Compute Engine default account


@dataclass(frozen=True, slots=True)
class SecretSeed:
    """A secret and its versions, oldest first; `denied` answers every access with 403."""

    id: str
    project: str = DEMO_PROJECT
    versions: Sequence[str] = ()
    denied: bool = False


@dataclass(frozen=True, slots=True)
class TemplateSeed:
    """An instance template, global unless it has a region; `properties` as the API takes them (InstanceProperties)."""

    name: str
    properties: Mapping[str, Any]
    project: str = DEMO_PROJECT
    region: str | None = None


@dataclass(frozen=True, slots=True)
class BucketSeed:
    """An empty bucket of Cloud Storage."""

    name: str
    project: str = DEMO_PROJECT


@dataclass(frozen=True, slots=True)
class ImageSeed:
    """An image, LOCATION-docker.pkg.dev/PROJECT/REPOSITORY/NAME[:TAG][@DIGEST], and the repository that it is in."""

    uri: str


@dataclass(frozen=True, slots=True)
class Seed:
    """A whole world to begin with. `caller` is the email of who asks with the tokens of the metadata server here."""

    projects: Sequence[ProjectSeed] = (ProjectSeed(DEMO_PROJECT),)
    regions: Mapping[str, Sequence[str]] = field(default_factory=lambda: REGIONS)
    instances: Sequence[InstanceSeed] = ()
    addresses: Sequence[AddressSeed] = ()
    secrets: Sequence[SecretSeed] = ()
    templates: Sequence[TemplateSeed] = ()
    buckets: Sequence[BucketSeed] = ()
    images: Sequence[ImageSeed] = ()
    images_to_come: Sequence[str] = ()  # URIs with digests: there as soon as there is a repository for them
    caller: str | None = None  # default: caller_email of the first project


def caller_email(project: str) -> str:
    """Give the service account that the emulator's callers have."""
    return f"mayfly-orchestrator@{project}.iam.gserviceaccount.com"


def seed_caller(seed: Seed) -> str:
    """Give the email of who calls this world's emulator."""
    return seed.caller or caller_email(seed.projects[0].id)


def vm_email(project: str) -> str:
    """Give the service account of VMs that are made from the demo's template."""
    return f"mayfly-vm@{project}.iam.gserviceaccount.com"


def demo_seed(startup_script: str, *, api_key: str, metadata: Mapping[str, str] | None = None) -> Seed:
    """Build the demo's world: a stopped GPU-less `gpu-vm`, a template of the like, the free address `gpu-ip`, a key."""
    attributes = {
        "enable-guest-attributes": "TRUE",
        "startup-script": startup_script,
        "mayfly-callers": caller_email(DEMO_PROJECT),
        **(metadata or {}),
    }
    properties = {
        "machineType": "e2-medium",
        "disks": [{"boot": True, "autoDelete": True}],
        "networkInterfaces": [{"network": f"projects/{DEMO_PROJECT}/global/networks/default"}],
        "metadata": {"items": [{"key": key, "value": value} for key, value in attributes.items()]},
        "serviceAccounts": [{"email": "default", "scopes": ["https://www.googleapis.com/auth/cloud-platform"]}],
    }
    return Seed(
        instances=(InstanceSeed(DEMO_INSTANCE, metadata=attributes, labels={"mayfly": "managed"}),),
        addresses=(AddressSeed(DEMO_ADDRESS),),
        secrets=(SecretSeed(DEMO_SECRET, versions=(api_key,)),),
        templates=(TemplateSeed(DEMO_TEMPLATE, properties),),
        buckets=(BucketSeed(DEMO_BUCKET),),
    )


def empty_seed(project: str = DEMO_PROJECT) -> Seed:
    """Build a project as Google hands it over: nothing in it, no API enabled, and a person who owns it."""
    owner = {"roles/owner": (f"user:{PERSON}",)}
    empty = ProjectSeed(project, apis=(), policy=owner)
    return Seed(projects=(empty,), images_to_come=(DEMO_IMAGE,), caller=PERSON)


def seed_as_json(seed: Seed) -> dict[str, Any]:
    """Turn a seed into the JSON form that `seed_from_json` reads."""
    return dataclasses.asdict(seed)


def seed_from_json(document: object) -> Seed:
    """Read the JSON form, strictly: what it does not name has the dataclass's default."""
    return typing.cast("Seed", _read(Seed, document, "seed"))


def _read(wanted: Any, value: object, where: str) -> Any:
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if dataclasses.is_dataclass(wanted):
        return _read_object(wanted, value, where)
    if origin is types.UnionType:  # only `X | None` occurs
        return None if value is None else _read(arguments[0], value, where)
    if isinstance(value, Mapping) and origin is Mapping:
        return {str(key): _read(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple) and origin is Sequence:
        return tuple(_read(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if wanted is Any or (origin is None and isinstance(value, wanted)):
        return value
    raise BadSeedError(f"{where} cannot be {value!r}")


def _read_object(wanted: Any, value: object, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise BadSeedError(f"{where} must be an object, not {value!r}")
    types_of = typing.get_type_hints(wanted)
    if unknown := value.keys() - types_of.keys():
        raise BadSeedError(f"{where} has no {', '.join(sorted(unknown))}")
    try:
        return wanted(**{name: _read(types_of[name], item, f"{where}.{name}") for name, item in value.items()})
    except TypeError as wrong:  # a name without default is missing
        raise BadSeedError(f"{where}: {wrong}") from wrong
