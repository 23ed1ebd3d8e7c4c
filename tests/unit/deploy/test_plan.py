"""What is wanted against what is there: decided without a cloud."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.deploy.config import read_config
from mayfly.deploy.differences import Difference, differences, shown
from mayfly.deploy.document import EXAMPLE, document
from mayfly.deploy.identities import email_of, role
from mayfly.deploy.images import by_digest
from mayfly.deploy.marks import DESCRIPTION
from mayfly.deploy.plan import Action, Step, as_json, down, in_words, summary, up
from mayfly.deploy.policies import Grant, Grants
from mayfly.deploy.resource import Item, said
from mayfly.deploy.run_jobs import run_job
from mayfly.deploy.startup import startup_script
from orchestrator.google_admin import Service
from orchestrator.settings import Settings
from tests.architecture import REPOSITORY

API = "https://www.googleapis.com/compute/v1/"
Json = dict[str, Any]


def an_item(**wanted: Any) -> Item:
    return Item(kind="thing", name="x", service=Service.COMPUTE, collection="things", wanted=wanted)


@pytest.mark.parametrize(
    ("wanted", "seen"),
    [
        ({"a": 1}, {"a": 1, "of_google": True}),
        ({"size": 50}, {"size": "50"}),
        ({"network": "projects/p/global/networks/n"}, {"network": f"{API}projects/p/global/networks/n"}),
        ({"retries": 0, "off": False, "list": [], "text": "", "none": None}, {}),
        ({"containers": [{"image": "i"}]}, {"containers": [{"image": "i", "ports": [1]}]}),
    ],
)
def test_what_google_adds_or_leaves_out_is_no_difference(wanted: Json, seen: Json) -> None:
    assert differences(wanted, seen) == []


@pytest.mark.parametrize(
    ("wanted", "seen", "path"),
    [
        ({"a": {"b": 1}}, {}, "a.b"),
        ({"a": [1, 2]}, {"a": [1]}, "a"),
        ({"a": [{"b": 1}, {"b": 2}]}, {"a": [{"b": 1}, {"b": 3}]}, "a[1].b"),
        ({"vpc": None}, {"vpc": {"egress": "ALL"}}, "vpc"),
        ({"retries": 0}, {"retries": 3}, "retries"),
        ({"on": True}, {"on": 1}, "on"),
    ],
)
def test_a_difference_says_where_it_is(wanted: Json, seen: Json, path: str) -> None:
    assert [found.path for found in differences(wanted, seen)] == [path]


plain = st.recursive(
    st.text(max_size=3) | st.integers() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.text(min_size=1), plain), st.dictionaries(st.text(min_size=1), plain))
def test_what_has_been_brought_about_differs_no_more(wanted: Json, others: Json) -> None:
    assert differences(wanted, {**others, **wanted}) == []


def test_what_is_not_there_is_made_what_differs_is_changed_and_what_is_right_is_kept() -> None:
    item = an_item(a=1)
    ours = {"description": f"{DESCRIPTION}: x."}
    assert up(item, None).action is Action.MAKE
    assert up(item, {**ours, "a": 2}) == Step("thing", "x", Action.CHANGE, (Difference("a", 2, 1),))
    assert up(item, {**ours, "a": 1}).action is Action.KEEP


def test_what_somebody_else_made_is_neither_changed_nor_removed() -> None:
    assert up(an_item(a=1), {"a": 2, "description": "mine"}).action is Action.LEAVE
    assert down(an_item(a=1), {"a": 2}).action is Action.LEAVE


def test_on_the_way_down_what_is_ours_goes_and_what_is_not_there_is_fine() -> None:
    assert down(an_item(), {"description": DESCRIPTION}).action is Action.REMOVE
    assert down(an_item(), None).action is Action.KEEP


def test_a_plan_reads_as_a_diff() -> None:
    steps = [
        Step("VM", "gpu-vm", Action.MAKE),
        Step("role", "r", Action.CHANGE, (Difference("stage", None, "GA"),)),
        Step("schedule", "old", Action.REMOVE),
        Step("static IP", "ip", Action.LEAVE),
        Step("secret", "s", Action.KEEP),
    ]
    assert list(in_words(steps)) == [
        "+ VM         gpu-vm",
        "~ role       r",
        "      stage: (none) -> GA",
        "- schedule   old",
        "= static IP  ip  (there already, not made by mayfly deploy: left as it is)",
        "1 to make, 1 to change, 1 to remove; 1 is as it should be.",
    ]
    assert summary([steps[-1]]) == "Nothing to do; 1 is as it should be."
    assert as_json(steps)[1]["differences"] == ["stage: (none) -> GA"]


def test_a_long_value_is_told_by_its_hash_and_a_script_never_fills_the_screen() -> None:
    assert shown("x" * 5000).startswith("(5000 characters, sha256 ")
    assert shown("a\nb") != shown("a\nc")


def test_what_somebody_wrote_to_the_cloud_does_nothing_to_a_terminal() -> None:
    assert str(Difference("env", "\x1b[2J\x9bA\r\u202eok é", "x")) == r"env: \x1b[2J\x9bA\r\u202eok é -> x"


def test_a_body_for_google_has_no_nulls() -> None:
    assert said({"a": None, "b": {"c": None, "d": 0}}) == {"b": {"d": 0}}


def test_a_role_is_compared_permission_by_permission_whatever_their_order() -> None:
    one = role("p", "r", "works", ["b.b.b", "a.a.a"])
    assert one.differences({**one.wanted, "includedPermissions": ["b.b.b", "a.a.a"]}) == []
    seen = {**one.wanted, "includedPermissions": ["a.a.a", "c.c.c"], "deleted": True}
    assert [str(found) for found in one.differences(seen)] == [
        "deleted: True -> (none)",
        "permission: (none) -> b.b.b",
        "permission: c.c.c -> (none)",
    ]


def test_a_grant_under_a_condition_is_somebody_elses_and_does_not_count() -> None:
    grant = Grant("roles/x", "a@b.c")
    grants = Grants(Service.PROJECTS, "projects/p", "the project", (grant,))
    conditional = {"role": "roles/x", "members": [grant.member], "condition": {"expression": "false"}}
    assert [found.path for found in grants.differences({"bindings": [conditional]})] == ["roles/x"]
    assert grants.differences({"bindings": [conditional, {"role": "roles/x", "members": [grant.member]}]}) == []


def test_an_account_of_a_domains_project_has_its_own_form() -> None:
    assert email_of("demo", "a") == "a@demo.iam.gserviceaccount.com"
    assert email_of("example.com:demo", "a") == "a@demo.example.com.iam.gserviceaccount.com"


async def test_an_image_by_digest_needs_no_look_up() -> None:
    image = f"anywhere/x@sha256:{'0' * 64}"
    assert await by_digest(None, image) == image  # type: ignore[arg-type]


def test_a_cpu_that_google_writes_in_thousandths_is_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mayfly.toml").write_text(document(EXAMPLE))
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    job = run_job(read_config({}), "image", "who@x.y")
    seen = json.loads(json.dumps(job.wanted)) | {"terminalCondition": {"state": "CONDITION_SUCCEEDED"}}
    limits = seen["template"]["template"]["containers"][0]["resources"]["limits"]
    limits["cpu"] = "1000m"
    assert job.differences(seen) == []
    limits["cpu"] = "2"
    assert [str(found) for found in job.differences(seen)] == [
        "template.template.containers[0].resources.limits.cpu: 2 -> 1"
    ]


def test_the_script_that_is_deployed_is_the_one_at_the_top_of_the_repository() -> None:
    assert startup_script().text == (REPOSITORY / "startup.sh").read_text()


def test_what_the_cloud_says_cannot_play_with_the_terminal() -> None:
    assert str(Difference("x", "\x1b[2Jgone\r\u202e", "a b é")) == r"x: \x1b[2Jgone\r\u202e -> a b é"
