"""What a person types, and what is said about what cannot be meant."""

import json
from io import StringIO
from pathlib import Path

import pytest

from mayfly.order import Order, read_job, read_order, read_params
from orchestrator.errors import BadUsage
from vm_agent.protocol import PARAMS_BYTES_MAX, CommandJob, FunctionJob, ImageJob, Mode


def test_a_function_a_command_or_the_vms_own_default() -> None:
    assert read_job("main:run", None) == FunctionJob(function="main:run")
    assert read_job(None, ["python", "train.py", "--fast"]) == CommandJob(command=["python", "train.py", "--fast"])
    assert read_job(None, None) is None


@pytest.mark.parametrize("spec", ["nonsense", "main:", ":run", "main-1:run", "a b:c", "main:run()"])
def test_what_is_no_job_is_refused_with_an_example(spec: str) -> None:
    with pytest.raises(BadUsage, match="module:function"):
        read_job(spec, None)


def test_a_container_and_its_arguments() -> None:
    assert read_job("image:eu.gcr.io/x/y:1", None) == ImageJob(image="eu.gcr.io/x/y:1")
    assert read_job("image:box", ["train", "--fast"]) == ImageJob(image="box", arguments=["train", "--fast"])


@pytest.mark.parametrize("spec", ["image:", "image:Not Lower", "image:--privileged", "image:x@sha256:1"])
def test_what_names_no_image_is_refused_with_an_example(spec: str) -> None:
    with pytest.raises(BadUsage, match=r"pkg\.dev/my-project"):
        read_job(spec, None)


def test_a_job_and_a_command_exclude_each_other() -> None:
    with pytest.raises(BadUsage, match="not both"):
        read_job("main:run", ["ls"])
    with pytest.raises(BadUsage, match="command to run"):
        read_job(None, [])


def test_params_are_json_where_they_can_be_and_text_where_not() -> None:
    typed = ["a=1", "b=true", "c=null", 'd=["x", 1]', 'e="5"', "f=large-v3", "g=", "h=x=y", "i=NaN", "j=1.0"]
    wanted = {"a": 1, "b": True, "c": None, "d": ["x", 1], "e": "5", "f": "large-v3", "g": "", "h": "x=y"}
    assert read_params(typed, None) == wanted | {"i": "NaN", "j": 1.0}


def test_dots_make_groups_and_set_goes_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "params.json"
    file.write_text(json.dumps({"model": "tiny", "limits": {"loss": 1, "gain": 2}}))
    params = read_params(["limits.loss=3", "limits.risk.day=4", "model=large"], str(file))
    assert params == {"model": "large", "limits": {"loss": 3, "gain": 2, "risk": {"day": 4}}}


def test_params_come_from_stdin_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", StringIO('{"a": 1}'))
    assert read_params([], "-") == {"a": 1}


@pytest.mark.parametrize("setting", ["", "a", "=1"])
def test_a_setting_without_a_name_or_value_is_refused(setting: str) -> None:
    with pytest.raises(BadUsage, match="name=value"):
        read_params([setting], None)


def test_a_value_is_not_a_group() -> None:
    with pytest.raises(BadUsage, match="a is a value already"):
        read_params(["a=1", "a.b=2"], None)


@pytest.mark.parametrize("content", [b"[1]", b"{", b"\xff", b'{"a": NaN}'])
def test_a_file_that_holds_no_params_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "params.json"
    file.write_bytes(content)
    with pytest.raises(BadUsage, match=r"--params .*params\.json"):
        read_params([], str(file))


def test_a_file_that_is_not_there_is_refused() -> None:
    with pytest.raises(BadUsage, match="No such file"):
        read_params([], "/nowhere/params.json")


def test_data_does_not_travel_as_a_param() -> None:
    with pytest.raises(BadUsage, match="larger than 1 MiB"):
        read_params([f"a={'x' * PARAMS_BYTES_MAX}"], None)


def test_an_order_is_read_as_a_whole() -> None:
    order = read_order(mode="test", job="main:run", command=None, set=["a=1"], key="night-2026-01-01")
    assert order == Order(Mode.TEST, FunctionJob(function="main:run"), {"a": 1}, "night-2026-01-01")


@pytest.mark.parametrize("key", ["", "a b", "ü", "a\n", "x" * 201])
def test_a_key_that_no_header_can_carry_is_refused(key: str) -> None:
    with pytest.raises(BadUsage, match="--key"):
        read_order(mode="run", job=None, command=None, key=key)
