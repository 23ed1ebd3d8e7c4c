"""From settings to what we show the agents."""

import asyncio
from collections.abc import Callable

from orchestrator.agent_credentials import ApiKey, IdToken
from orchestrator.policy import Policy
from orchestrator.ports import Clock, Credential
from orchestrator.secrets import open_secrets
from orchestrator.settings import Auth, Settings
from orchestrator.threads import IMPORTING

Credentials = Callable[[str, str], Credential]  # by zone, and name of the VM


async def open_credentials(settings: Settings, policy: Policy, clock: Clock) -> Credentials:
    """What to show each VM's agent; BadUsage if we have nothing. With tokens, no secret is read."""
    if settings.auth is Auth.API_KEY:
        key = ApiKey(await _agent_key(settings, policy, clock))
        return lambda _zone, _instance: key
    return await asyncio.to_thread(_tokens, settings, policy, clock)


def _tokens(settings: Settings, policy: Policy, clock: Clock) -> Credentials:
    with IMPORTING:
        from orchestrator.google_identity import find_identity  # noqa: PLC0415 - the library takes its time

    identity = find_identity(settings.project_id, settings.gce_metadata_host, policy, clock)
    made: dict[tuple[str, str], IdToken] = {}

    def token(zone: str, instance: str) -> Credential:
        if (zone, instance) not in made:
            made[zone, instance] = IdToken(
                identity.token, policy, clock, project=settings.project_id, zone=zone, instance=instance
            )
            made[zone, instance].prepare()
        return made[zone, instance]

    return token


async def _agent_key(settings: Settings, policy: Policy, clock: Clock) -> str:
    """The key that agents know us by: from the settings, else from Secret Manager."""
    if settings.agent_key is not None:
        return settings.agent_key.get_secret_value()
    emulator = settings.secret_manager_emulator_host
    me = settings.gce_metadata_host
    vault = open_secrets(settings.project_id, policy, clock, environment={}, endpoint=emulator, metadata_host=me)
    return await vault.read("AGENT_KEY", settings.agent_key_secret)
