"""A deployment without webhooks pays nothing for them: their libraries are imported where the first one is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
import gateway.app
import gateway.provisioning.webhooks.sender
import gateway.provisioning.webhooks.messages
app = gateway.app.create_app({"instance": sys.argv[1]})
app.extensions["gateway"].worker.stop()
late = ("requests", "urllib3", "requests_hardened", "standardwebhooks", "joserfc", "certifi")
print(*sorted(name for name in late if name in sys.modules))
"""


def test_an_app_is_built_without_the_libraries_of_webhooks(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
