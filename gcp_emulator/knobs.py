"""Where Google's documents are silent, or describe two behaviours: each is a named choice here, with its source.

The first value of each is our best knowledge; the tests of the orchestrator turn them.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Knobs:
    """The choices of one emulated world."""

    # `start` while STOPPING. Unverified: refused with 400 resourceNotReady, or queued until TERMINATED.
    start_while_stopping: Literal["refuse", "queue"] = "refuse"

    # `stop`, or `start` again, while a start is under way. Unverified: it waits its turn, or 400 resourceNotReady.
    power_while_starting: Literal["queue", "refuse"] = "queue"

    # add/deleteAccessConfig while STOPPING. No restriction is documented; none confirmed either.
    access_config_while_stopping: Literal["allow", "refuse"] = "allow"

    # A stale fingerprint: at once with 412 (seen: skypilot issue 4571), or in the operation as CONDITION_NOT_MET
    # (seen: skypilot issue 1843, bosh-google-cpi-release issue 159). A fingerprint that becomes stale while the
    # operation is under way always ends in the operation.
    stale_fingerprint: Literal["reply", "operation"] = "reply"

    # A second access config (seen as a reply: terraform-google-vm pull 111).
    second_access_config: Literal["reply", "operation"] = "reply"

    # natIP used elsewhere: where, and with which status, it is reported for an external address was not found; 409 was
    # seen for forwarding rules (ingress-gce pull 2735), an operation error for internal addresses (terraform 18998).
    address_in_use: Literal["reply", "operation"] = "reply"
    address_in_use_status: Literal[400, 409] = 400

    # requestId: other Google APIs remember it for at least an hour; Compute Engine does not say. That the replay
    # answers with the same operation is unverified too.
    request_id_memory_seconds: float = 3600

    # Guest attributes over a stop and start: whether they persist was not found.
    guest_attributes_survive_stop: bool = True

    # The time between the ACPI soft off and the mechanical off (Scheduling.skipGuestOsShutdown in Google's
    # discovery document): 120 s for standard VMs, 30 s for Spot. Older pages say about 90 s.
    grace_seconds: float = 120
    grace_seconds_spot: float = 30

    # operations.wait holds for two minutes at most (discovery document) and may return at once when overloaded.
    wait_seconds: float = 120

    # To put a reserved address on a VM: compute.addresses.use on it, beside what the reference of the method lists? The
    # permission exists and is in roles/compute.instanceAdmin.v1.
    reserved_ip_needs_use: bool = True

    # `start` and `setMetadata` of a VM that runs as a service account: iam.serviceAccounts.actAs on that? The reference
    # lists it for insert and for the project's own metadata only; the pages on service accounts ask for it in general.
    change_of_vm_needs_act_as: bool = True

    # An address that is reserved with labels: compute.addresses.setLabels too, as instances need it? Not listed.
    labelled_address_needs_set_labels: bool = True

    # An object that is not there: 404 for who may list the bucket; for others 403, as it is known of Cloud Storage's
    # XML API, or 404 for everybody who may get objects.
    missing_object_needs_list: bool = True

    # What the audit log calls a stop by maxRunDuration was not found, nor what it calls a deletion.
    max_run_operation: str = "compute.instances.stop"

    # A task of Cloud Run whose execution is cancelled, or whose time is over: SIGTERM, so many seconds, SIGKILL (ten
    # after a timeout: container contract). Whether a cancel sends SIGTERM at all is not documented.
    task_grace_seconds: float = 10
    cancelled_task: Literal["term", "kill"] = "term"
