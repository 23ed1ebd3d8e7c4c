"""The filters of Cloud Logging."""

import pytest

from gcp_emulator.log_filter import BadFilterError, matcher

ENTRY = {
    "severity": "WARNING",
    "timestamp": "2030-01-01T12:00:00.000000Z",
    "resource": {"type": "cloud_run_job", "labels": {"job_name": "mayfly"}},
    "labels": {"run.googleapis.com/execution_name": "mayfly-abcde"},
    "jsonPayload": {"message": 'the VM is "off"', "seconds": 12, "done": True},
}


@pytest.mark.parametrize(
    "text",
    [
        "",
        'resource.type="cloud_run_job"',
        "resource.type=cloud_run_job AND resource.labels.job_name=mayfly",
        'resource.type = "cloud_run_job"\nresource.labels.job_name = "mayfly"',
        'labels."run.googleapis.com/execution_name"="mayfly-abcde"',
        "severity>=INFO",
        "severity=warning",
        "severity>DEFAULT severity<ERROR",
        'timestamp>="2030-01-01T12:00:00Z"',
        'timestamp<"2030-01-01T14:00:00+01:00"',
        'jsonPayload.message:"VM is"',
        r'jsonPayload.message="the VM is \"off\""',
        'jsonPayload.message=~"^the .* is"',
        "jsonPayload.seconds>9",
        "jsonPayload.done=true",
        "jsonPayload.message:*",
        "NOT textPayload:*",
        "-severity=ERROR",
        "severity=ERROR OR severity=WARNING",
        "(severity=ERROR OR severity=WARNING) AND NOT (resource.labels.job_name=other)",
        "resource.labels.job_name!=other -- a comment",
    ],
)
def test_a_filter_lets_through_what_it_describes(text: str):
    assert matcher(text)(ENTRY)


@pytest.mark.parametrize(
    "text",
    [
        'resource.type="gce_instance"',
        "severity>=ERROR",
        'timestamp>"2030-01-01T12:00:00Z"',
        "textPayload:*",
        "resource.labels.nothing=mayfly",
        "severity=WARNING AND resource.labels.job_name=other",
        "severity=WARNING OR severity=ERROR resource.labels.job_name=other",  # OR binds closer than AND
        'NOT jsonPayload.message:"VM"',
        "jsonPayload.seconds<9",
    ],
)
def test_a_filter_keeps_out_what_it_does_not(text: str):
    assert not matcher(text)(ENTRY)


@pytest.mark.parametrize(
    "text",
    ["severity", "severity=", "severity>=LOUD", "(severity=ERROR", 'timestamp>"noon"', 'a.b=~"("', '"x"="y"', "a=b )"],
)
def test_a_filter_that_is_none_is_refused(text: str):
    with pytest.raises(BadFilterError):
        matcher(text)
