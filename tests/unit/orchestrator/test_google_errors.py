"""What Google complains about, in our words: the table, row by row."""

from datetime import timedelta
from typing import Any

import google.auth.exceptions as auth
import pytest
import requests

from orchestrator.errors import (
    BadResource,
    BadUsage,
    Conflict,
    Forbidden,
    MayflyError,
    NotFound,
    QuotaExceeded,
    Stockout,
    Transient,
)
from orchestrator.google_errors import Complaint, Refused, Subject, code_of, speaking_our_errors, translate
from orchestrator.patience import Later

START = Subject("start the VM gpu-vm", "There is no VM gpu-vm: check INSTANCE.")


def refused(status: int, reason: str, message: str = "So it is.") -> Complaint:
    """A request that was answered with an error body."""
    return Complaint(message, frozenset({code_of(reason)}), status)


def failed(code: str, message: str = "So it is.", status: int | None = None) -> Complaint:
    """An operation that ended badly."""
    return Complaint(message, frozenset({code_of(code)}), status, in_operation=True)


IN_USE = "IP '34.1.2.3' is already being used by another resource."
GPUS = "Quota 'NVIDIA_T4_GPUS' exceeded.  Limit: 0.0 in region us-central1."
QUERIES = "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute'."
STALE = "Supplied fingerprint does not match current metadata fingerprint."


@pytest.mark.parametrize(
    ("complaint", "error"),
    [
        (refused(404, "notFound"), NotFound),
        (failed("RESOURCE_NOT_FOUND"), NotFound),
        (refused(412, "conditionNotMet"), Conflict),
        (failed("CONDITION_NOT_MET"), Conflict),
        (failed("INVALID_USAGE", STALE), Conflict),
        (refused(503, "ZONE_RESOURCE_POOL_EXHAUSTED"), Stockout),
        (refused(503, "backendError", "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS: The zone has not enough"), Stockout),
        (failed("ZONE_RESOURCE_POOL_EXHAUSTED"), Stockout),
        (failed("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", status=503), Stockout),
        (refused(403, "rateLimitExceeded"), Later),
        (refused(403, "userRateLimitExceeded"), Later),
        (refused(403, "quotaExceeded", QUERIES), Later),
        (refused(403, "quotaExceeded", GPUS), QuotaExceeded),
        (failed("QUOTA_EXCEEDED", GPUS, 403), QuotaExceeded),
        (failed("QUOTA_EXCEEDED"), QuotaExceeded),
        (refused(403, "forbidden"), Forbidden),
        (failed("PERMISSIONS_ERROR"), Forbidden),
        (refused(401, "authError"), BadUsage),
        (refused(400, "resourceNotReady"), Refused),
        (failed("RESOURCE_NOT_READY"), Refused),
        (failed("RATE_LIMIT_EXCEEDED", status=403), Refused),
        (refused(403, "CONCURRENT_OPERATIONS_QUOTA_EXCEEDED"), Refused),
        (refused(400, "invalid", IN_USE), BadResource),
        (refused(409, "IP_IN_USE_BY_ANOTHER_RESOURCE", IN_USE), BadResource),
        (failed("IP_IN_USE_BY_ANOTHER_RESOURCE", IN_USE), BadResource),
        (refused(400, "resourceInUseByAnotherResource"), BadResource),
        (refused(400, "invalid"), BadResource),
        (failed("SOMETHING_NEW"), BadResource),
        (refused(429, "tooMany"), Transient),
        (refused(500, "backendError"), Transient),
        (refused(503, "backendError"), Transient),
        (failed("INTERNAL_ERROR"), Refused),
    ],
    ids=lambda value: "-".join([*value.codes, str(value.status)]) if isinstance(value, Complaint) else value.__name__,
)
def test_each_complaint_is_one_of_our_errors_and_keeps_googles_words(
    complaint: Complaint, error: type[MayflyError]
) -> None:
    ours = translate(complaint, START)
    assert type(ours) is error
    assert complaint.message in str(ours)
    assert "gpu-vm" in str(ours) or error is BadUsage


@pytest.mark.parametrize("spelt", ["conditionNotMet", "CONDITION_NOT_MET", "ConditionNotMet"])
def test_both_spellings_of_a_code_are_one(spelt: str) -> None:
    assert code_of(spelt) == "CONDITION_NOT_MET"


@pytest.mark.parametrize(
    ("message", "permission"),
    [
        ("Required 'compute.instances.start' permission for 'projects/demo/zones/z/x'", "compute.instances.start"),
        ("Permission 'run.jobs.run' denied on resource 'projects/p/x' (or it may not exist).", "run.jobs.run"),
        (
            "x@p.iam.gserviceaccount.com does not have storage.objects.get access to the Google Cloud Storage object.",
            "storage.objects.get",
        ),
        (
            "Permission 'iam.serviceAccounts.actAs' denied on service account x@p.iam.gserviceaccount.com.",
            "iam.serviceAccounts.actAs",
        ),
    ],
)
def test_a_missing_permission_is_named(message: str, permission: str) -> None:
    assert f"lacks the permission {permission}." in str(translate(refused(403, "forbidden", message), START))


def test_an_api_that_is_not_enabled_is_told_in_googles_words() -> None:
    message = (
        "Compute Engine API has not been used: https://console.developers.google.com/apis/api/compute.googleapis.com/"
    )
    assert "lacks the permission" not in str(translate(refused(403, "accessNotConfigured", message), START))


def test_a_missing_thing_says_which_settings_to_check() -> None:
    assert str(translate(refused(404, "notFound"), START)).startswith(START.missing)


def test_a_rate_limit_asks_for_the_next_full_minute() -> None:
    error = translate(
        Complaint("Slow.", frozenset({"RATE_LIMIT_EXCEEDED"}), 403, until_refill=timedelta(seconds=9)), START
    )
    assert isinstance(error, Later)
    assert error.pause == timedelta(seconds=9)


def test_a_hiccup_waits_for_as_long_as_google_asks() -> None:
    error = translate(Complaint("Busy.", status=503, retry_after=timedelta(seconds=7)), START)
    assert isinstance(error, Later)
    assert error.pause == timedelta(seconds=7)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (requests.ConnectionError("reset"), Transient),
        (requests.ReadTimeout("slow"), Transient),
        (requests.exceptions.ChunkedEncodingError("cut"), Transient),
        (auth.TransportError("no metadata server"), Transient),
        (auth.RefreshError("again", retryable=True), Transient),
        (auth.RefreshError("invalid_grant"), BadUsage),
        (auth.DefaultCredentialsError("none"), BadUsage),
        (ValueError("not JSON"), Transient),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.__name__,
)
def test_what_the_libraries_raise_stops_at_the_border(theirs: Any, ours: type[MayflyError]) -> None:
    with pytest.raises(ours), speaking_our_errors(START):
        raise theirs


def test_a_metadata_server_that_does_not_answer_is_no_matter_of_logging_in() -> None:
    with pytest.raises(Transient), speaking_our_errors(START):
        raise auth.RefreshError("no token") from auth.TransportError("reset")


def test_our_own_errors_pass_the_border_as_they_are() -> None:
    with pytest.raises(NotFound), speaking_our_errors(START):
        raise NotFound("ours")
