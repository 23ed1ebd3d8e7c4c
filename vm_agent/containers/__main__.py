"""A run's process when its job is a container: makes it, passes its output on, and tells how it ended.

    python -P -m vm_agent.containers FOLDER

The run's keeper starts it like any job (vm_agent.runner), and ends it with SIGTERM, which the container gets, or
SIGKILL. Whatever becomes of this process, the keeper then clears its container away (vm_agent.containers.leftovers).
"""

import os
import signal
import sys
from pathlib import Path

from vm_agent.containers.errors import ContainerProblem, EngineLost
from vm_agent.runner import write_whole

EXIT_NOT_RUN = 125  # as `docker run` says it


def main(folder: Path) -> int:
    """Run the container; returns its exit code."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # in all threads but the one that waits for it
    try:
        from vm_agent.containers.run import run  # noqa: PLC0415 - imports the engine's client, which may be missing

        return run(folder)
    except ModuleNotFoundError as problem:
        detail = f"{problem}: add the extra `containers` to mayfly-extras, in the VM's metadata"
        return _fail(folder, {"detail": detail})
    except ContainerProblem as problem:
        return _fail(folder, {"detail": str(problem), "interrupted": isinstance(problem, EngineLost)})


def _fail(folder: Path, failure: dict[str, object]) -> int:
    print(f"mayfly: {failure['detail']}", file=sys.stderr)  # noqa: T201 - into the run's log
    write_whole(folder / "failure.json", failure)
    return EXIT_NOT_RUN


if __name__ == "__main__":
    code = main(Path(sys.argv[1]))
    sys.stderr.flush()
    os._exit(code)  # the interpreter would take 40 ms to take the engine's client apart
