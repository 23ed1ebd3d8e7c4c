"""The doctor's words are the trouble-shooting page, and what it makes of firewall rules and GPUs."""

import re
from io import StringIO
from ipaddress import ip_network
from pathlib import Path

import pytest
from rich.console import Console

from mayfly.doctor.examine import CHECKS, WRONG_SETTINGS, Examined
from mayfly.doctor.findings import Finding, Level
from mayfly.doctor.grants import roles_of
from mayfly.doctor.page import troubleshooting_page
from mayfly.doctor.quota import metric_of, that_counts
from mayfly.doctor.reach import Rule, open_to, rule_of
from mayfly.doctor.report import as_lines, exit_code

PAGE = Path(__file__).parents[3] / "docs" / "troubleshooting.md"
TROUBLES = [WRONG_SETTINGS, *(trouble for check in CHECKS for trouble in check.troubles)]


def test_the_trouble_shooting_page_is_made_of_the_checks_own_words():
    page = troubleshooting_page()
    assert PAGE.read_text(encoding="utf-8") == page, f"write this into {PAGE.name}:\n{page}"


def test_every_check_says_what_ought_to_be_and_every_trouble_what_mends_it():
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    assert all(re.fullmatch(r"[A-Z].*\.", check.ought) for check in CHECKS)
    assert all(trouble.level in {Level.WARN, Level.FAIL} and trouble.mend for trouble in TROUBLES)


def body(**changes: object) -> dict[str, object]:
    common = {"name": "r", "network": "https://x/networks/default", "allowed": [{"IPProtocol": "tcp"}]}
    return {**common, **changes}


@pytest.mark.parametrize(
    ("rules", "is_open"),
    [
        ([body(sourceRanges=["0.0.0.0/0"])], True),
        ([body(sourceRanges=["0.0.0.0/0"], allowed=[{"IPProtocol": "tcp", "ports": ["22", "7000-9000"]}])], True),
        ([body(sourceRanges=["0.0.0.0/0"], allowed=[{"IPProtocol": "tcp", "ports": ["22"]}])], False),
        ([body(sourceRanges=["0.0.0.0/0"], allowed=[{"IPProtocol": "udp"}])], False),
        ([body(sourceRanges=["0.0.0.0/0"], allowed=[{"IPProtocol": "all"}])], True),
        ([body(sourceRanges=["0.0.0.0/0"], disabled=True)], False),
        ([body(sourceRanges=["0.0.0.0/0"], direction="EGRESS")], False),
        ([body(sourceRanges=["0.0.0.0/0"], network="https://x/networks/other")], False),
        ([body(sourceRanges=["10.0.0.0/9"])], True),
        ([body(sourceRanges=["10.1.2.0/25"])], False),
        ([body(sourceRanges=["::/0"])], False),
        ([body(sourceTags=["web"])], False),
        ([body()], True),
        ([body(priority=10), body(allowed=None, denied=[{"IPProtocol": "tcp"}], priority=5)], False),
        ([body(priority=5), body(allowed=None, denied=[{"IPProtocol": "tcp"}], priority=10)], True),
        ([body(), body(allowed=None, denied=[{"IPProtocol": "all"}])], False),
    ],
)
def test_a_port_is_open_by_the_first_rule_that_is_about_all_who_call(rules: list[dict[str, object]], is_open: bool):
    read = [rule for one in rules if (rule := rule_of(one, "default", 8000)) is not None]
    assert all(isinstance(rule, Rule) for rule in read)
    assert open_to(read, ip_network("10.1.2.0/24")) is is_open


