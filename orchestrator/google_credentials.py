"""Who we are to Google's APIs: our credentials, or those that an emulator's metadata server has for us."""

import json
from http import HTTPStatus
from typing import Any

import google.auth
from google.auth.credentials import AnonymousCredentials, Credentials
from google.auth.exceptions import DefaultCredentialsError, TransportError

from orchestrator.errors import BadUsage
from orchestrator.google_errors import LOG_IN

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_TOKEN = "computeMetadata/v1/instance/service-accounts/default/token"  # noqa: S105 - a path


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


class EmulatedToken(Credentials):
    """The token of whoever an emulator's metadata server takes us for.

    google-auth's own class reads the server's address when it is imported, and asks three questions for each token.
    """

    def __init__(self, metadata_host: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._url = f"http://{metadata_host}/{_TOKEN}"

    def refresh(self, request: Any) -> None:
        """Ask for a token, as google-auth wants it done."""
        response = request(url=self._url, method="GET", headers={"Metadata-Flavor": "Google"})
        if response.status != HTTPStatus.OK:
            raise TransportError(f"the metadata server at {self._url} answered {response.status}")  # type: ignore[no-untyped-call]
        self.token = json.loads(response.data)["access_token"]  # for good: an emulator's tokens do not run out
