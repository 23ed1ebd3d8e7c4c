"""Instances that are made from a template or from nothing, and deleted, through google-cloud-compute."""

import uuid
from typing import Any

import google.api_core.exceptions as google_errors
import pytest
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import compute_v1 as compute

from tests.contract.world import IP, OTHER_IP, PROJECT, REGION, ZONE, Running

AT = {"project": PROJECT, "zone": ZONE}
TEMPLATE, NEW = "worker", "mayfly-1"
TEMPLATE_URL = f"projects/{PROJECT}/global/instanceTemplates/{TEMPLATE}"


class Cloud:
    """The clients that share an endpoint, and the sentences that the tests say with them."""

    def __init__(self, emulator: Running) -> None:
        options = {"credentials": AnonymousCredentials(), "client_options": ClientOptions(api_endpoint=emulator.url)}
        self.instances = compute.InstancesClient(**options)
        self.templates = compute.InstanceTemplatesClient(**options)
        self.addresses = compute.AddressesClient(**options)
        self.disks = compute.DisksClient(**options)
        self.zone_operations = compute.ZoneOperationsClient(**options)
        self.global_operations = compute.GlobalOperationsClient(**options)
        self.emulator = emulator

    def done(self, begun: Any) -> compute.Operation:
        operation = self.zone_operations.wait(**AT, operation=begun.name)
        assert operation.status == compute.Operation.Status.DONE
        return operation

    def get(self, name: str = NEW) -> compute.Instance:
        return self.instances.get(**AT, instance=name)

    def insert(self, template: str | None = None, **body: Any) -> compute.Operation:
        request = compute.InsertInstanceRequest(
            **AT, instance_resource=compute.Instance(**{"name": NEW, **body}), source_instance_template=template
        )
        return self.done(self.instances.insert_unary(request=request))

    def delete(self, name: str = NEW) -> compute.Operation:
        return self.done(self.instances.delete_unary(**AT, instance=name))

    def keep_template(self, **properties: Any) -> None:
        template = compute.InstanceTemplate(name=TEMPLATE, properties=compute.InstanceProperties(**WHOLE | properties))
        begun = self.templates.insert_unary(project=PROJECT, instance_template_resource=template)
        done = self.global_operations.wait(project=PROJECT, operation=begun.name)
        assert (done.status, list(done.error.errors)) == (compute.Operation.Status.DONE, [])

    def states(self, name: str = NEW) -> list[str]:
        return [entry["to"] for entry in self.emulator.history("state") if entry["resource"] == f"instances/{name}"]


def a_disk(**more: Any) -> compute.AttachedDisk:
    image = compute.AttachedDiskInitializeParams(
        source_image="projects/debian-cloud/global/images/family/debian-12", disk_size_gb=40
    )
    return compute.AttachedDisk(**{"boot": True, "auto_delete": True, "initialize_params": image, **more})


def a_nic(ip: str | None = None) -> compute.NetworkInterface:
    config = compute.AccessConfig(name="External NAT", nat_i_p=ip, type_="ONE_TO_ONE_NAT")
    return compute.NetworkInterface(network="global/networks/default", access_configs=[config] if ip else [])


WHOLE: dict[str, Any] = {"machine_type": "e2-medium", "disks": [a_disk()], "network_interfaces": [a_nic()]}
BARE = WHOLE | {"machine_type": f"zones/{ZONE}/machineTypes/e2-medium"}


@pytest.fixture
def cloud(emulator: Running) -> Cloud:
    return Cloud(emulator)


def test_a_vm_is_made_from_a_template_and_deleted(cloud: Cloud) -> None:
    cloud.keep_template(labels={"team": "audio"}, metadata=compute.Metadata(items=[compute.Items(key="a", value="1")]))
    operation = cloud.insert(TEMPLATE_URL, labels={"mayfly": "managed"})
    vm = cloud.get()
    assert (operation.operation_type, operation.target_id, list(operation.error.errors)) == ("insert", vm.id, [])
    assert vm.status == "RUNNING"
    assert vm.machine_type.endswith(f"/zones/{ZONE}/machineTypes/e2-medium")
    assert vm.labels == {"team": "audio", "mayfly": "managed"}
    assert [(item.key, item.value) for item in vm.metadata.items] == [("a", "1")]
    assert (vm.disks[0].disk_size_gb, vm.disks[0].auto_delete) == (40, True)
    assert not cloud.delete().error.errors
    with pytest.raises(google_errors.NotFound, match=f"instances/{NEW}' was not found"):
        cloud.get()
    assert cloud.states() == ["PROVISIONING", "STAGING", "RUNNING", "STOPPING", ""]


