"""How answers are written: our models as JSON, refusals as problem details."""

from collections.abc import Mapping

from pydantic import BaseModel
from starlette.responses import Response

from vm_agent.problems import Refused
from vm_agent.protocol import PROBLEM_MEDIA_TYPE, Problem

# On every answer: a browser that was led here keeps nothing, runs nothing, guesses nothing and shows it to nobody.
SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def reply(model: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A model as JSON."""
    return Response(model.model_dump_json(), status, headers, media_type="application/json")


def problem(refused: Refused) -> Response:
    """A refusal as problem details (RFC 9457)."""
    said = Problem(title=refused.title, status=refused.status, detail=str(refused), code=refused.code)
    return Response(said.model_dump_json(), said.status, refused.headers, media_type=PROBLEM_MEDIA_TYPE)
