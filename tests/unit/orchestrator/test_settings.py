"""Where settings come from, and what is said about wrong ones."""

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import BadUsage, Exit
from orchestrator.lease import AddressPolicy
from orchestrator.run import Reach
from orchestrator.settings import Settings
from orchestrator.settings_reading import read_settings
from orchestrator.settings_table import settings_table
from orchestrator.spans import parse_duration
from orchestrator.sweep_settings import SweepSettings

GOOD = {"PROJECT_ID": "my-project", "ZONE": "us-central1-a", "INSTANCE": "gpu-vm", "STATIC_NAME": "gpu-ip"}
KEY = "hunter2-hunter2"


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings but the test's own."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def good(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_the_four_names_are_enough(good: pytest.MonkeyPatch) -> None:
    settings = read_settings()
    assert (settings.project_id, settings.zone, settings.instance, settings.static_name) == tuple(GOOD.values())
    assert settings.region == "us-central1"
    assert settings.timeout == timedelta(hours=1)
    assert not settings.on_cloud_run


def test_a_flag_beats_the_environment_which_beats_dotenv_which_beats_the_toml_file(good: pytest.MonkeyPatch) -> None:
    Path("mayfly.toml").write_text('TIMEOUT = "1m"\nagent_port = 1\nout = "toml"\ncurrency = "EUR"\n')
    Path(".env").write_text("TIMEOUT=2m\nAGENT_PORT=2\nOUT=dotenv\nPATH=not-ours\n")
    good.setenv("TIMEOUT", "3m")
    good.setenv("AGENT_PORT", "3")
    settings = read_settings(timeout="4m", out=None)
    assert settings.timeout == timedelta(minutes=4)
    assert settings.agent_port == 3
    assert settings.out == Path("dotenv")
    assert settings.currency == "EUR"


def test_an_empty_variable_is_as_good_as_none(good: pytest.MonkeyPatch) -> None:
    good.setenv("REGION", "")
    good.setenv("AGENT_KEY", "")
    settings = read_settings()
    assert settings.region == "us-central1"
    assert settings.agent_key is None


def test_everything_that_is_wrong_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {"PROJECT_ID": "My Project", "ZONE": "us-central1-a", "REGION": "us-east1", "INSTANCE": "GPU_VM"}
    wrong |= {"TIMEOUT": "3y", "AGENT_PORT": "99999", "ADDRESS_POLICY": "burn", "PRICE_PER_HOUR": "nan"}
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BadUsage) as refused:
        read_settings()
    text = str(refused.value)
    assert refused.value.exit is Exit.USAGE
    for name in ["PROJECT_ID", "REGION", "INSTANCE", "STATIC_NAME", *list(wrong)[4:]]:
        assert f"\n  {name}" in text
    assert "'detach', 'keep' or 'release'" in text
    assert "mayfly.toml" in text


def test_what_is_missing_is_named_with_an_example() -> None:
    with pytest.raises(BadUsage, match=r"ZONE is not set: .*us-central1-a") as refused:
        read_settings()
    assert all(name in str(refused.value) for name in GOOD)


def test_a_zone_outside_the_region_is_refused(good: pytest.MonkeyPatch) -> None:
    good.setenv("REGION", "us-east1")
    with pytest.raises(BadUsage, match="does not hold the zone us-central1-a, which is in us-central1"):
        read_settings()


@pytest.mark.parametrize("zone", ["us-central1-a", "northamerica-northeast2-c", "us-central1-ai1a", "me-west1-b"])
def test_zones_of_every_shape_are_known(good: pytest.MonkeyPatch, zone: str) -> None:
    assert read_settings(zone=zone).region == zone.rpartition("-")[0]


def test_the_static_ip_may_be_left_out_only_where_nobody_calls_it(good: pytest.MonkeyPatch) -> None:
    good.delenv("STATIC_NAME")
    with pytest.raises(BadUsage, match="STATIC_NAME is not set"):
        read_settings()
    good.setenv("AGENT_REACH", "internal")
    assert read_settings().agent_reach is Reach.INTERNAL