@pytest.mark.parametrize(
    "url",
    [
        f"https://www.googleapis.com/compute/v1/{TEMPLATE_URL}",
        f"https://compute.googleapis.com/compute/v1/{TEMPLATE_URL}",
        f"global/instanceTemplates/{TEMPLATE}",
    ],
)
def test_a_template_is_named_by_a_full_or_a_partial_url(cloud: Cloud, url: str) -> None:
    cloud.keep_template()
    cloud.insert(url)
    assert cloud.get().status == "RUNNING"
    cloud.delete()


def test_what_the_body_says_replaces_what_the_template_says_lists_as_a_whole(cloud: Cloud) -> None:
    """A merge patch. Whoever adds one metadata item must send the template's as well."""
    items = [compute.Items(key="startup-script", value="#!/bin/sh"), compute.Items(key="a", value="1")]
    limit = compute.Scheduling(automatic_restart=False, max_run_duration=compute.Duration(seconds=600))
    cloud.keep_template(metadata=compute.Metadata(items=items), scheduling=limit)
    longer = compute.Scheduling(max_run_duration=compute.Duration(seconds=900), instance_termination_action="DELETE")
    cloud.insert(
        TEMPLATE_URL,
        scheduling=longer,
        metadata=compute.Metadata(items=[compute.Items(key="mayfly-lease", value="{}")]),
    )
    vm = cloud.get()
    assert [item.key for item in vm.metadata.items] == ["mayfly-lease"]
    assert vm.scheduling.max_run_duration.seconds == 900
    assert (vm.scheduling.automatic_restart, vm.scheduling.instance_termination_action) == (False, "DELETE")
    cloud.delete()


def test_a_vm_is_made_without_a_template(cloud: Cloud) -> None:
    cloud.insert(**BARE, tags=compute.Tags(items=["web"]), deletion_protection=False)
    vm = cloud.get()
    assert (vm.status, list(vm.tags.items), list(vm.service_accounts)) == ("RUNNING", ["web"], [])
    cloud.delete()


def test_a_name_is_taken_once(cloud: Cloud) -> None:
    cloud.insert(**BARE)
    before = cloud.get().id
    with pytest.raises(google_errors.Conflict, match=f"instances/{NEW}' already exists") as caught:
        cloud.insert(**BARE)
    assert caught.value.errors[0]["reason"] == "alreadyExists"
    assert cloud.get().id == before
    cloud.delete()


def test_a_repeated_request_id_makes_one_vm(cloud: Cloud) -> None:
    request = compute.InsertInstanceRequest(
        **AT, instance_resource=compute.Instance(name=NEW, **BARE), request_id=str(uuid.uuid4())
    )
    first, second = (cloud.instances.insert_unary(request=request) for _ in range(2))
    assert first.name == second.name
    cloud.done(first)
    cloud.delete()
    assert cloud.states().count("RUNNING") == 1


def test_a_vm_of_the_same_name_is_another_vm(cloud: Cloud) -> None:
    ids = []
    for _ in range(2):
        cloud.insert(**BARE)
        ids.append(cloud.get().id)
        cloud.delete()
    assert ids[0] != ids[1]


def test_a_static_ip_comes_with_the_vm_and_is_free_again_after_it(cloud: Cloud, emulator: Running) -> None:
    ip = emulator.address(IP)
    cloud.insert(**BARE | {"network_interfaces": [a_nic(ip)]})
    vm = cloud.get()
    assert vm.network_interfaces[0].access_configs[0].nat_i_p == ip
    there = {"project": PROJECT, "region": REGION, "address": IP}
    assert list(cloud.addresses.get(**there).users) == [vm.self_link]
    cloud.delete()
    address = cloud.addresses.get(**there)
    assert (address.status, list(address.users)) == ("RESERVED", [])


def test_a_static_ip_that_is_none_or_somebody_elses_makes_no_vm(cloud: Cloud, emulator: Running) -> None:
    with pytest.raises(google_errors.BadRequest, match=r"accessConfigs\[0\]\.natIP.*was not found in region"):
        cloud.insert(**BARE | {"network_interfaces": [a_nic("198.51.100.7")]})
    with pytest.raises(google_errors.BadRequest, match="already being used"):
        cloud.insert(**BARE | {"network_interfaces": [a_nic(emulator.address(OTHER_IP))]})
    with pytest.raises(google_errors.NotFound):
        cloud.get()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"machine_type": "e2-medium"}, "The URL is malformed"),
        ({"machine_type": "zones/us-east1-b/machineTypes/e2-medium"}, "not in zone"),
        ({"disks": []}, "No disks are specified"),
        ({"network_interfaces": []}, "At least one network interface is required"),
        ({"name": "Not_A_Name"}, "Must be a match of regex"),
        ({"name": None}, "'resource.name' not specified"),
        ({"labels": {"Loud": "x"}}, "Lower case letters"),
    ],
)
def test_a_body_that_makes_no_vm_is_refused_at_once(cloud: Cloud, body: dict[str, Any], words: str) -> None:
    with pytest.raises(google_errors.BadRequest, match=words):
        cloud.insert(**BARE | body)


