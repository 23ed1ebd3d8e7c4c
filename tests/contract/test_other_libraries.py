"""Libraries that other people use: google-api-python-client and Apache Libcloud, neither of them changed."""

import json
from pathlib import Path
from typing import Any

import googleapiclient.discovery
import googleapiclient.errors
import httplib2
import pytest
from libcloud.common.google import GoogleAuthType, ResourceNotFoundError
from libcloud.compute.drivers.gce import GCEConnection, GCENodeDriver

from gcp_emulator.seed import caller_email
from gcp_emulator.tokens import token_of
from tests.contract.world import IP, OTHER_IP, OTHER_VM, PROJECT, REGION, VM, ZONE, Running

HERE = {"project": PROJECT, "zone": ZONE, "instance": VM}


@pytest.fixture
def compute(emulator: Running) -> Any:
    return googleapiclient.discovery.build(
        "compute",
        "v1",
        http=httplib2.Http(),
        client_options={"api_endpoint": f"{emulator.url}/compute/v1/"},
        static_discovery=True,
    )


def _wait(compute: Any, operation: dict[str, Any]) -> dict[str, Any]:
    done: dict[str, Any] = (
        compute.zoneOperations().wait(project=PROJECT, zone=ZONE, operation=operation["name"]).execute()
    )
    assert done["status"] == "DONE"
    return done


def test_the_api_client_starts_and_stops_a_vm_with_a_static_ip(compute: Any, emulator: Running) -> None:
    body = {"name": "external-nat", "natIP": emulator.address(IP), "type": "ONE_TO_ONE_NAT"}
    _wait(compute, compute.instances().addAccessConfig(**HERE, networkInterface="nic0", body=body).execute())
    assert "error" not in _wait(compute, compute.instances().start(**HERE).execute())
    assert compute.instances().get(**HERE).execute()["status"] == "RUNNING"
    _wait(compute, compute.instances().stop(**HERE).execute())
    removal = compute.instances().deleteAccessConfig(**HERE, networkInterface="nic0", accessConfig="external-nat")
    _wait(compute, removal.execute())
    assert compute.addresses().get(project=PROJECT, region=REGION, address=IP).execute()["status"] == "RESERVED"


def test_the_api_client_walks_pages(compute: Any) -> None:
    instances, names = compute.instances(), []
    request = instances.list(project=PROJECT, zone=ZONE, maxResults=1)
    while request is not None:
        page = request.execute()
        names += [vm["name"] for vm in page["items"]]
        request = instances.list_next(request, page)
    assert sorted(names) == sorted([VM, OTHER_VM])


def test_the_api_client_shows_the_error_of_compute_engine(compute: Any) -> None:
    with pytest.raises(googleapiclient.errors.HttpError) as caught:
        compute.instances().get(**HERE | {"instance": "nobody"}).execute()
    assert caught.value.status_code == 404
    assert "was not found" in caught.value.reason


def test_an_unknown_field_is_refused_as_google_does(compute: Any) -> None:
    request = compute.instances().setScheduling(**HERE, body={"maxRunDuration": {"minutes": 5}})
    with pytest.raises(googleapiclient.errors.HttpError) as caught:
        request.execute()
    assert caught.value.status_code == 400
    assert caught.value.reason == (
        "Invalid JSON payload received. Unknown name \"minutes\" at 'max_run_duration': Cannot find field."
    )


@pytest.fixture
def libcloud(emulator: Running, tmp_path: Path) -> GCENodeDriver:
    """A driver with a token that is still good, as libcloud keeps one between runs, and with another host."""
    token = {
        "access_token": token_of(caller_email(PROJECT)),
        "token_type": "Bearer",
        "expire_time": "2099-01-01T00:00:00Z",
    }
    (tmp_path / "token").write_text(json.dumps(token))

    class Connection(GCEConnection):
        host = "127.0.0.1"

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.port = emulator.port

    class Driver(GCENodeDriver):
        connectionCls = Connection  # noqa: N815 - libcloud's name

    return Driver(
        *("somebody@example.com", "no key"),
        project=PROJECT,
        datacenter=ZONE,
        credential_file=str(tmp_path / "token"),
        auth_type=GoogleAuthType.IA,
        secure=False,
    )


def test_libcloud_sees_vms_and_addresses(libcloud: GCENodeDriver, emulator: Running) -> None:
    assert sorted(node.name for node in libcloud.list_nodes()) == sorted([VM, OTHER_VM])
    node = libcloud.ex_get_node(OTHER_VM)
    assert (node.state, node.extra["status"]) == ("stopped", "TERMINATED")
    assert node.public_ips == [emulator.address(OTHER_IP)]
    assert libcloud.ex_get_address(IP).address == emulator.address(IP)


def test_libcloud_starts_and_stops_a_vm_with_a_static_ip(libcloud: GCENodeDriver, emulator: Running) -> None:
    libcloud.connection.poll_interval = 0
    node = libcloud.ex_get_node(VM)
    nic = node.extra["networkInterfaces"][0]["name"]
    assert libcloud.ex_add_access_config(node, "external-nat", nic, nat_ip=emulator.address(IP))
    assert libcloud.start_node(node)
    assert libcloud.ex_get_node(VM).extra["status"] == "RUNNING"
    assert libcloud.stop_node(node)
    assert libcloud.ex_delete_access_config(node, "external-nat", nic)
    assert libcloud.ex_get_node(VM).public_ips == []


def test_libcloud_makes_and_destroys_an_address(libcloud: GCENodeDriver) -> None:
    libcloud.connection.poll_interval = 0
    made = libcloud.ex_create_address("new-ip", region=REGION)
    assert libcloud.ex_destroy_address(made)
    with pytest.raises(ResourceNotFoundError, match="was not found"):
        libcloud.ex_get_address("new-ip")


def test_libcloud_shows_the_error_of_compute_engine(libcloud: GCENodeDriver) -> None:
    with pytest.raises(ResourceNotFoundError, match="was not found"):
        libcloud.ex_get_node("nobody", zone=ZONE)
