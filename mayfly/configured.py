"""mayfly.toml with its tables, for commands that look on from here."""

import os

from mayfly.deploy.config import Config, read_config
from mayfly.ready import check_ready


def configured(**flags: object) -> Config:
    """All of it. BadUsage, also where no emulator answers at the place that the settings name."""
    config = read_config(os.environ, **flags)
    check_ready(config.settings.model_copy(update={"out": None}))  # nothing is copied
    return config
