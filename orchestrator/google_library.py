"""google-cloud-compute, without the hundred services that we do not use: the only module that imports it.

`import google.cloud.compute_v1` loads a client for every service of Compute Engine. Importing just one service module
does not help, for Python runs the package's `__init__` first. So the package is entered into `sys.modules` without
being run; its modules then import as usual. Whoever asks the package itself for something later (another library in
this process, a test) makes it run then, in full, with the same modules: nothing is ever loaded twice.

From Python 3.15 the package declares its own imports lazy, and all but the last lines of this file can go.
"""

import gc
import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

PACKAGE = "google.cloud.compute_v1"
SERVICES = ("addresses", "instances", "zone_operations")


def load() -> None:
    """Import the services that we use; the slow way if the quick one does not work with this version."""
    if PACKAGE in sys.modules:
        return
    collecting = gc.isenabled()
    gc.disable()  # thousands of classes, and no garbage: looking for some takes a tenth of the time
    try:
        _load_services(_enter_unrun_package())
    except (ImportError, AttributeError):
        sys.modules.pop(PACKAGE, None)  # what is loaded below it stays: protobuf takes each message only once
        importlib.import_module(PACKAGE)
    finally:
        if collecting:
            gc.enable()


def _enter_unrun_package() -> ModuleType:
    parent, _, name = PACKAGE.rpartition(".")
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None:
        raise ImportError(f"{PACKAGE} is not installed: install mayfly[orchestrator]")
    package = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = package
    setattr(sys.modules[parent], name, package)
    return package


def _load_services(package: ModuleType) -> None:
    for service in SERVICES:
        importlib.import_module(f"{PACKAGE}.services.{service}")

    def run_on_demand(name: str) -> Any:
        del package.__dict__["__getattr__"]
        importlib.reload(package)
        return getattr(package, name)

    package.__dict__["__getattr__"] = run_on_demand


load()

from google.cloud.compute_v1.services.addresses import AddressesClient  # noqa: E402 - only now
from google.cloud.compute_v1.services.instances import InstancesClient  # noqa: E402
from google.cloud.compute_v1.services.instances.transports import (  # noqa: E402
    InstancesRestInterceptor,
    InstancesRestTransport,
)
from google.cloud.compute_v1.services.zone_operations import ZoneOperationsClient  # noqa: E402
from google.cloud.compute_v1.types import compute  # noqa: E402


def region_operations_client() -> Any:
    """The class RegionOperationsClient, loaded when somebody asks: most runs change nothing that is regional."""
    return importlib.import_module(f"{PACKAGE}.services.region_operations").RegionOperationsClient


__all__ = [
    "AddressesClient",
    "InstancesClient",
    "InstancesRestInterceptor",
    "InstancesRestTransport",
    "ZoneOperationsClient",
    "compute",
    "region_operations_client",
]
