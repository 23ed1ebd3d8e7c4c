"""The `mayfly` command."""
