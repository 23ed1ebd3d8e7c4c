"""A project set up from one file: `mayfly init`, `mayfly deploy`, `mayfly destroy`.

tables      what mayfly.toml says of VM, job, schedules, sweep and firewall
config      the tables and the run's settings, read together, every error with its line
wanted      from the config to the resources, in the order they are made
resource    what a resource is: looked at, compared, made, changed, removed
plan        wanted against seen: pure
carry_out   one loop that looks, acts, and looks again until nothing differs
"""
