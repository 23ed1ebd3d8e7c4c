"""The command line, and what a person runs."""
