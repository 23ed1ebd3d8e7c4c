"""Every number of containers, with its reason. Imports nothing: each run pays for what its process imports."""

ENGINE_SECONDS = (
    120  # one answer of the Docker Engine, which copies an image's files on a slow disk; not a run's length
)
LOOK_SECONDS = 0.05  # between the first two looks for what is left of a container; then twice as long each time
LOOK_SECONDS_MAX = 1.0  # each look asks Docker to remove it anew
REMOVAL_SECONDS = 20.0  # for Docker to remove a container that has ended; an agent that is going away has 25 in all
COMPLAIN_SECONDS = 5.0  # between two lines of the log that say the engine will not remove it
TICK_SECONDS = 0.1  # how often the job's word on its progress is looked at: one stat call
PROGRESS_BYTES_MAX = 64 << 10

USER = 65532  # uid and gid, where the agent is root: "nonroot" in distroless images, nobody's on Debian
PIDS = 4096  # a data loader's workers fit in, a fork bomb does not
CPU_SHARES = 110  # the kernel's weight of niceness 10, which other jobs run at; an ordinary process has 1024
OOM_SCORE = 500  # as other jobs have: when the machine's memory runs out the kernel takes the job, not the agent
MEMORY_SPARED_BYTES = 512 << 20  # of the machine's memory, for agent, engine and system
MEMORY_BYTES_MIN = 6 << 20  # the engine takes no less
