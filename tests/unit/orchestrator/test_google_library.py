"""The quick way to import google-cloud-compute gives what the slow way gives."""

import json
import subprocess
import sys
from typing import Any

SEEN = """
import json, sys
{first}
from orchestrator import google_library as quick
half = "google.cloud.compute_v1.services.disks" in sys.modules
from google.cloud import compute_v1
print(json.dumps({{
    "services_we_do_not_use_were_loaded": half,
    "same": [
        compute_v1.InstancesClient is quick.InstancesClient,
        compute_v1.AddressesClient is quick.AddressesClient,
        compute_v1.ZoneOperationsClient is quick.ZoneOperationsClient,
        compute_v1.Instance is quick.compute.Instance,
    ],
    "the_rest": hasattr(compute_v1, "DisksClient") and hasattr(compute_v1, "__version__"),
}}))
"""
BREAK_THE_QUICK_WAY = """
import importlib.util
def broken(*_):
    raise AttributeError("a version where this does not work")
importlib.util.module_from_spec = broken
"""


def seen(first: str = "") -> dict[str, Any]:
    """What a process of its own sees: an import happens once."""
    command = [sys.executable, "-c", SEEN.format(first=first)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return dict(json.loads(ended.stdout))


def test_only_the_services_we_use_are_loaded_until_somebody_asks_for_more() -> None:
    assert seen() == {"services_we_do_not_use_were_loaded": False, "same": [True] * 4, "the_rest": True}


def test_a_library_that_is_loaded_already_is_used_as_it_is() -> None:
    first = "import google.cloud.compute_v1"
    assert seen(first) == {"services_we_do_not_use_were_loaded": True, "same": [True] * 4, "the_rest": True}


def test_where_the_quick_way_does_not_work_the_slow_one_does() -> None:
    assert seen(BREAK_THE_QUICK_WAY) == {
        "services_we_do_not_use_were_loaded": True,
        "same": [True] * 4,
        "the_rest": True,
    }
