"""Requests that get lost or come late, as Google's own client meets them."""

import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import google.api_core.exceptions as google_errors
import httpx
import pytest
import requests.exceptions
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import compute_v1 as compute

from tests.contract.world import PROJECT, VM, ZONE, Running

HERE = {"project": PROJECT, "zone": ZONE, "instance": VM}
Call = Callable[..., Any]


@pytest.fixture
def instances(emulator: Running) -> compute.InstancesClient:
    options = ClientOptions(api_endpoint=emulator.url)
    return compute.InstancesClient(credentials=AnonymousCredentials(), client_options=options)


def status(instances: compute.InstancesClient) -> str:
    return instances.get(**HERE).status


def until(true: Callable[[], bool]) -> None:
    """For what the emulator does by itself; a failing test gives up."""
    give_up = time.monotonic() + 30
    while not true():
        assert time.monotonic() < give_up, "it never came"
        time.sleep(0.02)


def starts(emulator: Running) -> list[dict[str, Any]]:
    return [entry for entry in emulator.history("request") if entry["verb"] == "instances.start"]


def test_a_lost_request_is_a_broken_connection_and_nothing_is_done(
    emulator: Running, instances: compute.InstancesClient
) -> None:
    emulator.fault(on="instances.start", lose_request={})
    with pytest.raises(requests.exceptions.ConnectionError):
        instances.start_unary(**HERE)
    assert (status(instances), starts(emulator)) == ("TERMINATED", [])


def test_after_a_lost_reply_the_same_request_id_gives_the_operation_that_is_under_way(
    emulator: Running, instances: compute.InstancesClient
) -> None:
    emulator.fault(on="instances.start", lose_reply={})
    request = compute.StartInstanceRequest(request_id=str(uuid4()), **HERE)
    with pytest.raises(requests.exceptions.ConnectionError):
        instances.start_unary(request)
    assert status(instances) == "RUNNING"
    assert instances.start_unary(request).client_operation_id == request.request_id
    assert [entry.get("answer") for entry in starts(emulator)] == ["lost", None]
    operations = {entry["name"] for entry in emulator.history("operation")}
    assert len(operations) == 1
    instances.stop_unary(**HERE)


def test_a_late_reply_finds_its_caller_gone_and_what_was_asked_done(
    emulator: Running, instances: compute.InstancesClient
) -> None:
    emulator.fault(on="instances.start", late={"seconds": 60})
    with pytest.raises(requests.exceptions.Timeout):
        instances.start_unary(compute.StartInstanceRequest(**HERE), timeout=0.2)
    assert status(instances) == "RUNNING"
    assert [entry["answer"] for entry in starts(emulator)] == ["late"]
    instances.stop_unary(**HERE)


def test_a_late_request_lands_when_its_caller_has_long_gone(
    emulator: Running, instances: compute.InstancesClient
) -> None:
    emulator.fault(on="instances.start", late={"seconds": 1, "effect": "at_the_end"})
    with pytest.raises(requests.exceptions.Timeout):
        instances.start_unary(compute.StartInstanceRequest(**HERE), timeout=0.1)
    until(lambda: bool(starts(emulator)))
    [landed] = starts(emulator)
    assert (landed["answer"], landed["asked_at"] < landed["at"]) == ("late", True)
    instances.stop_unary(**HERE)


def test_who_waits_long_enough_hears_the_late_answer(emulator: Running, instances: compute.InstancesClient) -> None:
    emulator.fault(on="instances.get", late={"seconds": 0.5})
    assert status(instances) == "TERMINATED"


def test_other_connections_go_on_while_one_is_dropped(emulator: Running) -> None:
    emulator.fault(on="instances.get", skip=1, lose_request={})
    url = f"{emulator.url}/compute/v1/projects/{PROJECT}/zones/{ZONE}/instances/{VM}"
    held = threading.Thread(target=lambda: httpx.get(f"{emulator.url}/_emulator/state", timeout=30))
    with httpx.Client() as kept:
        assert kept.get(url).is_success
        held.start()
        with pytest.raises(httpx.RemoteProtocolError):
            kept.get(url)
        assert kept.get(url).is_success
    held.join()


def test_a_lost_part_of_a_batch_loses_the_whole(emulator: Running) -> None:
    emulator.fault(on="instances.get", lose_request={})
    part = f"GET /compute/v1/projects/{PROJECT}/zones/{ZONE}/instances/{VM} HTTP/1.1\r\n\r\n"
    body = f"--x\r\ncontent-type: application/http\r\ncontent-id: <1>\r\n\r\n{part}\r\n--x--\r\n"
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.post(
            f"{emulator.url}/batch/compute/v1", content=body, headers={"content-type": "multipart/mixed; boundary=x"}
        )


def test_the_library_sees_a_stockout_as_service_unavailable(
    emulator: Running, instances: compute.InstancesClient
) -> None:
    emulator.fault(stockout={"details": True})
    options = ClientOptions(api_endpoint=emulator.url)
    operations = compute.ZoneOperationsClient(credentials=AnonymousCredentials(), client_options=options)
    begun = instances.start_unary(**HERE)
    ended = operations.wait(project=PROJECT, zone=ZONE, operation=begun.name)
    assert (ended.http_error_status_code, ended.http_error_message) == (503, "SERVICE UNAVAILABLE")
    assert ended.error.errors[0].code == "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS"


def test_a_stale_read_and_a_rate_limit_are_answers_that_the_library_understands(
    emulator: Running, instances: compute.InstancesClient
) -> None:
    emulator.fault(on="instances.get", stale={"seconds": 3600})
    emulator.fault(on="instances.stop", rate_limit={})
    instances.start_unary(**HERE)
    assert [status(instances), status(instances)] == ["TERMINATED", "RUNNING"]
    with pytest.raises(google_errors.Forbidden, match="Quota exceeded"):
        instances.stop_unary(**HERE)
    httpx.delete(f"{emulator.url}/_emulator/faults")
    instances.stop_unary(**HERE)
