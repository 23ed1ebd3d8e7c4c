"""Who we are to Google's APIs: our credentials, or those that an emulator's metadata server has for us."""

import json
from http import HTTPStatus
from typing import Any

import google.auth
from google.auth.credentials import AnonymousCredentials, Credentials
from google.auth.exceptions import DefaultCredentialsError, TransportError
from google.auth.transport.requests import Request

from orchestrator.errors import BadUsage
from orchestrator.google_errors import LOG_IN

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_ACCOUNT = "computeMetadata/v1/instance/service-accounts/default"


def credentials_for(*, emulated: bool, metadata_host: str | None = None) -> Credentials:
    """Ours; under an emulator those of its metadata server ("host:port"), or nobody's. BadUsage: there are none.

    Real credentials are never shown to an emulator.
    """
    if emulated:
        return EmulatedToken(metadata_host) if metadata_host else AnonymousCredentials()  # type: ignore[no-untyped-call]
    try:
        credentials, _ = google.auth.default(scopes=[SCOPE])
    except DefaultCredentialsError as error:
        raise BadUsage(LOG_IN) from error
    return credentials


def name_of(credentials: Credentials) -> str:
    """Whose they are, once Google has given a token for them: an email where they tell. Blocks."""
    if isinstance(credentials, AnonymousCredentials):
        return "nobody: an emulator asks no name"
    if isinstance(credentials, EmulatedToken):
        return credentials.email(Request())
    credentials.refresh(Request())  # type: ignore[no-untyped-call]
    for attribute in ("service_account_email", "account"):
        name = getattr(credentials, attribute, None)
        if name and name != "default":
            return str(name)
    return "a person whose name the credentials do not tell"


class EmulatedToken(Credentials):
    """The token of whoever an emulator's metadata server takes us for.

    google-auth's own class reads the server's address when it is imported, and asks three questions for each token.
    """

    def __init__(self, metadata_host: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._account = f"http://{metadata_host}/{_ACCOUNT}"

    def refresh(self, request: Any) -> None:
        """Ask for a token, as google-auth wants it done."""
        self.token = json.loads(self._ask(request, "token"))["access_token"]  # for good: these do not run out

    def email(self, request: Any) -> str:
        """Whose token it is."""
        return self._ask(request, "email").decode()

    def _ask(self, request: Any, what: str) -> bytes:
        response = request(url=f"{self._account}/{what}", method="GET", headers={"Metadata-Flavor": "Google"})
        if response.status != HTTPStatus.OK:
            raise TransportError(f"the metadata server at {self._account} answered {response.status}")  # type: ignore[no-untyped-call]
        data: bytes = response.data
        return data
