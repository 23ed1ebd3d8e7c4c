"""Where the suggestions of `mayfly init` come from."""

import subprocess
from pathlib import Path

import pytest

from mayfly.deploy.asking import asked, checkout, gcloud, suggested_project
from mayfly.deploy.config import read_config
from mayfly.deploy.document import document
from orchestrator.settings import Settings


def a_gcloud(home: Path, project: str) -> None:
    folder = home / ".config" / "gcloud"
    (folder / "configurations").mkdir(parents=True)
    (folder / "active_config").write_text("work")
    (folder / "configurations" / "config_work").write_text(
        f"[core]\nproject = {project}\naccount = a%b\n[compute]\nzone = europe-west4-a\n"
    )


def test_gclouds_project_is_found_in_its_files_without_gcloud(tmp_path: Path) -> None:
    a_gcloud(tmp_path, "my-project")
    assert suggested_project({}, tmp_path) == "my-project"
    assert gcloud({}, tmp_path, "compute", "zone") == "europe-west4-a"
    assert suggested_project({"CLOUDSDK_CORE_PROJECT": "other"}, tmp_path) == "other"
    assert suggested_project({"PROJECT_ID": "mine", "CLOUDSDK_CORE_PROJECT": "other"}, tmp_path) == "mine"


@pytest.mark.parametrize("content", ["", "no section", "[core]\n"])
def test_files_that_say_nothing_suggest_nothing(tmp_path: Path, content: str) -> None:
    a_gcloud(tmp_path, "x")
    (tmp_path / ".config/gcloud/configurations/config_work").write_text(content)
    assert suggested_project({}, tmp_path) is None


def test_without_gcloud_nothing_is_suggested(tmp_path: Path) -> None:
    assert suggested_project({}, tmp_path / "nobody") is None


def test_the_answers_make_a_file_that_a_deploy_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    answers = {
        "The project's id": "my-project",
        "When it runs by itself": "30 6 * * 1-5",
        "The time zone": "Asia/Seoul",
    }
    answers |= {"The git": "https://github.com/me/bot", "The commit": "v1"}

    def answer(question: str, suggested: str) -> str:
        return next((text for start, text in answers.items() if question.startswith(start)), suggested)

    Path("mayfly.toml").write_text(document(asked(answer, {}, tmp_path, tmp_path)))
    config = read_config({})
    assert (config.project, config.settings.zone, config.vm.ref) == ("my-project", "us-central1-a", "v1")
    assert (config.schedules[0].cron, config.schedules[0].time_zone) == ("30 6 * * 1-5", "Asia/Seoul")


def test_who_answers_nothing_has_no_schedule(tmp_path: Path) -> None:
    values = asked(lambda _, suggested: suggested, {"PROJECT_ID": "p"}, tmp_path, tmp_path)
    assert "schedule" not in values


def test_the_code_is_where_the_checkout_came_from_at_its_commit(tmp_path: Path) -> None:
    for command in (
        ["init", "--quiet"],
        ["remote", "add", "origin", "git@github.com:me/my-bot.git"],
        ["-c", "user.name=x", "-c", "user.email=x@y.z", "commit", "--quiet", "--allow-empty", "-m", "x"],
    ):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    source, ref = checkout(tmp_path)
    assert source == "https://github.com/me/my-bot"
    assert len(ref) == 40
    assert checkout(tmp_path / "nowhere") == ("", "")


@pytest.mark.parametrize("user", ["ghp_s3cr3t@", "me:ghp_s3cr3t@", "me:p@ss@", "x-access-token:ghp_s3cr3t@"])
def test_a_token_in_the_checkouts_address_is_not_written_into_the_file(tmp_path: Path, user: str) -> None:
    subprocess.run(["git", "-C", str(tmp_path), "init", "--quiet"], check=True)
    remote = ["remote", "add", "origin", f"https://{user}github.com/me/my-bot.git"]
    subprocess.run(["git", "-C", str(tmp_path), *remote], check=True)
    assert checkout(tmp_path)[0] == "https://github.com/me/my-bot"


@pytest.mark.parametrize(
    ("machine", "image"), [("g2-standard-4", "p/debian-with-driver"), ("e2-standard-4", "debian-cloud/debian-12")]
)
def test_who_takes_a_gpu_is_asked_for_an_image_with_its_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str, image: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)

    def answer(question: str, suggested: str) -> str:
        return machine if question.startswith("The machine type") else suggested

    Path("mayfly.toml").write_text(document(asked(answer, {"PROJECT_ID": "p"}, tmp_path, tmp_path)))
    vm = read_config({}).vm
    assert (vm.machine_type, vm.image, vm.lacks_a_driver) == (machine, image, False)
