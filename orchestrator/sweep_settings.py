"""What the user may set of a sweep: as of a run, but that no VM is named. It goes over the whole project."""

from pydantic import Field, ValidationInfo, field_validator

from orchestrator.settings import Settings


class SweepSettings(Settings):
    """The same names. Those that name one VM may be set, as a run in the same environment needs them; nobody looks."""

    zone: str = Field(default="", description="Not looked at.")
    instance: str = Field(default="", description="Not looked at.")

    @field_validator("zone")
    @classmethod
    def _a_zone(cls, name: str) -> str:
        return name

    @field_validator("region")
    @classmethod
    def _the_zones_region(cls, name: str, info: ValidationInfo) -> str:
        del info
        return name

    @field_validator("instance", "static_name")
    @classmethod
    def _a_resource(cls, name: str | None) -> str | None:
        return name

    @field_validator("static_name")
    @classmethod
    def _an_address_to_call(cls, name: str | None, info: ValidationInfo) -> str | None:
        del info  # each VM is called at the address that it has
        return name
