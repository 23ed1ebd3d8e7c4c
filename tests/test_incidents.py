"""What went wrong elsewhere is tested here: docs/reliability.md names the tests, and they are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
INCIDENTS = 24
NAME = r"test_incident_(\d\d)_\w+"


def rows() -> dict[int, list[str]]:
    """The tests that the table names, by the incident's number."""
    text = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
    found = re.findall(r"(?m)^\| (\d+) \| [^|]+ \| ([^|]+) \|$", text)
    return {int(number): re.findall(rf"`({NAME})`", tests) for number, tests in found}


def there() -> set[str]:
    """The tests that there are."""
    files = (ROOT / "tests").rglob("test_*.py")
    return {match[0] for path in files for match in re.finditer(rf"\b{NAME}\b", path.read_text(encoding="utf-8"))}


def test_every_incident_has_a_row_with_tests_that_bear_its_number():
    table = rows()
    assert sorted(table) == list(range(1, INCIDENTS + 1))
    for number, named in table.items():
        assert named, f"incident {number} has no test"
        assert {int(found) for _, found in named} == {number}


def test_every_test_that_the_table_names_is_there_and_every_such_test_is_in_the_table():
    assert {name for named in rows().values() for name, _ in named} == there()


def test_incident_20_the_vm_needs_no_gcloud_and_no_shutdown_script_to_power_itself_off():
    """gcloud is a snap there, and does not run at shutdown; startup.sh calls bash, curl and the power button."""
    script = (ROOT / "startup.sh").read_text(encoding="utf-8")
    shown_at_login = "gcloud compute instances add-metadata"  # for a person to type, elsewhere
    code = [line for line in script.splitlines() if not line.lstrip().startswith(("#", shown_at_login))]
    assert [line for line in code if re.search(r"\bgcloud\b|shutdown-script", line)] == []
    assert [path for path in (ROOT / "vm_agent").rglob("*.py") if "gcloud" in path.read_text(encoding="utf-8")] == []
