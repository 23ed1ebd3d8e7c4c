"""startup.sh with the agent of this checkout: all that it does on a VM but fetching code and dependencies."""

import sys
from pathlib import Path

from tests.journeys.lab import APP, CHECKOUT


def startup_script() -> str:
    """Its dead-man looks each second, and allows a pulse to be a second late."""
    prelude = "#!/bin/bash\nmkdir -p $MAYFLY_ROOT/opt/mayfly/src && touch $MAYFLY_ROOT/opt/mayfly/src/pyproject.toml\n"
    script = (CHECKOUT / "startup.sh").read_text()
    for old, new in (
        ("venv=$root/opt/mayfly/venv", f"venv={Path(sys.prefix)}"),
        ("    enter dependencies install_dependencies\n", ""),
        (
            '    setting PATH "',
            f'    setting MAYFLY_APP "{APP}"\n    setting PYTHONPATH "{CHECKOUT}"\n    setting PATH "',
        ),
        ("off - now < 5 ? off - now : 5", "1"),
        ("margin=10", "margin=1"),
        (
            "        now=$(boot_seconds)\n        if",
            '        now=$(boot_seconds)\n        echo "looked: $why"\n        if',
        ),
    ):
        assert script.count(old) == 1, old
        script = script.replace(old, new)
    return prelude + script
