"""From the settings to Google's administrative APIs, or to the emulator's: never some of each."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from orchestrator.clock import SystemClock
from orchestrator.errors import BadUsage
from orchestrator.google_admin import GoogleAdmin, Service, open_admin
from orchestrator.policy import Policy
from orchestrator.settings import Settings


@asynccontextmanager
async def google_of(settings: Settings, policy: Policy | None = None) -> AsyncIterator[GoogleAdmin]:
    """The APIs, as whoever we are. BadUsage: nobody, or a mix of Google and emulators."""
    emulators = emulators_of(settings)
    admin = open_admin(policy or Policy(), SystemClock(), emulators, settings.gce_metadata_host)
    try:
        yield admin
    finally:
        admin.close()


def emulators_of(settings: Settings) -> dict[Service, str] | None:
    """The origin of each service under an emulator, None for Google itself."""
    hosts = {
        "COMPUTE_EMULATOR_HOST": settings.compute_emulator_host,
        "SECRET_MANAGER_EMULATOR_HOST": settings.secret_manager_emulator_host,
        "STORAGE_EMULATOR_HOST": settings.storage_emulator_host,
        "RUN_EMULATOR_HOST": settings.run_emulator_host,
    }
    missing = [name for name, host in hosts.items() if not host]
    if len(missing) == len(hosts):
        return None
    if missing:
        raise BadUsage(
            f"{', '.join(missing)} not set, while the others point at an emulator: half of this would be done at "
            'Google. Set all of them (eval "$(mayfly emulator env)") or none.'
        )
    compute, secrets, storage, rest = (_origin(host or "") for host in hosts.values())
    own = {Service.COMPUTE: compute, Service.SECRETS: secrets, Service.STORAGE: storage}
    return {service: own.get(service, rest) for service in Service}


def _origin(host: str) -> str:
    return host.rstrip("/") if "://" in host else f"http://{host}"
