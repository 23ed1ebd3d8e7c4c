"""External addresses of instances: one per NIC, reserved here and free."""

import pytest

from gcp_emulator.knobs import Knobs
from gcp_emulator.seed import AddressSeed, InstanceSeed, Seed
from tests.unit.emulator.inside import ADDRESS, SOME_TIME, VM, ZONE, Inside

OTHER_VM = f"{ZONE}/instances/other-vm"
TWO_VMS = Seed(
    instances=(InstanceSeed("gpu-vm"), InstanceSeed("other-vm")),
    addresses=(AddressSeed("gpu-ip"), AddressSeed("far-ip", region="us-east1")),
)
ADD = "addAccessConfig?networkInterface=nic0"


def delete(name: str) -> str:
    return f"deleteAccessConfig?networkInterface=nic0&accessConfig={name}"


def attached(inside: Inside, vm: str = VM) -> str:
    ip = str(inside.get(ADDRESS)["address"])
    inside.post(f"{vm}/{ADD}", {"name": "external-nat", "natIP": ip, "type": "ONE_TO_ONE_NAT"})
    inside.passes(3)
    return ip


def test_an_attached_address_is_in_use_by_its_vm_running_or_not_and_free_when_detached():
    inside = Inside(latency=SOME_TIME)
    ip = attached(inside)
    [config] = inside.vm()["networkInterfaces"][0]["accessConfigs"]
    assert (config["name"], config["natIP"], config["type"]) == ("external-nat", ip, "ONE_TO_ONE_NAT")
    address = inside.get(ADDRESS)
    assert (address["status"], address["users"]) == ("IN_USE", [inside.vm()["selfLink"]])
    inside.post(f"{VM}/{delete('external-nat')}")
    assert inside.get(ADDRESS)["status"] == "IN_USE"
    inside.passes(3)
    assert inside.get(ADDRESS)["status"] == "RESERVED"
    assert "users" not in inside.get(ADDRESS)
    assert "accessConfigs" not in inside.vm()["networkInterfaces"][0]


def test_a_second_access_config_is_refused():
    inside = Inside()
    attached(inside)
    assert inside.refused("POST", f"{VM}/{ADD}", {}) == (
        400,
        "badRequest",
        "At most one access config currently supported.",
    )


def test_a_second_access_config_can_be_refused_by_the_operation():
    inside = Inside(knobs=Knobs(second_access_config="operation"))
    attached(inside)
    operation = inside.operation(inside.post(f"{VM}/{ADD}", {}))
    assert (operation["httpErrorStatusCode"], operation["httpErrorMessage"]) == (400, "BAD REQUEST")
    assert operation["error"]["errors"][0]["code"] == "BAD_REQUEST"


@pytest.mark.parametrize("ip", ["203.0.113.9", "gpu-ip"])
def test_a_nat_ip_that_is_not_reserved_here_is_refused(ip: str):
    status, reason, message = Inside().refused("POST", f"{VM}/{ADD}", {"natIP": ip})
    assert (status, reason) == (400, "invalid")
    assert message.endswith(f"The specified external IP address '{ip}' was not found in region 'us-central1'.")


def test_a_nat_ip_of_another_region_is_refused():
    inside = Inside(TWO_VMS)
    ip = inside.get("projects/demo/regions/us-east1/addresses/far-ip")["address"]
    assert "was not found in region 'us-central1'" in inside.refused("POST", f"{VM}/{ADD}", {"natIP": ip})[2]


def test_a_nat_ip_in_use_elsewhere_is_refused_even_while_its_vm_is_off():
    inside = Inside(TWO_VMS, knobs=Knobs(address_in_use_status=409))
    ip = attached(inside, OTHER_VM)
    status, _, message = inside.refused("POST", f"{VM}/{ADD}", {"natIP": ip})
    assert (status, message) == (409, f"IP '{ip}' is already being used by another resource.")


def test_of_two_vms_that_take_one_address_at_once_the_second_learns_it_from_its_operation():
    inside = Inside(TWO_VMS, latency=SOME_TIME)
    ip = inside.get(ADDRESS)["address"]
    first = inside.post(f"{VM}/{ADD}", {"natIP": ip})
    second = inside.post(f"{OTHER_VM}/{ADD}", {"natIP": ip})
    inside.passes(3)
    assert "error" not in inside.operation(first)
    assert inside.operation(second)["error"]["errors"][0]["code"] == "IP_IN_USE_BY_ANOTHER_RESOURCE"
    assert inside.get(ADDRESS)["users"] == [inside.vm()["selfLink"]]


def test_an_access_config_is_deleted_by_the_name_it_has():
    inside = Inside()
    attached(inside)
    assert inside.refused("POST", f"{VM}/{delete('External NAT')}")[:2] == (400, "invalid")
    assert inside.refused("POST", f"{VM}/deleteAccessConfig?networkInterface=nic0")[:2] == (400, "required")
    assert inside.refused("POST", f"{VM}/addAccessConfig?networkInterface=nic1")[:2] == (400, "invalid")


def test_an_access_config_without_nat_ip_has_an_ephemeral_address_only_while_running():
    inside = Inside(latency=SOME_TIME)
    inside.post(f"{VM}/{ADD}", {"name": "external-nat"})
    inside.passes(3)
    assert "natIP" not in inside.vm()["networkInterfaces"][0]["accessConfigs"][0]
    inside.post(f"{VM}/start")
    inside.passes(3)
    ip = inside.vm()["networkInterfaces"][0]["accessConfigs"][0]["natIP"]
    assert ip == "127.33.27.129"  # .128 is reserved
    inside.post(f"{VM}/stop")
    inside.passes(10)
    assert "natIP" not in inside.vm()["networkInterfaces"][0]["accessConfigs"][0]


def test_while_stopping_an_access_config_may_be_refused():
    inside = Inside(latency=SOME_TIME, knobs=Knobs(access_config_while_stopping="refuse"))
    inside.post(f"{VM}/start")
    inside.passes(3)
    inside.post(f"{VM}/stop")
    assert inside.refused("POST", f"{VM}/{ADD}", {})[1] == "resourceNotReady"
