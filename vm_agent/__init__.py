"""The agent inside the VM: accepts a run at most once, executes it, and shows how it ended."""
