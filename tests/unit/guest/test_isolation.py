"""What a confined guest must still be able to reach."""

from pathlib import Path

from gcp_emulator.guest.isolation import _hops


def test_every_link_between_a_venv_and_its_python_is_kept_in_reach(tmp_path: Path):
    """uv makes venvs whose Python is a link into another venv, perhaps below /tmp, which a guest has for its own."""
    for folder in ("real", "other", "venv"):
        (tmp_path / folder).mkdir()
    (tmp_path / "real/python3").touch()
    (tmp_path / "other/python").symlink_to(tmp_path / "real/python3")
    (tmp_path / "venv/python").symlink_to("../other/python")
    hops = [hop.resolve() for hop in _hops(tmp_path / "venv/python")]
    assert hops == [tmp_path / "other", tmp_path / "real"]
