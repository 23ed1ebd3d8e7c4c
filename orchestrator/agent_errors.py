"""What the agent answers instead of what it was asked for, in our own errors."""

from pydantic import ValidationError

from orchestrator.errors import AgentRefused, Busy, MayflyError, Transient
from vm_agent.protocol import Problem

_BUSY = {"busy", "stale-epoch", "lease-live"}  # another run, a later lease, any lease
_UNKNOWN_KEY = {401, 403}
_PASSING = {408, 425, 429}


def refusal(status: int, body: bytes, what: str) -> MayflyError:
    """The error for an answer with that status. `what` is what we tried: "start the run"."""
    problem = _problem(body)
    said = f"{problem.title}: {problem.detail}" if problem else f"HTTP {status}"
    code = problem.code if problem else ""
    if status in _UNKNOWN_KEY:
        return AgentRefused(
            f"The agent does not accept our key ({said}). AGENT_KEY, or the secret that AGENT_KEY_SECRET names, must "
            "hold the key that the VM reads when it boots; after a change of the secret the VM must boot again."
        )
    if code in _BUSY:
        return Busy(f"The agent will not {what}: {said}.")
    if status >= 500 or status in _PASSING:  # noqa: PLR2004 - HTTP's class of server errors
        return Transient(f"The agent cannot {what} now: {said}.")
    if code == "wrong-egress":
        return AgentRefused(
            f"The agent does not see the static address as its VM's own, and will not {what} ({said}). "
            "Did somebody take the address off the VM, or put another on it?"
        )
    if code == "key-reused":
        return AgentRefused(
            f"The agent has run this key with another job or other params ({said}). Use another --key, or none."
        )
    return AgentRefused(f"The agent will not {what}: {said}.")


def _problem(body: bytes) -> Problem | None:
    try:
        return Problem.model_validate_json(body)
    except ValidationError:
        return None
