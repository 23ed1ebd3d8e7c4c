"""What `mayfly init` asks, and where its suggestions come from: the environment, gcloud, the git checkout."""

import configparser
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mayfly.deploy.tables import Vm

Ask = Callable[[str, str], str]  # a question and the suggested answer -> the answer
_ZONE, _REGIONLESS = "us-central1-a", ""
_USER = re.compile(r"^(https?://)[^/]*@", re.IGNORECASE)
_CRON, _WINDOW = "30 6 * * *", "1d"


def asked(ask: Ask, environment: Mapping[str, str], home: Path, folder: Path) -> dict[str, Any]:
    """The answers, as `document` takes them. Who answers nothing has taken what was suggested."""
    project = ask("The project's id", suggested_project(environment, home) or "")
    zone = ask("The zone of the VM", environment.get("ZONE") or gcloud(environment, home, "compute", "zone") or _ZONE)
    values: dict[str, Any] = {
        "project_id": project,
        "zone": zone,
        "instance": ask("The VM's name", environment.get("INSTANCE") or "gpu-vm"),
        "static_name": ask("The name of its static IP", environment.get("STATIC_NAME") or "gpu-ip"),
        "mayfly_job": ask("The job: module:function, or image:REF", environment.get("MAYFLY_JOB") or "main:run"),
        "timeout": ask("How long it may take", environment.get("TIMEOUT") or "1h"),
    }
    source, ref = checkout(folder)
    machine = ask("The machine type; g2-standard-4 has a GPU", Vm().machine_type)
    image: dict[str, str] = {}
    if Vm(machine_type=machine).has_gpu:  # the default image would boot, and no run would ever find the GPU
        image["image"] = ask(
            "The boot image, with the GPU's driver in it (PROJECT/FAMILY)", f"{project}/debian-with-driver"
        )
    values["vm"] = {
        "machine_type": machine,
        **image,
        "source": ask("The git repository that the VM runs", source),
        "ref": ask("The commit or tag of it", ref),
    }
    if (cron := ask("When it runs by itself (cron: minute hour day month weekday; - for never)", "-")) != "-":
        zone_name = ask("The time zone of that", "UTC")
        values["schedule"] = [{"name": "main", "cron": cron, "time_zone": zone_name, "once_per": _WINDOW}]
    return values


def under_the_emulator(environment: Mapping[str, str], me: str) -> dict[str, Any]:
    """Its names, and the job that needs nothing but this checkout: a recording becomes text. `me` may call, too."""
    from gcp_emulator.serve import CHECKOUT, DEMO_EXTRAS, commit  # noqa: PLC0415 - nobody else needs the emulator
    from mayfly.demo import PARAMS  # noqa: PLC0415

    names = ("project_id", "zone", "instance", "static_name")
    given = {name: environment.get(name.upper(), "") for name in names}
    vm = {"source": CHECKOUT.as_uri(), "ref": commit(CHECKOUT), "extras": DEMO_EXTRAS.split(), "callers": [me]}
    args = [word for name, value in PARAMS.items() for word in ("--set", f"{name}={value}")]
    return {
        **given,
        "mayfly_job": "vm_agent.jobs.transcribe:run",
        "vm": {"machine_type": "e2-medium", **vm},
        "job": {"args": args},
    }


def suggested_project(environment: Mapping[str, str], home: Path) -> str | None:
    """The one that the environment names, else gcloud's."""
    named = environment.get("PROJECT_ID") or environment.get("GOOGLE_CLOUD_PROJECT")
    return named or gcloud(environment, home, "core", "project")


def gcloud(environment: Mapping[str, str], home: Path, section: str, name: str) -> str | None:
    """What gcloud is set to, by its own variables and files; gcloud need not be there."""
    if value := environment.get(f"CLOUDSDK_{section}_{name}".upper()):
        return value
    folder = Path(environment.get("CLOUDSDK_CONFIG") or home / ".config" / "gcloud")
    try:
        active = environment.get("CLOUDSDK_ACTIVE_CONFIG_NAME") or (folder / "active_config").read_text("utf-8").strip()
        parser = configparser.ConfigParser(interpolation=None)
        parser.read_string((folder / "configurations" / f"config_{active}").read_text("utf-8"))
    except (OSError, ValueError, configparser.Error):
        return None
    return parser.get(section, name, fallback=None)


def checkout(folder: Path) -> tuple[str, str]:
    """Where the code here comes from, and its commit: what a VM can fetch without a key. Empty if there is none."""
    source, ref = _git(folder, "config", "--get", "remote.origin.url"), _git(folder, "rev-parse", "HEAD")
    if source.startswith("git@"):
        host, _, path = source.removeprefix("git@").partition(":")
        source = f"https://{host}/{path}"
    source = _USER.sub(r"\1", source)  # a token, as often as not
    return source.removesuffix(".git"), ref if source else ""


def _git(folder: Path, *arguments: str) -> str:
    try:
        found = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""
