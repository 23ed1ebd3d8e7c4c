"""google-cloud-compute, Google's own library and the orchestrator's only way to Compute Engine."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import google.api_core.exceptions as google_errors
import pytest
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import compute_v1 as compute

from tests.contract.world import IP, OTHER_IP, OTHER_VM, PROJECT, REGION, VM, ZONE, Running

AT = {"project": PROJECT, "zone": ZONE}
HERE = {**AT, "instance": VM}


@dataclass(frozen=True)
class Clients:
    """The clients that share an endpoint."""

    instances: compute.InstancesClient
    addresses: compute.AddressesClient
    zone_operations: compute.ZoneOperationsClient
    region_operations: compute.RegionOperationsClient

    def get(self, name: str = VM) -> compute.Instance:
        return self.instances.get(**AT, instance=name)

    def done(self, begun: Any) -> compute.Operation:
        operation = self.zone_operations.wait(**AT, operation=begun.name)
        assert operation.status == compute.Operation.Status.DONE
        return operation

    def attach(self, ip: str, vm: str = VM, name: str = "External NAT") -> compute.Operation:
        config = compute.AccessConfig(name=name, nat_i_p=ip, type_="ONE_TO_ONE_NAT")
        return self.done(
            self.instances.add_access_config_unary(
                **AT, instance=vm, network_interface="nic0", access_config_resource=config
            )
        )

    def start(self) -> compute.Operation:
        return self.done(self.instances.start_unary(**HERE))

    def stop(self) -> compute.Operation:
        return self.done(self.instances.stop_unary(**HERE))


@pytest.fixture
def clients(emulator: Running) -> Clients:
    def make(client: Callable[..., Any]) -> Any:
        return client(credentials=AnonymousCredentials(), client_options=ClientOptions(api_endpoint=emulator.url))

    return Clients(
        make(compute.InstancesClient),
        make(compute.AddressesClient),
        make(compute.ZoneOperationsClient),
        make(compute.RegionOperationsClient),
    )


def test_a_vm_gets_its_ip_runs_stops_and_gives_the_ip_back(clients: Clients, emulator: Running) -> None:
    ip = emulator.address(IP)
    clients.attach(ip)
    clients.start()
    vm = clients.get()
    assert vm.status == "RUNNING"
    assert vm.network_interfaces[0].access_configs[0].nat_i_p == ip
    address = clients.addresses.get(project=PROJECT, region=REGION, address=IP)
    assert (address.status, list(address.users)) == ("IN_USE", [vm.self_link])
    clients.stop()
    vm = clients.get()
    assert vm.status == "TERMINATED"
    assert vm.last_stop_timestamp > vm.last_start_timestamp
    clients.done(
        clients.instances.delete_access_config_unary(**HERE, access_config="External NAT", network_interface="nic0")
    )
    assert clients.get().network_interfaces[0].access_configs == []
    assert clients.addresses.get(project=PROJECT, region=REGION, address=IP).status == "RESERVED"


def test_states_come_in_the_order_of_compute_engine(clients: Clients, emulator: Running) -> None:
    clients.start()
    clients.stop()
    path = [entry["to"] for entry in emulator.history("state") if entry["resource"] == f"instances/{VM}"]
    assert path == ["PROVISIONING", "STAGING", "RUNNING", "STOPPING", "TERMINATED"]


def test_an_extended_operation_knows_what_it_did(clients: Clients) -> None:
    operation = clients.start()
    assert operation.operation_type == "start"
    assert operation.target_link.endswith(f"/zones/{ZONE}/instances/{VM}")
    assert operation.target_id == clients.get().id
    assert operation.end_time >= operation.insert_time
    assert clients.zone_operations.get(**AT, operation=operation.name).name == operation.name
    assert operation.name in [each.name for each in clients.zone_operations.list(**AT)]
    clients.stop()


def test_stopping_a_stopped_vm_and_starting_a_running_one_change_nothing(clients: Clients) -> None:
    assert not clients.stop().error.errors
    clients.start()
    assert not clients.start().error.errors
    assert clients.get().status == "RUNNING"
    clients.stop()


def test_a_missing_vm_is_not_found(clients: Clients) -> None:
    with pytest.raises(google_errors.NotFound) as caught:
        clients.get("nobody")
    assert f"The resource 'projects/{PROJECT}/zones/{ZONE}/instances/nobody' was not found" in caught.value.message
    assert caught.value.errors[0]["reason"] == "notFound"


def test_a_vm_has_one_access_config_at_most(clients: Clients, emulator: Running) -> None:
    clients.attach(emulator.address(IP))
    with pytest.raises(google_errors.BadRequest, match=r"At most one access config currently supported\."):
        clients.attach(emulator.address(IP), name="another")


def test_an_ip_that_is_not_reserved_in_the_region_is_refused(clients: Clients) -> None:
    with pytest.raises(google_errors.BadRequest, match=r"'198\.51\.100\.7' was not found in region 'us-central1'"):
        clients.attach("198.51.100.7")


def test_an_ip_that_another_vm_uses_is_refused(clients: Clients, emulator: Running) -> None:
    with pytest.raises(google_errors.BadRequest, match="already being used"):
        clients.attach(emulator.address(OTHER_IP))
    assert clients.get(OTHER_VM).network_interfaces[0].access_configs[0].nat_i_p == emulator.address(OTHER_IP)


def test_metadata_is_changed_by_compare_and_swap(clients: Clients) -> None:
    old = clients.get().metadata
    items = [compute.Items(key="colour", value="green"), compute.Items(key="mayfly-lease", value="{}")]
    new = compute.Metadata(items=items, fingerprint=old.fingerprint)
    clients.done(clients.instances.set_metadata_unary(**HERE, metadata_resource=new))
    assert {item.key: item.value for item in clients.get().metadata.items} == {"colour": "green", "mayfly-lease": "{}"}
    with pytest.raises(google_errors.PreconditionFailed, match="fingerprint does not match"):
        clients.instances.set_metadata_unary(**HERE, metadata_resource=new)


def test_labels_are_changed_by_compare_and_swap(clients: Clients) -> None:
    vm = clients.get()
    request = compute.InstancesSetLabelsRequest(labels={"a": "b"}, label_fingerprint=vm.label_fingerprint)
    clients.done(clients.instances.set_labels_unary(**HERE, instances_set_labels_request_resource=request))
    assert clients.get().labels == {"a": "b"}
    with pytest.raises(google_errors.PreconditionFailed, match="Labels fingerprint either invalid"):
        clients.instances.set_labels_unary(**HERE, instances_set_labels_request_resource=request)


def test_a_deadline_is_set_on_a_stopped_vm_only_and_shows_when_it_runs(clients: Clients) -> None:
    scheduling = compute.Scheduling(
        max_run_duration=compute.Duration(seconds=3600),
        instance_termination_action="STOP",
        automatic_restart=False,
        on_host_maintenance="MIGRATE",
        provisioning_model="STANDARD",
    )
    clients.done(clients.instances.set_scheduling_unary(**HERE, scheduling_resource=scheduling))
    clients.start()
    vm = clients.get()
    assert vm.scheduling.max_run_duration.seconds == 3600
    assert vm.resource_status.scheduling.termination_timestamp
    with pytest.raises(google_errors.GoogleAPICallError):
        clients.instances.set_scheduling_unary(**HERE, scheduling_resource=scheduling)
    clients.stop()


def test_a_repeated_request_id_is_answered_with_the_same_operation(clients: Clients, emulator: Running) -> None:
    request = compute.StartInstanceRequest(**HERE, request_id=str(uuid.uuid4()))
    first, second = (clients.instances.start_unary(request=request) for _ in range(2))
    assert first.name == second.name
    clients.done(first)
    clients.stop()
    assert [entry["to"] for entry in emulator.history("state")].count("RUNNING") == 1


def test_a_stockout_arrives_in_the_operation_as_a_typed_error(clients: Clients, emulator: Running) -> None:
    emulator.fault(
        on="instances.start",
        operation_error={"code": "ZONE_RESOURCE_POOL_EXHAUSTED", "message": "Try later.", "status": 503},
    )
    operation = clients.start()
    assert operation.error.errors[0].code == "ZONE_RESOURCE_POOL_EXHAUSTED"
    assert (operation.http_error_status_code, operation.http_error_message) == (503, "SERVICE UNAVAILABLE")
    assert clients.get().status == "TERMINATED"


def test_an_error_on_purpose_is_one_of_google(clients: Clients, emulator: Running) -> None:
    emulator.fault(on="instances.get", reply={"status": 503})
    emulator.fault(
        on="instances.get", reply={"status": 403, "reason": "rateLimitExceeded", "message": "Rate Limit Exceeded"}
    )
    with pytest.raises(google_errors.ServiceUnavailable):
        clients.instances.get(**HERE, retry=None)
    with pytest.raises(google_errors.Forbidden) as caught:
        clients.instances.get(**HERE, retry=None)
    assert caught.value.errors[0]["reason"] == "rateLimitExceeded"
    assert clients.get().name == VM


def test_guest_attributes_that_nobody_wrote_are_not_found(clients: Clients) -> None:
    with pytest.raises(google_errors.NotFound, match="of type 'Guest Attribute' was not found"):
        clients.instances.get_guest_attributes(
            request=compute.GetGuestAttributesInstanceRequest(**HERE, query_path="mayfly/")
        )


def test_the_serial_port_begins_empty(clients: Clients) -> None:
    output = clients.instances.get_serial_port_output(**HERE)
    assert (output.contents, output.next_) == ("", 0)


def test_vms_and_addresses_are_listed_by_zone_by_region_and_everywhere(clients: Clients) -> None:
    assert {vm.name for vm in clients.instances.list(**AT)} == {VM, OTHER_VM}
    everywhere = dict(clients.instances.aggregated_list(project=PROJECT))
    assert {vm.name for vm in everywhere[f"zones/{ZONE}"].instances} == {VM, OTHER_VM}
    assert everywhere["zones/us-central1-b"].warning.code == "NO_RESULTS_ON_PAGE"
    ips = dict(clients.addresses.aggregated_list(project=PROJECT))[f"regions/{REGION}"].addresses
    assert {IP, OTHER_IP} <= {address.name for address in ips}


def test_pages_of_a_list_follow_each_other(clients: Clients) -> None:
    pages = clients.instances.list(request=compute.ListInstancesRequest(**AT, max_results=1)).pages
    assert [[vm.name for vm in page.items] for page in pages] == [[VM], [OTHER_VM]]


def test_a_filter_on_labels_finds_what_is_ours(clients: Clients) -> None:
    ours = clients.instances.list(request=compute.ListInstancesRequest(**AT, filter="labels.mayfly=managed"))
    assert [vm.name for vm in ours] == [VM]


def test_an_address_is_reserved_and_released(clients: Clients) -> None:
    there = {"project": PROJECT, "region": REGION}
    begun = clients.addresses.insert_unary(**there, address_resource=compute.Address(name="new-ip"))
    clients.region_operations.wait(**there, operation=begun.name)
    assert clients.addresses.get(**there, address="new-ip").status == "RESERVED"
    begun = clients.addresses.delete_unary(**there, address="new-ip")
    clients.region_operations.wait(**there, operation=begun.name)
    with pytest.raises(google_errors.NotFound):
        clients.addresses.get(**there, address="new-ip")


def test_an_address_in_use_cannot_be_released(clients: Clients) -> None:
    with pytest.raises(google_errors.BadRequest, match="already being used by"):
        clients.addresses.delete_unary(project=PROJECT, region=REGION, address=OTHER_IP)


def test_a_reset_keeps_the_vm_running(clients: Clients) -> None:
    clients.start()
    clients.done(clients.instances.reset_unary(**HERE))
    assert clients.get().status == "RUNNING"
    clients.stop()
