"""An emulator of the part of Google Cloud that Mayfly uses, whose VMs really run their startup scripts."""
