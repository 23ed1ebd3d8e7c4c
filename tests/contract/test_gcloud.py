"""The real gcloud, pointed at the emulator by its endpoint overrides: what it prints, and how it exits.

A command costs a second or two, so a test is a session of several commands, as a person would type them.
"""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.contract.world import IP, OTHER_IP, OTHER_VM, PAYLOAD, PROJECT, SECRET, VM, ZONE, Running

Gcloud = Callable[..., subprocess.CompletedProcess[str]]
LINK = f"https://www.googleapis.com/compute/v1/projects/{PROJECT}"


def _told(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def _refused(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1, done.stdout
    return done.stderr


def test_a_vm_gets_its_static_ip_is_started_and_stopped(gcloud: Gcloud, emulator: Running) -> None:
    ip = emulator.address(IP)
    attached = gcloud("compute", "instances", "add-access-config", VM, f"--address={ip}")
    assert (attached.returncode, f"Updated [{LINK}/zones/{ZONE}/instances/{VM}]." in attached.stderr) == (0, True)

    started = gcloud("compute", "instances", "start", VM)
    assert started.returncode == 0
    assert f"Starting instance(s) {VM}..." in started.stderr
    assert f"Instance external IP is {ip}" in started.stderr
    assert _told(gcloud("compute", "instances", "describe", VM, "--format=value(status)")) == "RUNNING\n"

    stopped = gcloud("compute", "instances", "stop", VM)
    assert (stopped.returncode, f"Stopping instance(s) {VM}..." in stopped.stderr) == (0, True)
    removed = gcloud("compute", "instances", "delete-access-config", VM)
    assert (removed.returncode, "Updated [" in removed.stderr) == (0, True)

    described = json.loads(_told(gcloud("compute", "instances", "describe", VM, "--format=json")))
    assert described["status"] == "TERMINATED"
    assert "accessConfigs" not in described["networkInterfaces"][0]


def test_two_vms_travel_in_one_batch(gcloud: Gcloud, emulator: Running) -> None:
    _told(gcloud("compute", "instances", "start", VM, OTHER_VM))
    listed = _told(gcloud("compute", "instances", "list", "--format=csv[no-heading](name,status)"))
    assert listed == f"{VM},RUNNING\n{OTHER_VM},RUNNING\n"
    _told(gcloud("compute", "instances", "stop", VM, OTHER_VM))
    assert emulator.verbs().count("instances.start") == 2


def test_the_list_has_the_columns_that_people_know(gcloud: Gcloud, emulator: Running) -> None:
    heading, first, second = _told(gcloud("compute", "instances", "list")).splitlines()
    assert heading.split() == ["NAME", "ZONE", "MACHINE_TYPE", "PREEMPTIBLE", "INTERNAL_IP", "EXTERNAL_IP", "STATUS"]
    assert first.split()[:3] == [VM, ZONE, "e2-standard-2"]
    assert second.split()[-2:] == [emulator.address(OTHER_IP), "TERMINATED"]


def test_what_does_not_fit_is_refused_in_the_words_of_compute_engine(gcloud: Gcloud, emulator: Running) -> None:
    missing = _refused(gcloud("compute", "instances", "describe", "nobody"))
    assert "ERROR: (gcloud.compute.instances.describe) Could not fetch resource:" in missing
    assert f"- The resource 'projects/{PROJECT}/zones/{ZONE}/instances/nobody' was not found" in missing
    missing = _refused(gcloud("compute", "instances", "start", "nobody"))
    assert "instances/nobody' was not found" in missing

    attach = ("compute", "instances", "add-access-config")
    not_reserved = _refused(gcloud(*attach, VM, "--address=198.51.100.7"))
    assert "The specified external IP address '198.51.100.7' was not found in region 'us-central1'." in not_reserved
    in_use = _refused(gcloud(*attach, VM, f"--address={emulator.address(OTHER_IP)}"))
    assert "already being used" in in_use
    second = _refused(gcloud(*attach, OTHER_VM, f"--address={emulator.address(IP)}"))
    assert "At most one access config currently supported." in second


def test_metadata_is_merged_into_what_is_there(gcloud: Gcloud) -> None:
    _told(gcloud("compute", "instances", "add-metadata", VM, "--metadata=size=xl,colour=red"))
    shown = json.loads(_told(gcloud("compute", "instances", "describe", VM, "--format=json(metadata.items)")))
    items = {item["key"]: item["value"] for item in shown["metadata"]["items"]}
    assert items == {"enable-guest-attributes": "TRUE", "colour": "red", "size": "xl"}


def test_a_vm_that_never_booted_has_no_guest_attributes_and_an_empty_console(gcloud: Gcloud) -> None:
    absent = _refused(gcloud("compute", "instances", "get-guest-attributes", VM, "--query-path=mayfly/"))
    assert "The resource 'mayfly/' of type 'Guest Attribute' was not found." in absent
    assert _told(gcloud("compute", "instances", "get-serial-port-output", VM)).strip() == ""


def test_an_address_is_made_described_and_deleted(gcloud: Gcloud) -> None:
    made = gcloud("compute", "addresses", "create", "new-ip")
    assert (made.returncode, f"Created [{LINK}/regions/us-central1/addresses/new-ip]." in made.stderr) == (0, True)
    described = json.loads(_told(gcloud("compute", "addresses", "describe", "new-ip", "--format=json")))
    assert (described["status"], described["addressType"]) == ("RESERVED", "EXTERNAL")
    again = _refused(gcloud("compute", "addresses", "create", "new-ip"))
    assert f"- The resource 'projects/{PROJECT}/regions/us-central1/addresses/new-ip' already exists" in again
    gone = gcloud("compute", "addresses", "delete", "new-ip")
    assert (gone.returncode, "Deleted [" in gone.stderr) == (0, True)
    assert "was not found" in _refused(gcloud("compute", "addresses", "describe", "new-ip"))


def test_an_address_in_use_is_described_with_its_user_and_not_deleted(gcloud: Gcloud) -> None:
    described = json.loads(_told(gcloud("compute", "addresses", "describe", OTHER_IP, "--format=json")))
    assert (described["status"], described["users"]) == ("IN_USE", [f"{LINK}/zones/{ZONE}/instances/{OTHER_VM}"])
    assert "already being used by" in _refused(gcloud("compute", "addresses", "delete", OTHER_IP))


def test_a_secret_is_printed_and_a_missing_one_is_not_found(gcloud: Gcloud) -> None:
    access = ("secrets", "versions", "access", "latest")
    assert _told(gcloud(*access, f"--secret={SECRET}")) == PAYLOAD
    assert "NOT_FOUND" in _refused(gcloud(*access, "--secret=nobody"))
    assert "PERMISSION_DENIED" in _refused(gcloud(*access, "--secret=not-for-you"))


def test_a_stockout_fails_the_command_with_its_code(gcloud: Gcloud, emulator: Running) -> None:
    message = "The zone does not have enough resources available to fulfill the request."
    emulator.fault(
        on="instances.start",
        operation_error={"code": "ZONE_RESOURCE_POOL_EXHAUSTED", "message": message, "status": 503},
    )
    assert message in _refused(gcloud("compute", "instances", "start", VM))


def test_a_vm_is_made_from_a_template_and_deleted(gcloud: Gcloud, emulator: Running) -> None:
    made = gcloud("compute", "instance-templates", "create", "worker", "--machine-type=e2-medium", "--labels=team=x")
    assert (made.returncode, "Created [" in made.stderr) == (0, True)
    describe = ("compute", "instance-templates", "describe", "worker", "--format=value(properties.machineType)")
    assert _told(gcloud(*describe)) == "e2-medium\n"
    limit = ("--max-run-duration=10m", "--instance-termination-action=DELETE")
    create = ("compute", "instances", "create", "new-vm", "--source-instance-template=worker")
    [vm] = json.loads(_told(gcloud(*create, "--labels=mayfly=managed", *limit, "--format=json")))
    assert (vm["status"], vm["labels"]) == ("RUNNING", {"team": "x", "mayfly": "managed"})
    assert vm["scheduling"]["maxRunDuration"] == {"seconds": "600"}
    again = _refused(gcloud(*create))
    assert f"The resource 'projects/{PROJECT}/zones/{ZONE}/instances/new-vm' already exists" in again
    gone = gcloud("compute", "instances", "delete", "new-vm")
    assert (gone.returncode, "Deleted [" in gone.stderr) == (0, True)
    assert "was not found" in _refused(gcloud("compute", "instances", "delete", "new-vm"))
    assert "worker" in _told(gcloud("compute", "instance-templates", "list"))
    _told(gcloud("compute", "instance-templates", "delete", "worker"))


def test_a_stockout_of_a_new_vm_is_told(gcloud: Gcloud, emulator: Running) -> None:
    stockout = {"code": "ZONE_RESOURCE_POOL_EXHAUSTED", "message": "Try a different zone.", "status": 503}
    emulator.fault(on="instances.insert", operation_error=stockout)
    assert "Try a different zone." in _refused(gcloud("compute", "instances", "create", "new-vm"))


def test_files_are_copied_to_a_bucket_and_back(gcloud: Gcloud, tmp_path: Path) -> None:
    log, back, there = tmp_path / "log", tmp_path / "back", "gs://outcomes/run/1/log"
    log.write_bytes(b"one\r\ntwo\n\n\r")  # every newline there is: gcloud packs a file as a mail on Unix would be
    _told(gcloud("storage", "buckets", "create", "gs://outcomes"))
    _told(gcloud("storage", "cp", str(log), there))
    assert _told(gcloud("storage", "ls", "gs://outcomes/**")).strip() == there
    assert _told(gcloud("storage", "cat", there)).startswith("one\ntwo\n")
    _told(gcloud("storage", "cp", there, str(back)))
    assert back.read_bytes() == log.read_bytes()
    assert "HTTPError 412" in _refused(gcloud("storage", "cp", "--if-generation-match=0", str(log), there))
    _told(gcloud("storage", "rm", there))
