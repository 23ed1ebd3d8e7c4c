"""Where in a TOML text something stands: tomllib tells the lines of its own errors, and no others."""

import re


def line_of(text: str, location: tuple[str | int, ...]) -> int | None:
    """The line of ("vm", "disk_gb") or ("schedule", 0, "cron"), counted from 1; else that of its table's heading."""
    table, *inner = location
    index = inner.pop(0) if inner and isinstance(inner[0], int) else None
    wanted, best, here, seen = [str(part) for part in inner], None, None, -1
    for number, line in enumerate(text.splitlines(), 1):
        if heading := re.match(r"\s*\[{1,2}\s*([^\]]+?)\s*\]", line):
            here = [part.strip().strip("\"'") for part in heading[1].split(".")]
            seen += heading[1] == table and line.lstrip().startswith("[[")
            if here == [table] and index in {None, seen}:
                best = best or number
            continue
        assigned = re.match(r"\s*([\w.\"'-]+)\s*=", line)
        if here is None or assigned is None or here[0] != table or index not in {None, seen}:
            continue
        path = here[1:] + [part.strip("\"'") for part in assigned[1].split(".")]
        if wanted and path == wanted[: len(path)]:
            return number
    return best
