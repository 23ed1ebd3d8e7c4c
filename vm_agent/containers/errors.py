"""What can go wrong with a container, by what follows. The message is for the run's owner and says what to do.

ContainerProblem
├── NotRun                  nothing of the job was run: mend what the message says
│   └── NoEngine            nobody answers at the engine's socket
└── EngineLost              it ran, and how it ended cannot be known
"""


class ContainerProblem(Exception):
    """The container cannot be answered for."""


class NotRun(ContainerProblem):
    """The container was not started."""


class NoEngine(NotRun):
    """There is no Docker Engine."""


class EngineLost(ContainerProblem):
    """The Docker Engine went away under the run."""
