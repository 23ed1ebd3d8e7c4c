"""Every number of the agent, with its reason."""

from vm_agent.protocol import PARAMS_BYTES_MAX

STOP_GRACE_SECONDS = (
    10.0  # SIGTERM to SIGKILL on cancel and at the deadline: time to close positions or write a checkpoint
)
STOP_GRACE_SECONDS_MAX = 3600.0  # a job that takes longer to stop should have been given a deadline
LEFTOVER_GRACE_SECONDS = 2.0  # the same for what a finished job, or a dead agent, left behind
KEEPER_GRACE_SECONDS = 10.0  # how much longer than all graces a run's keeper may take before the agent does its work
SHUTDOWN_SECONDS = 25.0  # what the agent's own SIGTERM may take: Compute Engine pulls the plug 30 s (Spot) after asking

TICK_SECONDS = 0.1  # how often a live run's log and progress are looked at: two stat calls
LOG_REPLY_BYTES_MAX = 4 << 20  # one answer of the log: bounded, and few round trips for 100 MB
CHUNK_BYTES = 256 << 10  # one read of a file on the event loop: well under a millisecond

BODY_BYTES_MAX = PARAMS_BYTES_MAX + (64 << 10)  # the params, and room for the rest of a StartRequest
UPLOAD_BYTES_MAX = 4 << 30  # of all files that callers brought: on Cloud Run they take memory
UPLOAD_SECONDS = 3600.0  # a file that no run has asked for by then goes
UPLOAD_PAUSE_SECONDS = 120.0  # between two parts of a file: until then its caller, cut off it may be, has its room
KEY_LENGTH_MAX = 255  # characters of an Idempotency-Key
FOLDERS_KEPT = 50  # finished runs whose log and artifacts stay on the VM's disk; the ledger itself forgets nothing
RUNS_LISTED = 50
RESERVE_BYTES = 1 << 20  # kept free on the disk for a run's outcome, its list of artifacts and the ledger's own pages

KEEP_ALIVE = {
    "TCP_KEEPIDLE": 60,
    "TCP_KEEPINTVL": 20,
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 120_000,
}  # seconds, seconds, times, milliseconds: gone after two minutes, also if it is there and takes nothing
OPEN_FILES = 8192  # for the connections below, and everything else; systemd's default would be 1024
CONNECTIONS_MAX = 1024  # more than any number of honest callers
REQUESTS_MAX = 128  # of callers with credentials at once: one orchestrator needs three
HEAD_BYTES_MAX = 16 << 10  # an ID token has one or two kilobytes, the longest path of an artifact four
REQUEST_HEAD_SECONDS = 10.0  # for a request's head to come, lest silent connections pile up
BODY_SECONDS = 30.0  # for a start's body, a megabyte at most
READER_SECONDS = 60.0  # for a caller to take the 256 KB that are ready for it: who takes nothing is cut off

EGRESS_SECONDS = 4.0  # for an address just attached to show in the metadata; a caller waits 5 s for its answer
EGRESS_LOOK_SECONDS = 0.2  # between two looks for it
EGRESS_ECHO_SECONDS = 3.0  # for the page that tells our address
EGRESS_ECHO_BYTES_MAX = 256  # one address, and nothing else

# Failed attempts to prove who one is, for each address. See vm_agent/attempts.py.
ATTEMPTS_AT_ONCE = 20
ATTEMPTS_PER_SECOND = 10.0  # a check takes 0.1 ms: no load; and no key of 128 bits is guessed in the age of the world
ATTEMPT_LINES_AT_ONCE = 5
ATTEMPT_LINES_PER_SECOND = 1 / 30  # each says how many it stands for
ADDRESSES_REMEMBERED = 1024  # a few hundred bytes each
PROOFS_REMEMBERED = 64  # tokens last an hour, and few callers are allowed
GOOGLE_KEYS_SECONDS = 5.0  # one fetch of Google's public keys

METADATA_SECONDS = (
    2.0  # one read of the metadata server: it answers in a millisecond, or is being maintained for a second
)
METADATA_HANG_SECONDS = (
    60  # a question that waits for a change is asked again then; Google's own guest agent does the same
)
METADATA_PAUSE_SECONDS = 1.0  # between two such questions, lest a server that does not wait, or fails, be hammered

PUBLISH_SECONDS = 60.0  # to publish the certificate, which nobody can call us without: the quota refills each minute
PUBLISH_PAUSE_SECONDS = 0.25  # after the first try; doubled each time
PUBLISH_PAUSE_SECONDS_MAX = 5.0
IDENTITY_SECONDS = 600.0  # how long one identity token is shown: Google's last an hour
IDENTITY_MARGIN_SECONDS = 60.0  # and no longer than until so long before its end, whatever clock it is checked by
IDENTITY_SECONDS_MIN = 5.0  # a clock that is wrong shall not ask Google for each of ten greetings a second

DEADMAN_SILENCE_SECONDS = 180.0  # the lease is renewed once a minute: two renewals may be missed
DEADMAN_SILENCE_SECONDS_MIN = 1.0
DEADMAN_SILENCE_SECONDS_MAX = 3600.0  # an idle hour is the most that a setting may cost
DEADMAN_RUN_GRACE_SECONDS = 60.0  # on top of the run's own graces: to count its artifacts, to tell how it ended
DEADMAN_LISTEN_SECONDS = 15.0  # who has just started, or was frozen, hears what has piled up before it judges
DEADMAN_LOOK_SECONDS = 5.0  # between two looks; the pulse on disk is that old at most, startup.sh counts on it
DEADMAN_LOOK_SECONDS_MIN = 0.05
POWEROFF_REPEAT_SECONDS = 60.0  # a system that shuts down is gone before
HOLD_SECONDS_MAX = 24 * 3600.0  # a forgotten hold costs a day, not a month

GPU_PROBE_SECONDS = 60.0  # a driver's first initialisation without persistence mode takes seconds per GPU
GPU_PROBE_END_SECONDS = 1.0  # for a killed probe to be gone
GPU_RETRY_SECONDS = 2.0  # a driver that is still being installed comes up minutes after boot: look again soon

# The job yields the CPU to the agent. Niceness, not a cgroup weight: it needs no controller, so it works everywhere.
JOB_NICENESS = 10
# When memory runs out the kernel takes the job, not the keeper that would tell how it ended.
JOB_OOM_SCORE = 500
