"""A project's own roles: made, changed, deleted for a while, and their names that are not free for longer."""

from typing import Any

import pytest

from tests.unit.emulator.inside import Inside

ROLES = "/v1/projects/demo/roles"
ROLE = f"{ROLES}/mayflySweeper"
DAY = 24 * 60 * 60
WANTED = {"title": "Sweeper", "stage": "GA", "includedPermissions": ["compute.instances.stop"]}


def made(identifier: str = "mayflySweeper") -> tuple[Inside, Any]:
    inside = Inside()
    return inside, inside.post(ROLES, {"roleId": identifier, "role": WANTED})


def test_a_role_is_made_shown_and_listed_without_its_permissions():
    inside, role = made()
    assert role["name"] == "projects/demo/roles/mayflySweeper"
    assert {name: role[name] for name in WANTED} == WANTED
    assert inside.get(ROLE) == role
    [listed] = inside.get(ROLES)["roles"]
    assert "includedPermissions" not in listed
    assert inside.get(f"{ROLES}?view=FULL")["roles"] == [role]
    code, status, message = inside.refused("POST", ROLES, {"roleId": "mayflySweeper", "role": WANTED})
    assert (code, status) == (409, "ALREADY_EXISTS")
    assert message == "A role named mayflySweeper in projects/demo already exists."


@pytest.mark.parametrize(
    ("identifier", "role", "says"),
    [("a b", WANTED, "role_id (a b)"), ("fine", {"includedPermissions": ["compute.*"]}, "Permission compute.* is not")],
)
def test_what_is_no_role_is_refused(identifier: str, role: dict[str, Any], says: str):
    code, status, message = Inside().refused("POST", ROLES, {"roleId": identifier, "role": role})
    assert (code, status, says in message) == (400, "INVALID_ARGUMENT", True)


def test_a_change_touches_the_fields_of_its_mask_and_needs_the_latest_etag():
    inside, role = made()
    change = {"title": "Other", "includedPermissions": ["compute.instances.get"], "etag": role["etag"]}
    _, changed = inside.say("PATCH", f"{ROLE}?updateMask=includedPermissions", change)
    assert (changed["title"], changed["includedPermissions"]) == ("Sweeper", ["compute.instances.get"])
    assert changed["etag"] != role["etag"]
    assert inside.refused("PATCH", f"{ROLE}?updateMask=title", change)[:2] == (409, "ABORTED")
    assert inside.refused("PATCH", f"{ROLE}?updateMask=name", {"name": "x"})[:2] == (400, "INVALID_ARGUMENT")


def test_a_deleted_role_is_there_for_a_week_and_can_be_had_back():
    inside, _ = made()
    _, deleted = inside.say("DELETE", ROLE)
    assert deleted["deleted"] is True
    assert inside.get(ROLE)["deleted"] is True
    assert "roles" not in inside.get(ROLES)
    assert len(inside.get(f"{ROLES}?showDeleted=true")["roles"]) == 1
    assert inside.refused("PATCH", f"{ROLE}?updateMask=title", {"title": "x"})[1] == "FAILED_PRECONDITION"
    assert inside.refused("POST", ROLES, {"roleId": "mayflySweeper", "role": WANTED}) == (
        400,
        "FAILED_PRECONDITION",
        "You can't create a role_id (mayflySweeper) which has been marked for deletion.",
    )
    assert "deleted" not in inside.post(f"{ROLE}:undelete", {})
    assert inside.refused("POST", f"{ROLE}:undelete", {})[1] == "FAILED_PRECONDITION"


def test_after_a_week_it_is_gone_for_good_and_after_thirty_seven_days_its_name_is_free():
    inside, _ = made()
    inside.say("DELETE", ROLE)
    inside.passes(8 * DAY)
    assert inside.refused("GET", ROLE)[0] == 404
    assert inside.refused("POST", f"{ROLE}:undelete", {})[0] == 404
    assert inside.refused("POST", ROLES, {"roleId": "mayflySweeper", "role": WANTED})[1] == "FAILED_PRECONDITION"
    inside.passes(30 * DAY)
    assert "deleted" not in inside.post(ROLES, {"roleId": "mayflySweeper", "role": WANTED})


def test_googles_own_roles_are_shown_by_name():
    inside = Inside()
    assert inside.get("/v1/roles/run.invoker")["name"] == "roles/run.invoker"
    assert inside.refused("GET", "/v1/roles/run.everything")[0] == 404
