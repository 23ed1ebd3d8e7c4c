"""What builds and deploys the images, where it can be judged without running it: cloudbuild.yaml and the Dockerfile."""

import importlib.resources
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gcp_emulator.schema import Schemas, Side
from mayfly.deploy.marks import LABELS, described
from mayfly.deploy.wanted import IMAGES
from orchestrator.google_library import SERVICES
from tests.tools import required_tool

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "cloudbuild.yaml").read_text()
BUILD: dict[str, Any] = yaml.safe_load(TEXT)
STEPS: dict[str, dict[str, Any]] = {step["id"]: step for step in BUILD["steps"]}
DOCKERFILE = (ROOT / "Dockerfile").read_text()
GOOGLES_OWN = {"PROJECT_ID", "BUILD_ID", "COMMIT_SHA"}  # of https://cloud.google.com/build/docs, those that we use


def test_cloud_build_takes_cloudbuild_yaml() -> None:
    documents = importlib.resources.files("googleapiclient.discovery_cache") / "documents"
    cloud_build = Schemas(json.loads((documents / "cloudbuild.v1.json").read_bytes())["schemas"], {})
    cloud_build.check("Build", Side.CALLER)(BUILD)
    with pytest.raises(ValueError, match="automap"):
        cloud_build.check("Build", Side.CALLER)(BUILD | {"options": {"automap": True}})


def test_each_substitution_is_declared_used_and_documented() -> None:
    declared = set(BUILD["substitutions"])
    steps = json.dumps([BUILD["steps"], BUILD["images"], list(BUILD["substitutions"].values())])
    assert set(re.findall(r"\$\{?(_[A-Z][A-Z0-9_]*)", steps)) == declared
    assert set(re.findall(r"^#   (_[A-Z0-9_]+) {2,}\S", TEXT, re.MULTILINE)) == declared
    # Outside of scripts Cloud Build replaces what it knows, and refuses the rest.
    replaced = json.dumps([[step["name"] for step in BUILD["steps"]], BUILD["images"], BUILD["substitutions"]])
    assert set(re.findall(r"\$\{?([A-Z][A-Z0-9_]*)", replaced)) <= GOOGLES_OWN


def test_the_steps_come_in_order_and_each_script_is_sound() -> None:
    assert list(STEPS) == ["check", "test", "build", "repository", "push", "scan", "deploy"]
    shellcheck = required_tool("shellcheck", "apt-get install shellcheck")
    for step in STEPS.values():
        script = step["script"]
        assert script.startswith("#!/usr/bin/env bash\nset -euo pipefail\n")
        assert set(re.findall(r"\$\{?([A-Z][A-Z0-9_]*)", script)) <= GOOGLES_OWN
        checked = subprocess.run([shellcheck, "-"], input=script, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stdout


def test_the_repository_that_a_build_makes_is_one_that_a_deploy_knows_as_its_own() -> None:
    assert f'--description "{described(IMAGES)}"' in STEPS["repository"]["script"]
    assert "--labels " + ",".join(f"{key}={value}" for key, value in LABELS.items()) in STEPS["repository"]["script"]


def test_what_a_build_calls_and_no_deploy_enables_is_enabled_by_a_line_of_the_header() -> None:
    called = {"artifacts repositories": "artifactregistry", "images scan": "ondemandscanning", "": "cloudbuild"}
    apis = {f"{api}.googleapis.com" for words, api in called.items() if words in TEXT}
    [line] = re.findall(r"^#  +gcloud services enable (.+)$", TEXT, re.MULTILINE)
    assert set(line.split()) == apis
    assert len(apis) == 3


def test_what_is_scanned_and_deployed_is_the_digest_that_was_pushed() -> None:
    assert ">image.txt" in STEPS["push"]["script"]
    assert '"$_IMAGE@sha256:"' in STEPS["push"]["script"]
    for step in ("scan", "deploy"):
        assert "$(cat image.txt)" in STEPS[step]["script"]
        assert "BUILD_ID" not in STEPS[step]["script"]
    assert 'deploy --image "$image" --yes' in STEPS["deploy"]["script"]


def test_cloud_build_and_the_dockerfile_mean_the_same_bases() -> None:
    bases = dict(re.findall(r"^ARG (\w*BASE)=(.+)$", DOCKERFILE, re.MULTILINE))
    assert bases == {name: BUILD["substitutions"][f"_{name}"] for name in ("BUILD_BASE", "BASE")}


def test_the_image_is_built_with_the_projects_uv_and_keeps_the_services_that_we_import() -> None:
    makefile = re.search(r"^UV_VERSION := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert makefile
    assert f"ARG UV_VERSION={makefile[1]}\n" in DOCKERFILE
    assert set(re.findall(r"! -name (\w+)", DOCKERFILE)) == {*SERVICES, "region_operations"}
    imported = re.findall(r"compute_v1\.services\.(\w+)|PACKAGE}\.services\.(\w+)", ours())
    assert {one or other for one, other in imported} <= {*SERVICES, "region_operations"}


def ours() -> str:
    """The source of all that the image has."""
    return "\n".join(path.read_text() for name in ("orchestrator", "mayfly") for path in (ROOT / name).rglob("*.py"))
