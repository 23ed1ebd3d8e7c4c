"""Secrets: the environment first, then Secret Manager through Google's own client library."""

import re
from collections.abc import Callable, Mapping
from functools import partial

from orchestrator.errors import BadResource, BadUsage
from orchestrator.patience import patiently
from orchestrator.policy import Policy
from orchestrator.ports import Clock
from orchestrator.threads import IMPORTING, Threads

Fetch = Callable[[str], bytes]  # by the version's full name

_NAME = r"[\w-]{1,255}"
_NAMED = re.compile(rf"(?P<project>projects/[^/]+/secrets/)?(?P<name>{_NAME})(?:/(?:versions/)?(?P<version>{_NAME}))?")


class Secrets:
    """Reads secrets by name. Values are never logged, nor part of an error."""

    def __init__(
        self, project: str, policy: Policy, clock: Clock, *, environment: Mapping[str, str], fetch: Callable[[], Fetch]
    ) -> None:
        """`fetch` opens Secret Manager, once a secret has to come from there."""
        self._project, self._policy, self._clock = project, policy, clock
        self._environment = environment
        self._open = fetch
        self._fetch: Fetch | None = None
        self._thread = Threads(1, "secrets")

    async def read(self, variable: str, secret: str) -> str:
        """The environment's `variable` if it is set, else the secret from Secret Manager.

        `secret` is "name[/version]" or "projects/P/secrets/S[/versions/V]". NotFound, Forbidden.
        """
        if given := self._environment.get(variable):
            return given
        version = version_name(self._project, secret)
        ask = partial(self._thread.call, partial(self._ask, version))
        payload = await patiently(ask, self._policy.cloud_calls, self._clock)
        try:
            return payload.decode().strip()  # a file that was uploaded as a secret ends with a newline
        except UnicodeDecodeError:
            raise BadResource(f"The secret {version} is not text. Add a version that is.") from None

    def _ask(self, version: str) -> bytes:
        if self._fetch is None:
            self._fetch = self._open()
        return self._fetch(version)


def open_secrets(
    project: str,
    policy: Policy,
    clock: Clock,
    *,
    environment: Mapping[str, str],
    endpoint: str | None = None,
    metadata_host: str | None = None,
) -> Secrets:
    """Nothing is imported and nobody is asked before a secret has to come from Secret Manager.

    `endpoint` and `metadata_host` as for `open_google`; "HOST:PORT" (as in SECRET_MANAGER_EMULATOR_HOST) means plain
    http.
    """
    url = endpoint if not endpoint or "://" in endpoint else f"http://{endpoint}"
    fetch = partial(_google_fetch, url, metadata_host, policy)
    return Secrets(project, policy, clock, environment=environment, fetch=fetch)


def version_name(project: str, secret: str) -> str:
    """The full name of a secret's version; the latest one unless it says which."""
    if named := _NAMED.fullmatch(secret):
        where = named["project"] or f"projects/{project}/secrets/"
        return f"{where}{named['name']}/versions/{named['version'] or 'latest'}"
    raise BadUsage(
        f"{secret!r} does not name a secret: write NAME, NAME/VERSION or projects/P/secrets/NAME/versions/V."
    )


def secret_name(project: str, secret: str) -> str:
    """The full name of a secret, whatever version of it is meant."""
    return version_name(project, secret).partition("/versions/")[0]


def _google_fetch(url: str | None, metadata_host: str | None, policy: Policy) -> Fetch:
    """Takes a good part of a second, mostly to import the library."""
    with IMPORTING:
        from google.api_core.client_options import ClientOptions  # noqa: PLC0415 - see above
        from google.cloud.secretmanager_v1 import SecretManagerServiceClient  # noqa: PLC0415

        from orchestrator.google_credentials import credentials_for  # noqa: PLC0415
        from orchestrator.google_errors import Subject, speaking_our_errors  # noqa: PLC0415

    with speaking_our_errors(Subject("open Secret Manager", "")):
        client = SecretManagerServiceClient(
            credentials=credentials_for(emulated=url is not None, metadata_host=metadata_host),
            client_options=ClientOptions(api_endpoint=url),
            transport="rest",
        )

    def fetch(version: str) -> bytes:
        subject = Subject(
            doing=f"read the secret {version}",
            missing=f"There is no {version}: create the secret, or add a version to it.",
        )
        with speaking_our_errors(subject):
            answer = client.access_secret_version(name=version, retry=None, timeout=policy.request.total_seconds())
            return answer.payload.data

    return fetch
