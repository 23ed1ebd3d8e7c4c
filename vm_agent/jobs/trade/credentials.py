"""The exchange's API key: from the environment, else from Secret Manager as the VM's service account."""

import base64
import json
import os
import re
from http import HTTPStatus
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from vm_agent.jobs import metadata
from vm_agent.jobs.trade.errors import NoKey

KEY, SECRET = "EXCHANGE_API_KEY", "EXCHANGE_API_SECRET"
_GOOGLE = "https://secretmanager.googleapis.com"
_TIMEOUT_SECONDS = 30
_SHORT = re.compile(r"([\w-]{1,255})(?:/([\w-]{1,255}))?")
_FULL = re.compile(r"projects/[^/]+/secrets/[\w-]{1,255}(/versions/[\w-]{1,255})?")
_ADVICE: dict[int, str] = {
    HTTPStatus.NOT_FOUND: "create the secret, or add a version to it",
    HTTPStatus.FORBIDDEN: "grant the VM's service account roles/secretmanager.secretAccessor on it",
}


def read_credentials(key_secret: str, secret_secret: str) -> tuple[str, str]:
    """The key and the secret that it signs with, by variables or by the names of these secrets. NoKey."""
    return _read(KEY, key_secret), _read(SECRET, secret_secret)


def _read(variable: str, secret: str) -> str:
    value = os.environ.get(variable, "").strip() or _from_secret_manager(variable, secret)
    if not value:
        raise NoKey(f"The secret {secret!r} is empty.")
    return value


def _from_secret_manager(variable: str, secret: str) -> str:
    token = metadata.token()
    if token is None:
        raise NoKey(f"{variable} is not set, and no service account is here to read the secret {secret!r} with.")
    host = os.environ.get("SECRET_MANAGER_EMULATOR_HOST")
    version = _version_name(secret)
    request = Request(f"{f'http://{host}' if host else _GOOGLE}/v1/{version}:access")  # noqa: S310 - one of the two
    request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        with urlopen(request, timeout=_TIMEOUT_SECONDS) as response:  # noqa: S310 - see above
            return base64.b64decode(json.load(response)["payload"]["data"]).decode("utf-8").strip()
    except HTTPError as refused:
        advice = _ADVICE.get(refused.code, "try again later")
        raise NoKey(f"Secret Manager answered {refused.code} for {version}: {advice}. (Or set {variable}.)") from None
    except (OSError, ValueError, KeyError) as failed:  # URLError and time-outs are OSErrors
        raise NoKey(f"{version} cannot be read from Secret Manager: {type(failed).__name__}. Try again.") from None


def _version_name(secret: str) -> str:
    if full := _FULL.fullmatch(secret):
        return secret if full[1] else f"{secret}/versions/latest"
    if short := _SHORT.fullmatch(secret):
        return f"projects/{metadata.project()}/secrets/{short[1]}/versions/{short[2] or 'latest'}"
    raise NoKey(f"{secret!r} does not name a secret: write NAME, NAME/VERSION or projects/P/secrets/NAME/versions/V.")
