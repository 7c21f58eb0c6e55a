"""`gateway plugins` shows what is installed, `gateway plugin new` begins one."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from pathlib import Path
from string import Template
from typing import Any

import click

from gateway.app import build
from gateway.cli.common import as_json, echo_json, show
from gateway.config import load
from gateway.defaults import NAME
from gateway.host import ENTRY_POINTS

#: What a new plugin begins with: files whose names end in `.txt` more, with `$name` and `$title` in them.
SKELETON = Path(__file__).with_name("skeleton")
_NAME = re.compile(r"[a-z][a-z0-9]*")


@click.command()
@as_json
def plugins(as_json: bool) -> None:
    """Show the plugins that this instance loads, with their hooks."""
    gateway = build(load())
    found: list[dict[str, Any]] = [
        {"name": plugin.name, "version": plugin.version, "idp": plugin.idp, "hooks": list(plugin.hooks)}
        for plugin in gateway.host.declared.plugins()
    ]
    if as_json:
        echo_json(found)
        return
    rows = [
        [each["name"], each["version"], "yes" if each["idp"] else "", ", ".join(each["hooks"])]
        for each in found
    ]
    show("Plugins", ("name", "version", "IdP", "hooks"), rows)


@click.group()
def plugin() -> None:
    """Write a plugin."""


@plugin.command()
@click.argument("name")
@click.option("--into", type=click.Path(path_type=Path), metavar="FOLDER", help="Default: ./gateway-NAME")
def new(name: str, into: Path | None) -> None:
    """Write a plugin for an identity provider to start from: it works, and its tests pass.

    NAME is what connections are made with and how the plugin is known: lower-case letters and digits.
    """
    if not _NAME.fullmatch(name):
        raise click.ClickException(
            f"{name!r} cannot be the name of a plugin: take lower-case letters and digits, a letter first, as in acme."
        )
    if name == NAME or name in {point.name for point in entry_points(group=ENTRY_POINTS)}:
        raise click.ClickException(f"A plugin called {name} is installed already; take another name.")
    folder = into or Path(f"gateway-{name}")
    if folder.exists() or folder.is_symlink():
        raise click.ClickException(f"{folder} exists already; name another folder with --into.")
    words = {"name": name, "title": name.title()}
    for template in sorted(SKELETON.rglob("*.txt")):
        path = folder / str(template.relative_to(SKELETON).with_suffix("")).replace("NAME", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Template(template.read_text("utf-8")).substitute(words), "utf-8")
    click.echo(f"Wrote {folder}. Now: pip install -e {folder} && pytest {folder}")
