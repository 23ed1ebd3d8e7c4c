"""`mayfly.toml`, as a source of settings."""

from pathlib import Path

from pydantic_settings import BaseSettings, TomlConfigSettingsSource

from orchestrator.errors import BadUsage

TOML_FILE = Path("mayfly.toml")
TABLES = ("vm", "job", "schedule", "sweep", "firewall")  # what `mayfly deploy` makes; a run passes them over


class MayflyToml(TomlConfigSettingsSource):
    """`mayfly.toml`, whose names may be written as in the environment, and must all be known."""

    def __init__(self, settings_cls: type[BaseSettings]):
        try:
            super().__init__(settings_cls, TOML_FILE)
        except ValueError as wrong:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
            raise BadUsage(f"{TOML_FILE} cannot be read: {wrong}") from wrong
        known = settings_cls.model_fields.keys()
        given = {name: value for name, value in self.init_kwargs.items() if name not in TABLES}
        self.init_kwargs = {name.lower(): value for name, value in given.items()}
        if unknown := sorted(self.init_kwargs.keys() - known):
            raise BadUsage(f"{TOML_FILE} sets what is no setting: {', '.join(unknown)}. Is it misspelt?")
