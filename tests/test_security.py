"""docs/security.md against the code: the tests that it names are there, and every call has its permission."""

import re
from pathlib import Path

import pytest

from mayfly.deploy import roles

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs/security.md").read_text(encoding="utf-8")

CALL = re.compile(r"clients\.(\w+)(?:\(\))?\.(\w+)\(")
SERVICES = {"stopping": "instances", "operations": "zoneOperations", "regional": "regionOperations"}
VERBS = {"insert": "create", "wait": "get", "aggregatedList": "list"}  # where the permission has another name


def permission(client: str, method: str) -> str:
    """What Google asks for at this call of its library."""
    first, *others = method.removesuffix("_unary").split("_")
    verb = first + "".join(word.capitalize() for word in others)
    return f"compute.{SERVICES.get(client, client)}.{VERBS.get(verb, verb)}"


def needed() -> set[str]:
    """The permissions of all calls of Compute Engine's library in the orchestrator."""
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "orchestrator").glob("google_*.py")]
    return {permission(*call) for text in sources for call in CALL.findall(text) if call[0] != "time"}


def table(name: str) -> str:
    """A list of mayfly/deploy/roles.py as docs/security.md has it: a line for each purpose, what is open in italics."""
    rows: dict[str, list[str]] = {}
    for permission, purpose in getattr(roles, name).items():
        is_open = permission in roles.UNDOCUMENTED.get(name, ())
        rows.setdefault(purpose, []).append(f"*`{permission}`*" if is_open else f"`{permission}`")
    lines = (f"| {', '.join(permissions)} | {purpose} |" for purpose, permissions in rows.items())
    return "\n".join([f"<!-- {name} -->", "| permission | for |", "|---|---|", *lines, ""])


def test_every_test_that_is_named_is_there():
    there = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    assert named
    assert {name for name in named if f"def {name}(" not in there} == set()
    files = set(re.findall(r"`(tests/[\w/]+\.py)`", TEXT))
    assert {path for path in files if not (ROOT / path).exists()} == set()


def test_every_threat_has_something_that_stops_it_and_a_test_that_shows_it():
    rows = re.findall(r"(?m)^\|(.*)\|(.*)\|(.*)\|(.*)\|(.*)\|$", TEXT)
    threats = [row for row in rows if "---" not in row[0] and row[0].strip() != "asset"]
    assert len(threats) > 20
    assert [row for row in threats if not row[3].strip() or "`test" not in row[4]] == []


LISTS = [
    name for name in vars(roles) if re.fullmatch("[A-Z][A-Z_]+", name) and name not in {"UNDOCUMENTED", "UNPROVEN"}
]


@pytest.mark.parametrize("name", LISTS)
def test_the_page_has_the_list_that_is_deployed(name: str):
    assert table(name) in TEXT, f"docs/security.md must have:\n{table(name)}"


def test_the_page_has_no_other_list():
    assert sorted(re.findall(r"<!-- (\w+) -->", TEXT)) == sorted(LISTS)


def test_the_orchestrator_may_do_what_it_calls_and_nothing_else_of_compute_engine():
    may = {*roles.ORCHESTRATOR, *roles.ORCHESTRATOR_TEMPLATE, *roles.RELEASE}
    calls = needed() - {"compute.instances.list", "compute.addresses.list"}  # the sweep's
    assert calls <= may
    beside = {  # asked for by Google beside the call's own permission
        "compute.disks.create", "compute.instances.setLabels", "compute.instances.setServiceAccount",
        "compute.instances.setTags", "compute.images.useReadOnly",
        "compute.subnetworks.use", "compute.subnetworks.useExternalIp",
        "compute.addresses.use", "compute.instanceTemplates.get", "compute.instanceTemplates.useReadOnly",
    }  # fmt: skip
    assert may == calls | beside


@pytest.mark.parametrize("verb", ["start", "create", "addAccessConfig", "setScheduling"])
def test_the_sweeper_can_begin_nothing(verb: str):
    assert f"compute.instances.{verb}" not in roles.SWEEPER
    assert f"compute.instances.{verb}" in {*roles.ORCHESTRATOR, *roles.ORCHESTRATOR_TEMPLATE}
