"""Lists: pages, filters, aggregated by scope; and the places they are asked for."""

import pytest

from gcp_emulator.seed import AddressSeed, InstanceSeed, Seed
from tests.unit.emulator.inside import Inside

FOUR = Seed(
    instances=(
        InstanceSeed("a", labels={"mayfly": "managed"}),
        InstanceSeed("b", status="RUNNING"),
        InstanceSeed("c", labels={"mayfly": "managed", "team": "x"}, status="RUNNING"),
        InstanceSeed("d", zone="us-east1-b"),
    ),
    addresses=(AddressSeed("gpu-ip"),),
)
HERE = "projects/demo/zones/us-central1-a/instances"


def names(inside: Inside, query: str = "") -> list[str]:
    return [one["name"] for one in inside.get(f"{HERE}{query}").get("items", [])]


def test_a_zone_lists_its_own_instances():
    assert names(Inside(FOUR)) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ('name = "b"', "b"),
        ("name eq a|c", "ac"),
        ("name eq .*", "abc"),
        ("name ne a", "bc"),
        ("status=RUNNING", "bc"),
        ("status!=RUNNING", "a"),
        ("labels.mayfly=managed", "ac"),
        ("labels.mayfly:*", "ac"),
        ("(labels.mayfly=managed) (status=RUNNING)", "c"),
        ("labels.mayfly=managed AND status=RUNNING", "c"),
        ("labels.team=x OR name=b", "bc"),
        ("NOT labels.mayfly=managed", "b"),
        ("labels.none=x", ""),
        ("deletionProtection=false name=a*", "a"),
    ],
)
def test_a_filter_chooses(wanted: str, found: str):
    assert "".join(names(Inside(FOUR), f"?filter={wanted.replace('=', '%3D')}")) == found


@pytest.mark.parametrize(
    "query", ["filter=name+is+b", "filter=(name%3Db", "maxResults=501", "pageToken=x", "orderBy=id"]
)
def test_a_list_that_cannot_be_understood_is_refused(query: str):
    assert Inside(FOUR).refused("GET", f"{HERE}?{query}")[:2] == (400, "invalid")


def test_pages_follow_each_other_to_the_end():
    inside = Inside(FOUR)
    first = inside.get(f"{HERE}?maxResults=2")
    assert [one["name"] for one in first["items"]] == ["a", "b"]
    second = inside.get(f"{HERE}?maxResults=2&pageToken={first['nextPageToken']}")
    assert [one["name"] for one in second["items"]] == ["c"]
    assert "nextPageToken" not in second


def test_the_aggregated_list_names_every_zone_and_warns_of_the_empty_ones():
    items = Inside(FOUR).get("projects/demo/aggregated/instances?returnPartialSuccess=true")["items"]
    assert [one["name"] for one in items["zones/us-east1-b"]["instances"]] == ["d"]
    assert len(items["zones/us-central1-a"]["instances"]) == 3
    assert items["zones/us-east1-c"]["warning"]["code"] == "NO_RESULTS_ON_PAGE"


def test_addresses_and_disks_are_aggregated_too():
    inside = Inside(FOUR)
    [address] = inside.get("projects/demo/aggregated/addresses")["items"]["regions/us-central1"]["addresses"]
    assert address["name"] == "gpu-ip"
    disks = inside.get("projects/demo/aggregated/disks")["items"]["zones/us-central1-a"]["disks"]
    assert [disk["name"] for disk in disks] == ["a", "b", "c"]
    assert inside.get("projects/demo/zones/us-central1-a/disks/a")["users"][0].endswith("/instances/a")


def test_projects_regions_and_zones_are_shown():
    inside = Inside(FOUR)
    assert inside.get("projects/demo")["defaultServiceAccount"].endswith("-compute@developer.gserviceaccount.com")
    assert inside.get("projects/demo/zones/us-central1-a")["region"].endswith("/regions/us-central1")
    assert len(inside.get("projects/demo/regions/us-central1")["zones"]) == 4
    assert len(inside.get("projects/demo/zones")["items"]) == 13
    assert len(inside.get("projects/demo/regions")["items"]) == 4
    assert [one["name"] for one in inside.get("projects/demo/regions/us-central1/addresses")["items"]] == ["gpu-ip"]


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        (f"{HERE}/none", 404, f"The resource '{HERE}/none' was not found"),
        ("projects/none", 404, "The resource 'projects/none' was not found"),
        ("projects/demo/zones/mars-1a", 404, "The resource 'projects/demo/zones/mars-1a' was not found"),
        ("projects/demo/zones/mars-1a/instances/a", 400, "Invalid value for field 'zone': 'mars-1a'. Unknown zone."),
        ("projects/demo/regions/mars/addresses/a", 400, "Invalid value for field 'region': 'mars'. Unknown region."),
    ],
)
def test_what_does_not_exist_is_refused_by_name(path: str, status: int, message: str):
    refused = Inside(FOUR).refused("GET", path)
    assert (refused[0], refused[2]) == (status, message)


def test_where_google_serves_nothing_there_is_a_page_and_no_json():
    inside = Inside(FOUR)
    reply = inside.ask("PATCH", "/compute/v1/projects/demo/<b>")
    assert reply.status == 404  # type: ignore[union-attr]
    assert b"was not found on this server" in reply.body  # type: ignore[union-attr]
    assert b"<b>" not in reply.body.split(b"<code>")[1].split(b"</code>")[0]  # type: ignore[union-attr]
