"""A metadata server for whoever calls the emulator, as Cloud Run gives one to a job: a project and an identity."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from gcp_emulator.asgi import json_reply
from gcp_emulator.identity import ISSUER, LIFETIME_SECONDS, Signer
from gcp_emulator.tokens import access_token
from gcp_emulator.wire import Reply, Request

PREFIX = "/computeMetadata/v1/"
FLAVOR = {"Metadata-Flavor": "Google"}
SCOPE = "https://www.googleapis.com/auth/cloud-platform"


class Caller:
    """The metadata server of one caller: the laptop, or one task of Cloud Run."""

    def __init__(self, project: str, project_number: str, region: str, email: str, signer: Signer) -> None:
        self._email = email
        self._signer = signer
        account = "instance/service-accounts/default"
        self._texts: Mapping[str, str] = {
            "project/project-id": project,
            "project/numeric-project-id": project_number,
            "instance/region": f"projects/{project_number}/regions/{region}",
            "instance/zone": f"projects/{project_number}/zones/{region}-1",
            "instance/service-accounts": f"default/\n{self._email}/\n",
            "universe/universe-domain": "googleapis.com",
            f"{account}/email": self._email,
            f"{account}/scopes": SCOPE,
        }
        self._answers: Mapping[str, Callable[[Request, datetime], Reply]] = {
            account: lambda _request, _now: self._account(),
            f"{account}/token": lambda _request, _now: self._token(),
            f"{account}/identity": self._identity,
        }

    def answer(self, request: Request, now: datetime) -> Reply:
        """As a metadata server does: only with its header, and never for a request that came through a proxy."""
        if request.path == "/":  # Google's libraries look here whether there is one
            return _text("0.1/\ncomputeMetadata/\n")
        if request.headers.get("metadata-flavor") != "Google" or "x-forwarded-for" in request.headers:
            return _text("Missing Metadata-Flavor:Google header.", 403)
        path = request.path.removeprefix(PREFIX).strip("/").replace(self._email, "default")
        if path in self._texts:
            return _text(self._texts[path])
        if path in self._answers:
            return self._answers[path](request, now)
        return _text(f"The emulator's metadata server for callers has no {path}.", 404)

    def _account(self) -> Reply:
        return _flavored({"aliases": ["default"], "email": self._email, "scopes": [SCOPE]})

    def _token(self) -> Reply:
        return _flavored(access_token(self._email))

    def _identity(self, request: Request, now: datetime) -> Reply:
        audience = request.query.get("audience")
        if not audience:
            return _text("non-empty audience parameter required", 400)
        seconds = int(now.timestamp())
        claims = {
            "iss": ISSUER,
            "aud": audience,
            "azp": self._email,
            "sub": self._email,
            "email": self._email,
            "email_verified": True,
            "iat": seconds,
            "exp": seconds + LIFETIME_SECONDS,
        }
        return _text(self._signer.sign(claims))


def _text(text: str, status: int = 200) -> Reply:
    return Reply(status, text.encode(), {"content-type": "application/text", **FLAVOR})


def _flavored(body: Any) -> Reply:
    reply = json_reply(200, body)
    return Reply(reply.status, reply.body, {**reply.headers, **FLAVOR})
