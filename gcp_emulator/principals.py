"""Who asks: what the access token of a request says."""

from gcp_emulator.errors import ApiError, RpcError, names_reasons
from gcp_emulator.tokens import email_of
from gcp_emulator.wire import Request

BEARER = "bearer "
MESSAGE = (
    "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid "
    "authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project."
)


def principal(request: Request) -> str | None:
    """Give the email of who asks; None where no token is shown: a laptop without accounts, which may do everything."""
    return email_of(_token(request)) or None


def check_token(request: Request) -> None:
    """Raise a 401 for a token that this cloud never gave out."""
    if not _token(request) or principal(request):
        return
    if names_reasons(request.path):
        raise ApiError(401, "authError", MESSAGE, location="Authorization", locationType="header")
    raise RpcError(401, MESSAGE)


def _token(request: Request) -> str:
    given = request.headers.get("authorization", "")
    return given[len(BEARER) :].strip() if given.lower().startswith(BEARER) else ""
