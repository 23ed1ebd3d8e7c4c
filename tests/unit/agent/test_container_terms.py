"""The terms of containers, as the VM's owner writes them."""

import pytest

from vm_agent.containers.terms import Terms, from_environment


def test_what_nobody_set() -> None:
    assert from_environment({"PATH": "/bin", "MAYFLY_CONTAINER_MEMORY": " "}) == Terms()
    assert (Terms.network, Terms.metadata) == (True, False)


def test_each_setting_is_taken() -> None:
    said = {
        "DOCKER_HOST": "unix:///run/other.sock",
        "MAYFLY_CONTAINER_NETWORK": "off",
        "MAYFLY_JOB_METADATA": "Allow",
        "MAYFLY_CONTAINER_GPU": "none",
        "MAYFLY_CONTAINER_PULL": "missing",
        "MAYFLY_CONTAINER_MEMORY": "3GiB",
        "MAYFLY_CONTAINER_CPUS": "1.5",
        "MAYFLY_CONTAINER_PIDS": "99",
        "MAYFLY_CONTAINER_ENV": "COIN_KEY, OTHER",
    }
    wanted = Terms("unix:///run/other.sock", False, True, "none", "missing", 3 << 30, 1.5, 99, ("COIN_KEY", "OTHER"))
    assert from_environment(said) == wanted


@pytest.mark.parametrize(
    ("text", "size"), [("512m", 512 << 20), ("8G", 8 << 30), ("7000kb", 7000 << 10), ("9000000", 9_000_000)]
)
def test_sizes(text: str, size: int) -> None:
    assert from_environment({"MAYFLY_CONTAINER_MEMORY": text}).memory_bytes == size


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DOCKER_HOST", "tcp://10.0.0.1:2375"),
        ("MAYFLY_CONTAINER_NETWORK", "host"),
        ("MAYFLY_JOB_METADATA", "no"),
        ("MAYFLY_CONTAINER_GPU", "2"),
        ("MAYFLY_CONTAINER_PULL", "sometimes"),
        ("MAYFLY_CONTAINER_MEMORY", "5m"),
        ("MAYFLY_CONTAINER_MEMORY", "-8g"),
        ("MAYFLY_CONTAINER_CPUS", "0"),
        ("MAYFLY_CONTAINER_CPUS", "nan"),
        ("MAYFLY_CONTAINER_PIDS", "0"),
        ("MAYFLY_CONTAINER_ENV", "A=1"),
        ("MAYFLY_CONTAINER_ENV", "MAYFLY_API_KEY"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=name):
        from_environment({name: value})