def test_a_template_that_is_not_there_is_not_found(cloud: Cloud) -> None:
    with pytest.raises(google_errors.NotFound, match="instanceTemplates/nobody' was not found"):
        cloud.insert(f"projects/{PROJECT}/global/instanceTemplates/nobody")


def test_a_stockout_arrives_in_the_operation_and_leaves_no_vm_and_no_address_in_use(
    cloud: Cloud, emulator: Running
) -> None:
    emulator.fault(
        on="instances.insert",
        operation_error={"code": "ZONE_RESOURCE_POOL_EXHAUSTED", "message": "Try later.", "status": 503},
    )
    operation = cloud.insert(**BARE | {"network_interfaces": [a_nic(emulator.address(IP))]})
    assert operation.error.errors[0].code == "ZONE_RESOURCE_POOL_EXHAUSTED"
    assert (operation.http_error_status_code, operation.http_error_message) == (503, "SERVICE UNAVAILABLE")
    with pytest.raises(google_errors.NotFound):
        cloud.get()
    assert cloud.addresses.get(project=PROJECT, region=REGION, address=IP).status == "RESERVED"
    assert "RUNNING" not in cloud.states()


def test_deleting_what_is_not_there_is_not_found(cloud: Cloud) -> None:
    with pytest.raises(google_errors.NotFound, match="was not found"):
        cloud.delete("nobody")


def test_a_stopped_vm_is_deleted_too(cloud: Cloud) -> None:
    cloud.insert(**BARE)
    cloud.done(cloud.instances.stop_unary(**AT, instance=NEW))
    cloud.delete()
    assert cloud.states()[-3:] == ["TERMINATED", "STOPPING", ""]


def test_a_protected_vm_is_not_deleted(cloud: Cloud) -> None:
    cloud.insert(**BARE, deletion_protection=True)
    with pytest.raises(google_errors.BadRequest, match="protected against deletion") as caught:
        cloud.delete()
    assert caught.value.errors[0]["reason"] == "invalidResourceUsage"
    cloud.done(cloud.instances.stop_unary(**AT, instance=NEW))


def test_a_disk_that_is_not_deleted_with_its_vm_stays_and_keeps_its_name(cloud: Cloud) -> None:
    kept = BARE | {"disks": [a_disk(auto_delete=False)]}
    cloud.insert(**kept)
    with pytest.raises(google_errors.BadRequest, match="already being used by"):
        cloud.disks.delete_unary(**AT, disk=NEW)
    cloud.delete()
    disk = cloud.disks.get(**AT, disk=NEW)
    assert (disk.size_gb, list(disk.users)) == (40, [])
    with pytest.raises(google_errors.Conflict, match=f"disks/{NEW}' already exists"):
        cloud.insert(**kept)
    cloud.done(cloud.disks.delete_unary(**AT, disk=NEW))
    assert NEW not in [each.name for each in cloud.disks.list(**AT)]
    cloud.insert(**BARE)
    cloud.delete()


def test_templates_are_listed_described_and_deleted(cloud: Cloud) -> None:
    cloud.keep_template(service_accounts=[compute.ServiceAccount(email="default")])
    shown = cloud.templates.get(project=PROJECT, instance_template=TEMPLATE)
    assert shown.properties.machine_type == "e2-medium"
    assert shown.self_link.endswith(TEMPLATE_URL)
    assert TEMPLATE in [each.name for each in cloud.templates.list(project=PROJECT)]
    with pytest.raises(google_errors.Conflict, match="already exists"):
        cloud.keep_template()
    begun = cloud.templates.delete_unary(project=PROJECT, instance_template=TEMPLATE)
    done = cloud.global_operations.get(project=PROJECT, operation=begun.name)
    assert done.name in [each.name for each in cloud.global_operations.list(project=PROJECT)]
    with pytest.raises(google_errors.NotFound):
        cloud.templates.get(project=PROJECT, instance_template=TEMPLATE)


def test_a_template_may_belong_to_a_region(cloud: Cloud, emulator: Running) -> None:
    options = {"credentials": AnonymousCredentials(), "client_options": ClientOptions(api_endpoint=emulator.url)}
    regional = compute.RegionInstanceTemplatesClient(**options)
    template = compute.InstanceTemplate(name=TEMPLATE, properties=compute.InstanceProperties(**WHOLE))
    there = {"project": PROJECT, "region": REGION}
    begun = regional.insert_unary(**there, instance_template_resource=template)
    assert compute.RegionOperationsClient(**options).wait(**there, operation=begun.name).progress == 100
    assert regional.get(**there, instance_template=TEMPLATE).region.endswith(f"/regions/{REGION}")
    cloud.insert(f"regions/{REGION}/instanceTemplates/{TEMPLATE}")
    cloud.delete()
