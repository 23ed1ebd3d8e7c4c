"""`python hasty.py run ...`: mayfly as it is, but that a dead predecessor is taken over after moments.

What a task of Cloud Run is in the journeys: L, the longest life of a request, is half a minute in production.
"""

from dataclasses import replace
from typing import Any

from mayfly.cli import main
from orchestrator import wiring
from orchestrator.policy import Policy, seconds

usual = wiring.policy_of


def hasty(*settings: Any) -> Policy:
    """The numbers of production, and a short L; what is taken over is polled for accordingly."""
    return replace(usual(*settings), request=seconds(2), lease_poll=seconds(0.1), off_poll=seconds(0.1))


wiring.policy_of = hasty
main()