def test_a_key_is_never_shown(good: pytest.MonkeyPatch) -> None:
    good.setenv("AGENT_KEY", KEY)
    settings = read_settings()
    assert settings.agent_key is not None
    assert settings.agent_key.get_secret_value() == KEY
    assert KEY not in f"{settings!r} {settings} {settings.model_dump()}"


def test_not_even_a_key_that_no_header_can_carry(good: pytest.MonkeyPatch) -> None:
    good.setenv("AGENT_KEY", f"{KEY}\n")
    with pytest.raises(BadUsage, match="AGENT_KEY must be printable") as refused:
        read_settings()
    assert KEY not in str(refused.value)


def test_a_name_that_is_no_setting_is_refused_in_our_own_file(good: pytest.MonkeyPatch) -> None:
    Path("mayfly.toml").write_text('timout = "5m"\n')
    with pytest.raises(BadUsage, match="timout"):
        read_settings()


@pytest.mark.parametrize("content", [b"timeout = \n", b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_a_sentence(good: pytest.MonkeyPatch, content: bytes) -> None:
    Path("mayfly.toml").write_bytes(content)
    with pytest.raises(BadUsage, match=r"mayfly\.toml"):
        read_settings()


def test_enums_are_written_as_the_table_says(good: pytest.MonkeyPatch) -> None:
    good.setenv("ADDRESS_POLICY", "keep")
    assert read_settings().address_policy is AddressPolicy.KEEP


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("45m", 2700),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1d", 86400),
        ("90", 90),
        ("1.5s", 1.5),
        (" 2H ", 7200),
    ],
)
def test_durations_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "3y", "h", "30m1h", "-5m", "1h 30m", "1e9", "∞"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99), st.integers(1, 99))
def test_the_parts_of_a_duration_add_up(days: int, hours: int, minutes: int, seconds: int) -> None:
    text = f"{days}d{hours}h{minutes}m{seconds}s"
    assert parse_duration(text) == timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


@pytest.mark.parametrize("timeout", ["0s", "101d"])
def test_a_limit_that_compute_engine_could_not_hold_is_refused(good: pytest.MonkeyPatch, timeout: str) -> None:
    with pytest.raises(BadUsage, match="TIMEOUT"):
        read_settings(timeout=timeout)


def test_every_setting_is_described_once_and_the_readme_shows_them_all() -> None:
    readme = Path(__file__).parents[3] / "README.md"
    table = settings_table()
    assert all(field.description for field in Settings.model_fields.values())
    assert table in readme.read_text(encoding="utf-8"), f"paste this into the README:\n{table}"


def test_a_sweep_needs_no_vm_and_takes_no_offence_at_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PROJECT_ID", "my-project")
    assert read_settings(SweepSettings).project_id == "my-project"
    for name, value in {"ZONE": "nowhere", "INSTANCE": "Any VM", "STATIC_NAME": "Any IP", "REGION": "else"}.items():
        monkeypatch.setenv(name, value)
    assert read_settings(SweepSettings).project_id == "my-project"


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://hooks.slack.com/services/T0/B0/secret", True),
        ("https://chat.googleapis.com/v1/spaces/A/messages?key=k&token=t", True),
        ("http://127.0.0.1:8080/secret", True),
        ("http://[::1]:8080/secret", True),
        ("http://localhost/secret", True),
        ("http://hooks.slack.com/secret", False),
        ("http://169.254.169.254/secret", False),
        ("http://127.0.0.1.example.com/secret", False),
        ("ftp://hooks.slack.com/secret", False),
        ("https:///secret", False),
        ("https://hooks.slack.com/secret\nHost: evil", False),
        ("secret", False),
    ],
)
def test_notices_go_over_https_and_a_wrong_url_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, url: str, allowed: bool
):
    monkeypatch.setenv("PROJECT_ID", "my-project")
    monkeypatch.setenv("NOTIFY_URL", url)
    if allowed:
        assert url not in repr(read_settings(SweepSettings))
        return
    with pytest.raises(BadUsage, match="NOTIFY_URL must begin with https://") as refused:
        read_settings(SweepSettings)
    assert "secret" not in str(refused.value)
