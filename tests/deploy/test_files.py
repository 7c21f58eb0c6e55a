"""The files of deploy/, each looked at by the program it is for. What is not installed here is left out."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
PATH = "/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin:/usr/local/sbin"


def program(name: str) -> str:
    found = shutil.which(name, path=PATH)
    if not found:
        pytest.skip(f"{name} is not installed")
    return found


def test_haproxy_takes_its_file(tmp_path: Path) -> None:
    haproxy, openssl, key = program("haproxy"), program("openssl"), tmp_path / "key.pem"
    certificate = tmp_path / "certificate.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", str(key), "-out", str(certificate), "-days", "1", "-subj", "/CN=scim.acme.test"],
        check=True, capture_output=True,
    )  # fmt: skip
    both = tmp_path / "both.pem"
    both.write_text(certificate.read_text() + key.read_text())
    text = (DEPLOY / "haproxy.cfg").read_text().replace("/etc/haproxy/scim.acme.test.pem", str(both))
    (tmp_path / "haproxy.cfg").write_text(text)
    looked = subprocess.run([haproxy, "-c", "-f", tmp_path / "haproxy.cfg"], capture_output=True, text=True)
    assert (looked.returncode, "WARNING" in looked.stderr) == (0, False), looked.stderr


def test_systemd_takes_its_unit(tmp_path: Path) -> None:
    analyze, unit = program("systemd-analyze"), tmp_path / "gateway.service"
    unit.write_text((DEPLOY / "gateway.service").read_text().replace("/opt/gateway/bin/gateway", "/bin/true"))
    looked = subprocess.run([analyze, "verify", unit], capture_output=True, text=True)
    assert (looked.returncode, looked.stderr) == (0, "")


def test_an_installed_gateway_brings_its_migrations(tmp_path: Path) -> None:
    """What the image and the unit run is no checkout: files that belong to no package are easily left out."""
    setup = (DEPLOY.parent / "setup.cfg").read_text()
    listed = re.search(r"gateway\.store\.engine =\n    (\S+)", setup)
    assert listed
    engine = DEPLOY.parent / "gateway" / "store" / "engine"
    assert set(engine.glob(listed[1])) == set((engine / "migrations").glob("*.py")) != set()
