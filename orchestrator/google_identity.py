"""Google's word for who we are: ID tokens, from wherever this machine has its identity.

The metadata server (Cloud Run, a VM) is asked as documented, not through google-auth, which reads the server's address
when it is imported and asks three questions for each token. Everything else is google-auth's own.
"""

from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import urlencode

import google.auth
import google.auth.compute_engine
from google.auth import impersonated_credentials
from google.auth.exceptions import DefaultCredentialsError, RefreshError, TransportError
from google.auth.transport.requests import Request
from google.oauth2 import service_account

from orchestrator.errors import BadUsage, Forbidden, Transient
from orchestrator.google_errors import LOG_IN, Subject, speaking_our_errors
from orchestrator.patience import patiently
from orchestrator.policy import Policy
from orchestrator.ports import Clock
from orchestrator.threads import Threads

_METADATA_HOST = "169.254.169.254"
_PATH = "computeMetadata/v1/instance/service-accounts/default/identity"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_NO_TOKENS_FOR_PEOPLE = (
    "Agents know us by a service account's ID token (AUTH=id-token), and Google gives none for the credentials that "
    "are here ({kind}). Become a service account that the VM's metadata mayfly-callers names: `gcloud auth "
    "application-default login --impersonate-service-account=NAME@{project}.iam.gserviceaccount.com` (you need the "
    "role roles/iam.serviceAccountTokenCreator on it). Or set AUTH=api-key, and mayfly-auth=both in the VM's metadata."
)


class Identity(Protocol):
    """Whoever we are, to Google."""

    async def token(self, audience: str) -> str:
        """A new ID token for that audience. Forbidden if Google gives us none."""


def find_identity(project: str, metadata_host: str | None, policy: Policy, clock: Clock) -> Identity:
    """Who we are, on this machine. Reads files, and may look for a metadata server: it blocks.

    BadUsage: nobody who could have a token. `metadata_host` is "host:port", None: where Google has it.
    """
    if metadata_host:
        return MetadataIdentity(metadata_host, policy, clock)
    try:
        credentials, _ = google.auth.default(scopes=[_SCOPE])
    except DefaultCredentialsError as error:
        raise BadUsage(LOG_IN) from error
    if isinstance(credentials, google.auth.compute_engine.Credentials):
        return MetadataIdentity(_METADATA_HOST, policy, clock)
    return LibraryIdentity(_maker(credentials, project), policy, clock)


class MetadataIdentity:
    """The service account of the Cloud Run job or VM that we run on."""

    def __init__(self, host: str, policy: Policy, clock: Clock) -> None:
        self._url = f"http://{host}/{_PATH}"
        self._policy, self._clock = policy, clock
        self._thread = Threads(1, "identity")
        self._request = Request()
        self._request.session.trust_env = False  # a link-local server: no proxy has any business with it

    async def token(self, audience: str) -> str:
        """As documented; `format=full` is what makes it tell the email."""
        ask = partial(self._thread.call, partial(self._ask, audience))
        return await patiently(ask, self._policy.cloud_calls, self._clock)

    def _ask(self, audience: str) -> str:
        url = f"{self._url}?{urlencode({'audience': audience, 'format': 'full'})}"
        timeout = self._policy.request.total_seconds()
        try:
            reply: Any = self._request(url, headers={"Metadata-Flavor": "Google"}, timeout=timeout)
        except TransportError as error:
            raise Transient(f"The metadata server does not answer: {error}") from error
        if reply.status == HTTPStatus.OK:
            return str(reply.data.decode()).strip()
        said = f"the metadata server answered {reply.status} when it was asked for an ID token"
        if reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR or reply.status == HTTPStatus.TOO_MANY_REQUESTS:
            raise Transient(f"Cannot show who we are: {said}.")
        raise Forbidden(f"Cannot show who we are: {said}. Give this job a service account, or set AUTH=api-key.")


class LibraryIdentity:
    """A service account by its key file, or one that we may impersonate. google-auth blocks: it has a thread."""

    def __init__(self, make: Callable[[str], Any], policy: Policy, clock: Clock) -> None:
        self._make, self._policy, self._clock = make, policy, clock
        self._thread = Threads(1, "identity")

    async def token(self, audience: str) -> str:
        """Google's token endpoint, or its IAM Credentials API."""
        ask = partial(self._thread.call, partial(self._refresh, audience))
        return await patiently(ask, self._policy.cloud_calls, self._clock)

    def _refresh(self, audience: str) -> str:
        credentials = self._make(audience)
        with speaking_our_errors(Subject("get an ID token", "")):
            try:
                credentials.refresh(Request())
            except RefreshError as error:
                if error.retryable or isinstance(error.__cause__, OSError):
                    raise
                raise Forbidden(
                    f"Google gives us no ID token: {error}. To impersonate a service account you need the role "
                    "roles/iam.serviceAccountTokenCreator on it."
                ) from error
        return str(credentials.token)


def _maker(credentials: Any, project: str) -> Callable[[str], Any]:
    if isinstance(credentials, impersonated_credentials.Credentials):
        return partial(_impersonating, credentials)
    if isinstance(credentials, service_account.Credentials):
        return partial(_with_key, credentials)
    kind = f"{type(credentials).__module__}.{type(credentials).__name__}"
    raise BadUsage(_NO_TOKENS_FOR_PEOPLE.format(kind=kind, project=project))


def _impersonating(credentials: Any, audience: str) -> Any:
    make: Any = impersonated_credentials.IDTokenCredentials
    return make(credentials, target_audience=audience, include_email=True)


def _with_key(credentials: Any, audience: str) -> Any:
    make: Any = service_account.IDTokenCredentials
    return make(credentials.signer, credentials.service_account_email, credentials._token_uri, audience)
