"""The policies of Cloud Run jobs: who may run one."""

from typing import TYPE_CHECKING

from gcp_emulator import policies
from gcp_emulator.routes import Call
from gcp_emulator.run_job_methods import JOB, find

if TYPE_CHECKING:
    from gcp_emulator.world import World


def _key(world: "World", call: Call) -> str:
    return find(world, call).name


ROUTES = policies.routes(JOB, "run.jobs", _key)
