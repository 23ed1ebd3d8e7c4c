"""The inside of an emulated VM: real processes, kept away from the machine underneath."""

from gcp_emulator.guest.guest import Guest, Machine
from gcp_emulator.guest.isolation import Isolation, strongest_isolation

__all__ = ["Guest", "Isolation", "Machine", "strongest_isolation"]
