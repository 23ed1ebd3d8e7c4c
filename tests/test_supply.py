"""What we depend on: pinned by hash, listed in full, and never called clean without a look."""

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.tools import required_tool

ROOT = Path(__file__).parents[1]
LOCK = tomllib.loads((ROOT / "uv.lock").read_text())
AUDIT = (ROOT / ".ci" / "audit").read_text()


@pytest.fixture
def uv() -> str:
    return os.environ.get("UV") or required_tool("uv", "pip install uv, or UV=/path/to/uv")


def locked() -> list[dict[str, Any]]:
    return [package for package in LOCK["package"] if package["source"] != {"editable": "."}]


def script(name: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    variables = {**os.environ, **environment}
    return subprocess.run(["bash", ROOT / ".ci" / name], env=variables, capture_output=True, text=True, check=False)


def test_every_dependency_is_locked_by_hash_and_comes_from_pypi() -> None:
    assert len(locked()) > 100
    for package in locked():
        files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
        assert package["source"] == {"registry": "https://pypi.org/simple"}, package["name"]
        assert files, package["name"]
        for file in files:
            assert re.fullmatch(r"sha256:[0-9a-f]{64}", file["hash"]), file["url"]
            assert file["url"].startswith("https://files.pythonhosted.org/"), file["url"]


def test_the_lock_is_that_of_the_projects_requirements() -> None:
    metadata = next(package for package in LOCK["package"] if package["source"] == {"editable": "."})["metadata"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = {group: {_name(one) for one in wanted} for group, wanted in project["dependency-groups"].items()}
    assert {group: {one["name"] for one in wanted} for group, wanted in metadata["requires-dev"].items()} == groups


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found
    return found[0].lower()


def test_the_sbom_lists_every_locked_package_with_its_hashes_and_is_the_same_each_time(uv: str) -> None:
    first, second = script("sbom", UV=uv), script("sbom", UV=uv)
    assert (first.returncode, first.stdout) == (0, second.stdout), first.stderr
    listed = json.loads(first.stdout)
    assert (listed["bomFormat"], listed["specVersion"]) == ("CycloneDX", "1.5")
    components = {(one["name"], one["version"]): one for one in listed["components"]}
    assert set(components) == {(package["name"], package["version"]) for package in locked()}
    for name, component in components.items():
        hashes = [each for one in component["externalReferences"] for each in one.get("hashes", [])]
        assert hashes, name
        assert {each["alg"] for each in hashes} == {"SHA-256"}


def test_an_audit_that_cannot_ask_fails_and_says_so(uv: str) -> None:
    audited = script("audit", UV=uv, AUDIT_PROBE="http://127.0.0.1:1/pypi/pip/json")
    assert audited.returncode == 1
    assert "Nothing was audited" in audited.stderr


def test_each_vulnerability_that_was_judged_has_its_reason_beside_it() -> None:
    found = re.search(r"^judged=\(\n(.*?)^\)$", AUDIT, re.MULTILINE | re.DOTALL)
    assert found
    for line in found[1].splitlines():
        assert re.fullmatch(r'    "(PYSEC|GHSA|CVE)-[\w-]+ .{40,}"', line), line
