"""Every method of every API that the emulator answers, and the verbs by which fault rules and the history name them."""

from gcp_emulator import (
    access_configs,
    addresses,
    buckets,
    certificates,
    control,
    creation,
    disks,
    guest_attributes,
    images,
    instances,
    logs,
    objects,
    operations,
    places,
    power,
    removal,
    resumable,
    run_execution_methods,
    run_job_methods,
    run_operations,
    scheduler_methods,
    secrets,
    templates,
)
from gcp_emulator.routes import Routes
from gcp_emulator.scheduler_ticks import TICK

ROUTES = Routes(
    [
        *instances.ROUTES,
        *creation.ROUTES,
        *power.ROUTES,
        *removal.ROUTES,
        *access_configs.ROUTES,
        *guest_attributes.ROUTES,
        *operations.ROUTES,
        *addresses.ROUTES,
        *places.ROUTES,
        *disks.ROUTES,
        *templates.ROUTES,
        *images.ROUTES,
        *secrets.ROUTES,
        *run_job_methods.ROUTES,
        *run_execution_methods.ROUTES,
        *run_operations.ROUTES,
        *logs.ROUTES,
        *scheduler_methods.ROUTES,
        *buckets.ROUTES,
        *resumable.ROUTES,
        *objects.ROUTES,
        *certificates.ROUTES,
    ]
)
METADATA = {f"metadata.{method}" for method in ("get", "head", "put", "delete", "post")}
VERBS = frozenset(ROUTES.verbs | METADATA | {TICK})
CONTROL = Routes(control.ROUTES)