@pytest.mark.parametrize(
    ("target", "is_for_it"),
    [
        ({}, True),
        ({"targetTags": ["mayfly", "web"]}, True),
        ({"targetTags": ["web"]}, False),
        ({"targetServiceAccounts": ["vm@demo.iam.gserviceaccount.com"]}, True),
        ({"targetServiceAccounts": ["web@demo.iam.gserviceaccount.com"]}, False),
    ],
)
def test_a_rule_is_for_vms_with_its_tag_or_its_account_or_for_all(target: dict[str, list[str]], is_for_it: bool):
    rule = rule_of(body(**target), "default", 8000)
    assert rule is not None
    vm = {"tags": {"items": ["mayfly"]}, "serviceAccounts": [{"email": "vm@demo.iam.gserviceaccount.com"}]}
    assert rule.is_for(vm) is is_for_it


@pytest.mark.parametrize(
    ("model", "spot", "metric"),
    [
        ("nvidia-tesla-t4", False, "NVIDIA_T4_GPUS"),
        ("nvidia-l4", True, "PREEMPTIBLE_NVIDIA_L4_GPUS"),
        ("nvidia-a100-80gb", False, "NVIDIA_A100_80GB_GPUS"),
    ],
)
def test_the_quota_of_a_gpu_has_its_name(model: str, spot: bool, metric: str):
    assert metric_of(model, spot=spot) == metric


@pytest.mark.parametrize(
    ("granted", "spot", "counts"),
    [
        ({"NVIDIA_L4_GPUS": 2.0, "PREEMPTIBLE_NVIDIA_L4_GPUS": 1.0}, True, "PREEMPTIBLE_NVIDIA_L4_GPUS"),
        ({"NVIDIA_L4_GPUS": 2.0, "PREEMPTIBLE_NVIDIA_L4_GPUS": 0.0}, True, "NVIDIA_L4_GPUS"),
        ({"NVIDIA_L4_GPUS": 2.0}, True, "NVIDIA_L4_GPUS"),
        ({"NVIDIA_L4_GPUS": 2.0, "PREEMPTIBLE_NVIDIA_L4_GPUS": 1.0}, False, "NVIDIA_L4_GPUS"),
        ({"CPUS": 24.0}, True, None),
    ],
)
def test_a_spot_vm_takes_from_the_ordinary_quota_where_its_own_was_never_granted(
    granted: dict[str, float], spot: bool, counts: str | None
):
    found = that_counts(
        [{"metric": metric, "limit": limit} for metric, limit in granted.items()], "nvidia-l4", spot=spot
    )
    assert (found and found["metric"]) == counts


def test_a_role_on_a_condition_is_not_held_for_sure():
    me = "me@demo.iam.gserviceaccount.com"
    bindings = [
        {"role": "roles/a", "members": [f"serviceAccount:{me}"]},
        {"role": "roles/b", "members": [f"serviceAccount:{me}"], "condition": {"expression": "request.time < x"}},
        {"role": "roles/c", "members": ["serviceAccount:you@demo.iam.gserviceaccount.com"]},
    ]
    assert roles_of(me, [{"bindings": bindings}, {}]) == ({"roles/a"}, {"roles/b"})


def test_a_person_sees_a_line_for_each_check_with_the_mend_and_the_command_below():
    found = [
        Examined("vm", Finding(Level.OK, "gpu-vm is there.")),
        Examined("vm-label", Finding(Level.WARN, "It has [no] label.", "Give it one.", "gcloud label it")),
        Examined("gpu-quota", Finding(Level.SKIPPED, "It has no GPU.")),
    ]
    screen = StringIO()
    console = Console(file=screen, width=120)
    for line in as_lines(found):
        console.print(line, soft_wrap=True)
    assert screen.getvalue().splitlines() == [
        "ok      vm                gpu-vm is there.",
        "warn    vm-label          It has [no] label.",
        "                          Give it one.",
        "                          $ gcloud label it",
        "skipped gpu-quota         It has no GPU.",
        "1 warn, 1 ok, 1 skipped",
    ]
    assert exit_code(found) == 0
    assert exit_code([*found, Examined("vm", Finding(Level.FAIL, "It is gone."))]) == 1
