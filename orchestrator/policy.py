"""Every number the orchestrator goes by, with its unit in its type and its reason beside it."""

from dataclasses import dataclass
from datetime import timedelta


def seconds(count: float) -> timedelta:
    """A span of time."""
    return timedelta(seconds=count)


def minutes(count: float) -> timedelta:
    """A span of time."""
    return timedelta(minutes=count)


@dataclass(frozen=True)
class Patience:
    """How often and how long one call is tried; both bound it."""

    tries: int
    within: timedelta
    first_pause: timedelta
    longest_pause: timedelta


@dataclass(frozen=True)
class Policy:
    """How long, how often, how many. Frozen: a run goes by one policy from its start to its end."""

    # One request. L is the longest life of any but a wait; google-cloud-compute would give each 600 s.
    request: timedelta = seconds(30)
    wait_request: timedelta = seconds(130)  # operations.wait holds for two minutes, and a little for the way
    cloud_calls: Patience = Patience(8, seconds(75), seconds(0.3), seconds(15))  # a rate limit refills each full minute
    agent_calls: Patience = Patience(6, seconds(20), seconds(0.1), seconds(5))

    # The lease.
    lease_ttl: timedelta = seconds(180)
    lease_renewal: timedelta = seconds(60)  # a third of the TTL: two renewals may fail
    lease_conflicts: int = 8  # writes by others (deploy, ssh keys) that we merge with before we give up
    lease_poll: timedelta = seconds(2)  # between looks of those in line for a lease: twenty of them are ten a second
    attempts: int = 3  # at a run that may be begun again: a Spot VM that goes twice will go again

    # What we show the agent. Google's ID tokens last an hour.
    token_margin: timedelta = minutes(3)  # renewed that long before it is over; Google hands out the old one until then
    token_pause: timedelta = seconds(30)  # between two fetches, should Google go on giving the old one

    # Going up.
    start: timedelta = minutes(5)  # START -> RUNNING; usually about ten seconds, for a large GPU VM minutes
    boot: timedelta = minutes(10)  # RUNNING -> agent ready: a first boot installs drivers and dependencies
    boot_margin: timedelta = minutes(5)  # maxRunDuration = boot + timeout + this: it never cuts a good run
    boot_report: timedelta = seconds(10)  # guest attributes may be rate-limited: six looks a minute
    agent_connect: timedelta = seconds(0.5)  # a SYN into a closed port is dropped, not refused
    agent_answer: timedelta = seconds(5)
    agent_poll: timedelta = seconds(0.1)  # between two greetings: what we may add to the boot

    publication: timedelta = seconds(2)  # between two reads of it, doubled each time: who answers is not who published
    publication_longest: timedelta = seconds(30)  # with the boot reports that is eight looks a minute
    stranger: timedelta = seconds(45)  # at the address, beside our published agent: what led there fades within seconds

    # Following.
    log_poll: timedelta = seconds(25)  # how long the agent holds a question that has no answer yet
    lost_agent: timedelta = minutes(3)  # silence of the agent before its run counts as lost
    last_output: timedelta = minutes(1)  # a burst at the job's end is shown within this, while its bytes keep coming
    grace: timedelta = seconds(20)  # the agent ends a run at its deadline by itself; after this we do it
    collect: timedelta = minutes(5)  # artifacts and log are copied within this, then the VM stops anyway

    # Coming down.
    stop: timedelta = minutes(4)  # STOP -> DONE: the guest's two minutes, doubled; then a look tells whether it is off
    mark_ahead: timedelta = seconds(2)  # what is remembered is written before a VM is deleted, unless it takes longer
    off_poll: timedelta = seconds(1)  # between looks while a VM is on its way to TERMINATED
    down: timedelta = minutes(12)  # retries included; after this the clean-up is owed, and we say so
    after_sigterm: timedelta = seconds(8.5)  # Cloud Run kills ten seconds after its SIGTERM
    settle_after_sigterm: timedelta = seconds(0.4)  # what a request in flight may take before the STOP is sent

    # Sweeping.
    sweep_period: timedelta = minutes(10)  # between two: nothing forgotten idles longer for want of one
    sweep_at_once: int = 8  # VMs: one that does not stop keeps few from their turn, and Google's rate limit is kept

    # Notifying. It comes last, and nothing waits for it for long.
    notify: Patience = Patience(2, seconds(5), seconds(0.2), seconds(1))
    sigkill: timedelta = seconds(
        9.5
    )  # after its SIGTERM Cloud Run leaves ten seconds, and the receipt is still to print

    # Memory. The lease value lives in VM metadata, which holds 256 KB.
    remembered_outcomes: int = 50
    remembered_result_bytes: int = 2048

    @property
    def climb(self) -> timedelta:
        """From the first look until the job works, with a stop before the start if need be; after this we give up."""
        return self.down + self.start + self.boot
