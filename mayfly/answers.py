"""What a service answers, as a model of ours or as an error that says what to do."""

from collections.abc import Callable
from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from orchestrator.errors import AgentFault, BadUsage, Busy, Exit, MayflyError
from vm_agent.protocol import Problem

M = TypeVar("M", bound=BaseModel)

_LATER = {408, 429, 502, 503, 504}  # the way there, or the service, is not ready
_AGAIN = {"bad-offset", "part-on-its-way"}  # an answer was lost; somebody else's file comes first


class NotNow(Exception):
    """No answer, or one that says to come again."""


class RunLost(MayflyError):
    """The service does not know the run any more: it began anew, and nobody knows how far the run came."""

    exit = Exit.INTERRUPTED


def checked(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """An answer that is none of an error. NotNow; MayflyError."""
    try:
        answer = ask()
    except (httpx.TransportError, httpx.DecodingError) as problem:
        raise NotNow(str(problem) or type(problem).__name__) from problem
    if answer.is_success:
        return answer
    said = _problem(answer)
    if answer.status_code in _LATER or said.code in _AGAIN:
        raise NotNow(f"{answer.status_code} {said.detail or said.title}")
    raise _refusal(answer.status_code, said)


def understood(kind: type[M], answer: httpx.Response) -> M:
    """The model in that answer."""
    try:
        return kind.model_validate_json(answer.content)
    except ValidationError as problem:
        raise AgentFault(f"{answer.url} is no Mayfly service: {answer.text[:100]!r}") from problem


def _refusal(status: int, said: Problem) -> MayflyError:
    why = said.detail or said.title
    if status == httpx.codes.UNAUTHORIZED:
        return BadUsage(f"The key is not known there: {why}. Look at the variable that --key-env names.")
    if status == httpx.codes.FORBIDDEN:
        return BadUsage(f"Not allowed there: {why}. May the gateway's account invoke the service (roles/run.invoker)?")
    if said.code == "unknown-run":
        return RunLost(
            f"The service does not know this run any more: {why}. It may have been cut off; --again runs it."
        )
    if said.code == "busy":
        return Busy(f"{why}. Call again later.")
    if status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return AgentFault(f"The service failed: {status} {why}")
    return BadUsage(f"The service refused: {status} {why}")


def _problem(answer: httpx.Response) -> Problem:
    try:
        return Problem.model_validate_json(answer.content)
    except ValidationError:
        return Problem(title=answer.reason_phrase, status=answer.status_code, detail=answer.text[:200].strip())
