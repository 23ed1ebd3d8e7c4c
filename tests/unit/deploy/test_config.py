"""mayfly.toml, read for a deploy: tables, overrides, and what is said about mistakes."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.deploy.config import read_config, variable
from mayfly.deploy.document import EXAMPLE, document, setting_names
from mayfly.deploy.tables import Firewall, Job, Schedule, Sweep, Vm, cron_of
from mayfly.deploy.toml_lines import line_of
from orchestrator.errors import BadUsage, Exit
from orchestrator.settings import Settings
from orchestrator.settings_file import TABLES
from orchestrator.settings_reading import read_settings
from tests.architecture import REPOSITORY

GOOD = 'project_id = "p-1"\nzone = "us-central1-a"\ninstance = "vm"\nstatic_name = "ip"\n'
SHIPPED = REPOSITORY / "examples" / "mayfly.toml"
KINDS = {"vm": Vm, "job": Job, "schedule": Schedule, "sweep": Sweep, "firewall": Firewall}


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def refused(text: str, environment: Mapping[str, str] | None = None) -> str:
    Path("mayfly.toml").write_text(GOOD + text)
    with pytest.raises(BadUsage) as wrong:
        read_config(environment or {})
    assert wrong.value.exit is Exit.USAGE
    return str(wrong.value)


def test_a_run_passes_over_the_tables_and_still_checks_the_flat_names() -> None:
    Path("mayfly.toml").write_text(GOOD + "[vm]\nanything = 1\n[[schedule]]\nname = 'x'\n")
    assert read_settings().instance == "vm"
    Path("mayfly.toml").write_text("vn = 1\n" + GOOD)
    with pytest.raises(BadUsage, match="no setting: vn"):
        read_settings()


def test_without_tables_everything_has_its_default() -> None:
    Path("mayfly.toml").write_text(GOOD)
    config = read_config({})
    assert (config.vm, config.job, config.schedules) == (Vm(), Job(), ())
    assert config.job_region == "us-central1"
    assert config.source_ranges == ["0.0.0.0/0"]


def test_the_internal_way_goes_through_the_network_and_asks_for_no_door_to_the_internet() -> None:
    Path("mayfly.toml").write_text(GOOD + 'agent_reach = "internal"\n')
    config = read_config({})
    assert config.network_egress
    assert config.source_ranges == ["10.0.0.0/8"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[vm]\ndisk_gb = 'lots'\n", 'mayfly.toml, line 6: [vm] disk_gb = "lots" must be a valid integer'),
        ("[vm]\n\ndisc_gb = 50\n", "mayfly.toml, line 7: [vm] disc_gb is not known here"),
        ("[job]\negress = 'all'\n", "line 6: [job] egress"),
        (
            "[[schedule]]\nname = 'a'\ncron = '0 0 * * *'\n[[schedule]]\nname = 'b'\n",
            "line 8: [schedule] 1.cron is missing",
        ),
        ("[[schedule]]\nname = 'a'\ncron = 'daily'\n", 'line 7: [schedule] 0.cron = "daily" is not cron'),
        ("[[schedule]]\nname = 'a'\ncron = '0 0 * * *'\ntime_zone = 'Seoul'\n", "line 8: [schedule] 0.time_zone"),
        ("[sweep]\nevery = '7m'\n", 'line 6: [sweep] every = "7m" must divide an hour or a day'),
        ("[vm]\nsecrets = { 'BAD NAME' = 'x' }\n", "line 6: [vm] secrets.BAD NAME"),
        ("[vm]\nservice_account = 'me'\n", 'line 6: [vm] service_account = "me" is not the email'),
        ("[vm]\nsource = 'https://x/y'\n", "[vm] ref is missing"),
        ("[[schedule]]\nname='a'\ncron='0 0 * * *'\n[[schedule]]\nname='a'\ncron='0 0 * * *'\n", "more than once"),
        ("[[schedule]]\nname='sweep'\ncron='0 0 * * *'\n", "the sweeper's own"),
        ("agent_reach = 'internal'\n[job]\negress = 'default'\n", "does not reach the agent"),
        ("timeout = '8d'\n", "longer than a Cloud Run task can follow: 6d"),
    ],
)
def test_what_is_wrong_is_told_with_its_line_and_its_name(text: str, said: str) -> None:
    assert said in refused(text)


def test_all_that_is_wrong_is_told_at_once() -> None:
    text = refused("[vm]\ndisk_gb = 1\n[job]\nmax_retries = 99\n[[schedule]]\n")
    assert all(name in text for name in ("disk_gb", "max_retries", "0.name", "0.cron"))


def test_the_environment_comes_before_the_file() -> None:
    Path("mayfly.toml").write_text(GOOD + "[vm]\ndisk_gb = 20\nspot = false\n[job]\nimage = 'in/the/file'\n")
    environment = {"MAYFLY_VM_DISK_GB": "30", "MAYFLY_VM_SPOT": "true", "MAYFLY_VM_EXTRAS": "agent, containers"}
    environment |= {"MAYFLY_VM_SECRETS": '{"A": "b"}', "MAYFLY_IMAGE": "x@sha256:y", "MAYFLY_JOB": "main:run"}
    config = read_config(environment)
    assert (config.vm.disk_gb, config.vm.spot, config.vm.extras) == (30, True, ["agent", "containers"])
    assert (config.vm.secrets, config.job.image) == ({"A": "b"}, "x@sha256:y")


def test_a_wrong_variable_is_told_by_its_own_name() -> None:
    assert "MAYFLY_VM_DISK_GB=lots must be a valid integer" in refused("", {"MAYFLY_VM_DISK_GB": "lots"})


def test_no_variable_of_a_table_is_a_setting_s_too() -> None:
    names = [variable(table, field) for table, kind in KINDS.items() for field in kind.model_fields]
    assert not {name.lower() for name in names} & Settings.model_fields.keys()
    assert len(names) == len(set(names))


def test_the_example_that_ships_is_the_one_that_is_made_from_the_descriptions() -> None:
    assert SHIPPED.read_text() == document(EXAMPLE), "python -m mayfly.deploy.document > examples/mayfly.toml"


def test_the_example_names_everything_that_can_be_set_and_is_right_with_its_comments_taken_off() -> None:
    """Each name stands there once, as a value or as a comment, and every default is one that is taken."""
    lines = SHIPPED.read_text().splitlines()
    entries = [line.removeprefix("# ") for line in lines if " = " in line and line.removeprefix("# ")[0] != "`"]
    assigned = [line for line in entries if line.partition(" = ")[0].isidentifier()]
    fields = [*setting_names(), *(field for kind in KINDS.values() for field in kind.model_fields)]
    assert sorted(line.partition(" = ")[0] for line in assigned) == sorted(fields)
    for line in assigned:
        tomllib.loads(line)
    Path("mayfly.toml").write_text(SHIPPED.read_text())
    config = read_config({})
    assert config.vm.secrets == {"EXCHANGE_KEY": "exchange-key"}
    assert config.schedules[0].once_per == "1d"


def test_every_setting_is_in_the_example_but_for_secrets_emulators_and_what_cloud_run_sets() -> None:
    missing = set(Settings.model_fields) - set(setting_names())
    expected = {"agent_key", "notify_url", "mayfly_certs_url", "gce_metadata_host"}
    assert missing == expected | {name for name in missing if name.endswith("emulator_host") or "cloud_run" in name}
    assert set(KINDS) == set(TABLES)


@pytest.mark.parametrize(("every", "cron"), [("10m", "*/10 * * * *"), ("1h", "0 */1 * * *"), ("1d", "0 0 * * *")])
def test_a_rhythm_becomes_cron(every: str, cron: str) -> None:
    assert cron_of(every) == cron


names = st.sampled_from(["a", "b", "c"])


@given(
    st.dictionaries(
        st.sampled_from(["vm", "job", "sweep"]), st.dictionaries(names, st.integers(), min_size=1), min_size=1
    )
)
def test_the_line_of_every_value_is_the_line_that_it_stands_in(tables: dict[str, dict[str, Any]]) -> None:
    lines: list[str] = []
    where = {}
    for table, values in tables.items():
        lines.append(f"[{table}]")
        for name, value in values.items():
            lines.append(f"{name} = {value}")
            where[table, name] = len(lines)
    assert tomllib.loads("\n".join(lines)) == tables
    assert {location: line_of("\n".join(lines), location) for location in where} == where


def with_cron(cron: str) -> str:
    return f"[[schedule]]\nname = 'a'\ncron = '{cron}'\n"


@pytest.mark.parametrize(
    "cron", ["0 9 * * 1-5", "*/5 0,12 1-7/2 JAN-Mar sun", "59 23 31 12 7", "0-30/10 * * feb mon,fri"]
)
def test_a_cron_is_kept_as_it_is_written(cron: str) -> None:
    Path("mayfly.toml").write_text(GOOD + with_cron(cron))
    assert read_config({}).schedules[0].cron == cron


@pytest.mark.parametrize(
    ("cron", "wrong"),
    [
        ("0 9 * * 15", "15 is no weekday, which goes from 0 to 7"),
        ("60 9 * * 1", "60 is no minute"),
        ("0 24 * * 1", "24 is no hour"),
        ("0 0 0 * 1", "0 is no day"),
        ("0 0 * 13 1", "13 is no month"),
        ("0 0 * * 5-1", "5-1 is no weekday"),
        ("*/0 * * * *", "*/0 is no minute"),
        ("0 mon * * *", "mon is no hour"),
        ("0 1, * * *", "1, is no hour"),
        ("0 9 * *", "five fields"),
    ],
)
def test_a_cron_that_cannot_tick_is_refused_with_the_field_that_is_wrong(cron: str, wrong: str) -> None:
    assert wrong in refused(with_cron(cron))


@pytest.mark.parametrize("user", ["s3cr3t", "me:s3cr3t", "x-access-token:s3cr3t"])
def test_a_source_with_a_token_in_it_is_refused_and_the_token_is_not_told(user: str) -> None:
    source = f"https://{user}@github.com/me/my-bot"
    in_the_file = refused(f"[vm]\nsource = '{source}'\nref = 'v1'\n")
    in_the_environment = refused("[vm]\nref = 'v1'\n", {"MAYFLY_VM_SOURCE": source})
    for said in (in_the_file, in_the_environment):
        assert "has a user in it, or a password" in said
        assert "s3cr3t" not in said


def test_a_source_by_ssh_names_its_user_and_keeps_it() -> None:
    Path("mayfly.toml").write_text(GOOD + "[vm]\nsource = 'ssh://git@github.com/me/bot'\nref = 'v1'\n")
    assert read_config({}).vm.source == "ssh://git@github.com/me/bot"


@pytest.mark.parametrize("machine_type", ["a2-ultragpu-1g", "a3-highgpu-8g", "c3-standard-4-lssd"])
def test_a_machine_type_with_local_ssds_is_refused_and_one_without_is_not(machine_type: str) -> None:
    assert "has local SSDs in it" in refused(f"[vm]\nmachine_type = '{machine_type}'\n")
    Path("mayfly.toml").write_text(GOOD + "[vm]\nmachine_type = 'a2-highgpu-1g'\n")
    assert read_config({}).vm.has_gpu
