"""From a seed to what exists."""

from datetime import timedelta

from gcp_emulator.addresses import Address
from gcp_emulator.buckets import Bucket
from gcp_emulator.errors import ApiError
from gcp_emulator.instances import RUNNING, TERMINATED, AccessConfig, Instance
from gcp_emulator.links import address_key, instance_key, region_key
from gcp_emulator.outside import taken
from gcp_emulator.places import Project
from gcp_emulator.power import enter_running
from gcp_emulator.scheduling import scheduling_from
from gcp_emulator.secrets import Secret, Version
from gcp_emulator.seed import (
    AddressSeed,
    BadSeedError,
    BucketSeed,
    InstanceSeed,
    ProjectSeed,
    SecretSeed,
    Seed,
    TemplateSeed,
)
from gcp_emulator.sowing_access import sow_accounts, sow_image
from gcp_emulator.templates import InstanceTemplate, properties_from
from gcp_emulator.world import World

EPHEMERAL = "ephemeral"
AGE = timedelta(days=1)  # what is there from the beginning was made yesterday, and last stopped an hour later
FIRST_RUN = timedelta(hours=1)


def sow(world: World, seed: Seed) -> None:
    """Fill an empty world."""
    world.regions = {region: tuple(zones) for region, zones in seed.regions.items()}
    world.projects = {one.id: _project(one) for one in seed.projects}
    sow_accounts(world, seed)
    for address in seed.addresses:
        _sow_address(world, address)
    for instance in seed.instances:
        _sow_instance(world, instance)
    for secret in seed.secrets:
        _sow_secret(world, secret)
    for template in seed.templates:
        _sow_template(world, template)
    for bucket in seed.buckets:
        _sow_bucket(world, bucket)
    for image in seed.images:
        sow_image(world, image)
    world.images_to_come = tuple(seed.images_to_come)


def _project(seed: ProjectSeed) -> Project:
    apis = None if seed.apis is None else list(seed.apis)
    return Project(seed.id, seed.number, dict(seed.metadata), apis, dict(seed.quotas))


def _sow_address(world: World, seed: AddressSeed) -> None:
    if seed.project not in world.projects or seed.region not in world.regions:
        raise BadSeedError(f"address {seed.name}: there is no {seed.project}/{seed.region}")
    ip = seed.ip or world.network.next_external(taken(world))
    if ip is None:
        raise BadSeedError(f"address {seed.name}: no external address is left")
    address = Address(seed.project, seed.region, seed.name, world.new_id(), world.now - AGE, ip)
    address.labels = dict(seed.labels)
    world.addresses[address.key] = address


def _sow_instance(world: World, seed: InstanceSeed) -> None:
    if seed.project not in world.projects or not any(seed.zone in zones for zones in world.regions.values()):
        raise BadSeedError(f"instance {seed.name}: there is no {seed.project}/{seed.zone}")
    if seed.status not in {RUNNING, TERMINATED}:
        raise BadSeedError(f"instance {seed.name}: it can begin as {RUNNING} or {TERMINATED}, not as {seed.status}")
    vm = _instance(world, seed)
    world.instances[vm.key] = vm
    if seed.address:
        _attach(world, vm, seed)
    if seed.status == RUNNING:
        vm.last_start = world.now
        enter_running(world, vm)


def _instance(world: World, seed: InstanceSeed) -> Instance:
    internal = world.network.next_internal({vm.internal_ip for vm in world.instances.values()})
    if internal is None:
        raise BadSeedError(f"instance {seed.name}: no internal address is left")
    has_gpu = seed.gpu is not None
    return Instance(
        project=seed.project,
        zone=seed.zone,
        name=seed.name,
        id=world.new_id(),
        created=world.now - AGE,
        internal_ip=internal,
        service_account=seed.service_account or world.projects[seed.project].service_account,
        scheduling=scheduling_from(dict(seed.scheduling), has_gpu=has_gpu),
        machine_type=seed.machine_type,
        gpu=seed.gpu,
        local_ssd=seed.local_ssd,
        deletion_protection=seed.deletion_protection,
        tags=tuple(seed.tags),
        metadata=dict(seed.metadata),
        labels=dict(seed.labels),
        last_start=world.now - AGE,
        last_stop=world.now - AGE + FIRST_RUN,
    )


def _attach(world: World, vm: Instance, seed: InstanceSeed) -> None:
    if seed.address == EPHEMERAL:
        vm.access_config = AccessConfig(seed.access_config)
        return
    key = address_key(vm.project, world.region_of(vm.zone), seed.address or "")
    address = world.addresses.get(key)
    if address is None or address.user:
        raise BadSeedError(f"instance {vm.name}: address {key} is not there, or not free")
    vm.access_config = AccessConfig(seed.access_config, address.ip, reserved=True)
    address.user = instance_key(vm.project, vm.zone, vm.name)


def _sow_secret(world: World, seed: SecretSeed) -> None:
    if seed.project not in world.projects:
        raise BadSeedError(f"secret {seed.id}: there is no project {seed.project}")
    name = f"projects/{world.projects[seed.project].number}/secrets/{seed.id}"
    versions = [Version(payload.encode(), world.now - AGE) for payload in seed.versions]
    world.secrets[name] = Secret(name, world.now - AGE, versions, denied=seed.denied)


def _sow_template(world: World, seed: TemplateSeed) -> None:
    if seed.project not in world.projects or (seed.region and seed.region not in world.regions):
        raise BadSeedError(f"template {seed.name}: there is no {seed.project}/{seed.region or 'global'}")
    scope = region_key(seed.project, seed.region) if seed.region else f"projects/{seed.project}/global"
    try:
        properties = properties_from(seed.project, dict(seed.properties))
    except ApiError as wrong:
        raise BadSeedError(f"template {seed.name}: {wrong}") from wrong
    template = InstanceTemplate(scope, seed.name, world.new_id(), world.now - AGE, properties)
    world.templates[template.key] = template


def _sow_bucket(world: World, seed: BucketSeed) -> None:
    if seed.project not in world.projects:
        raise BadSeedError(f"bucket {seed.name}: there is no project {seed.project}")
    world.buckets[seed.name] = Bucket(seed.name, world.projects[seed.project], world.now - AGE)
