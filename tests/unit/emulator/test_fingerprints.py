"""Compare-and-swap on metadata and labels: what a lease stands on."""

from typing import Any

import pytest

from gcp_emulator.fingerprints import fingerprint
from gcp_emulator.knobs import Knobs
from tests.unit.emulator.inside import SOME_TIME, VM, Inside


def metadata(inside: Inside, mark: str) -> dict[str, Any]:
    """The whole metadata as a writer sends it: what is there, and its own mark."""
    have = inside.vm()["metadata"]
    others = [item for item in have["items"] if item["key"] != "lease"]
    return {"items": [*others, {"key": "lease", "value": mark}], "fingerprint": have["fingerprint"]}


def lease(inside: Inside) -> str | None:
    return {item["key"]: item["value"] for item in inside.vm()["metadata"]["items"]}.get("lease")


def test_metadata_takes_effect_when_its_operation_is_done():
    inside = Inside(latency=SOME_TIME)
    operation = inside.post(f"{VM}/setMetadata", metadata(inside, "mine"))
    assert lease(inside) is None
    inside.passes(1)
    assert lease(inside) == "mine"
    assert inside.operation(operation)["status"] == "DONE"


def test_a_stale_fingerprint_is_refused_at_once():
    inside = Inside()
    mine, theirs = metadata(inside, "mine"), metadata(inside, "theirs")
    inside.post(f"{VM}/setMetadata", theirs)
    assert inside.refused("POST", f"{VM}/setMetadata", mine) == (
        412,
        "conditionNotMet",
        "Supplied fingerprint does not match current metadata fingerprint.",
    )
    assert lease(inside) == "theirs"


def test_of_two_writers_at_once_the_second_learns_it_from_its_operation():
    inside = Inside(latency=SOME_TIME)
    first = inside.post(f"{VM}/setMetadata", metadata(inside, "first"))
    second = inside.post(f"{VM}/setMetadata", metadata(inside, "second"))
    inside.passes(1)
    assert "error" not in inside.operation(first)
    failed = inside.operation(second)
    assert failed["error"]["errors"][0]["code"] == "CONDITION_NOT_MET"
    assert (failed["httpErrorStatusCode"], failed["httpErrorMessage"]) == (412, "PRECONDITION FAILED")
    assert lease(inside) == "first"


def test_a_stale_fingerprint_can_be_left_to_the_operation():
    inside = Inside(knobs=Knobs(stale_fingerprint="operation"))
    stale = metadata(inside, "mine")
    inside.post(f"{VM}/setMetadata", metadata(inside, "theirs"))
    operation = inside.operation(inside.post(f"{VM}/setMetadata", stale))
    assert operation["error"]["errors"][0]["code"] == "CONDITION_NOT_MET"


def test_labels_are_compared_and_swapped_too():
    inside = Inside()
    before = inside.vm()["labelFingerprint"]
    inside.post(f"{VM}/setLabels", {"labels": {"mayfly": "managed"}, "labelFingerprint": before})
    assert inside.vm()["labels"] == {"mayfly": "managed"}
    assert inside.refused("POST", f"{VM}/setLabels", {"labels": {}, "labelFingerprint": before}) == (
        412,
        "conditionNotMet",
        "Labels fingerprint either invalid or resource labels have changed",
    )


@pytest.mark.parametrize("labels", [{"Upper": "x"}, {"a": "2030-01-01T00:00:00Z"}, {"1": "x"}])
def test_labels_that_google_refuses_are_refused(labels: dict[str, str]):
    inside = Inside()
    body = {"labels": labels, "labelFingerprint": inside.vm()["labelFingerprint"]}
    assert inside.refused("POST", f"{VM}/setLabels", body)[:2] == (400, "invalid")


@pytest.mark.parametrize(
    "items",
    [
        [{"key": "with space", "value": ""}],
        [{"key": "twice", "value": "1"}, {"key": "twice", "value": "2"}],
        [{"key": "long", "value": "x" * 262_145}],
    ],
)
def test_metadata_that_google_refuses_is_refused(items: list[dict[str, str]]):
    inside = Inside()
    body = {"items": items, "fingerprint": inside.vm()["metadata"]["fingerprint"]}
    assert inside.refused("POST", f"{VM}/setMetadata", body)[:2] == (400, "invalid")


def test_a_fingerprint_depends_on_the_contents_alone_and_comes_back_with_them():
    assert fingerprint({"a": "1", "b": "2"}) == fingerprint({"b": "2", "a": "1"})
    assert fingerprint({"a": "1"}) != fingerprint({"a": "2"})
    assert fingerprint({}) == fingerprint([])
