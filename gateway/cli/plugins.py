"""`gateway plugins` lists the plugins of this instance, `gateway plugin new` creates one from a skeleton."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from pathlib import Path
from string import Template
from typing import Any

import click

from gateway.app import build
from gateway.cli.common import as_json, echo_json, print_table
from gateway.config import load
from gateway.plugin.builtin import NAME
from gateway.plugin.manager import ENTRY_POINTS

#: The templates of a new plugin, a folder for each kind and one in common: their names end in an additional `.txt`, and
#: they hold placeholders like `$name`.
SKELETON = Path(__file__).with_name("skeleton")
#: By kind of plugin: its summary in a line, and the data files of its package.
KINDS = {
    "idp": ("its dialect, its setup steps, its recorded conversations", ("py.typed", "transcripts/*.json")),
    "listener": ("what happens after a change", ("py.typed",)),
    "auth": ("authentication of its requests, and its setup steps", ("py.typed",)),
}
_NAME = re.compile(r"[a-z][a-z0-9]{0,39}")
_TITLE_LENGTH = 60
#: Characters that would end a string or begin a placeholder in one of the files that hold the title.
_FORBIDDEN_IN_TITLES = '"\\{}$%|`<>'


@click.command()
@as_json
def plugins(as_json: bool) -> None:
    """Show the plugins that this instance loads, with their hooks."""
    gateway = build(load(make_key=False))
    found: list[dict[str, Any]] = [
        {"name": plugin.name, "version": plugin.version, "idp": plugin.idp, "hooks": list(plugin.hooks)}
        for plugin in gateway.plugins.declared.plugins()
    ]
    if as_json:
        echo_json(found)
        return
    rows = [
        [each["name"], each["version"], "yes" if each["idp"] else "", ", ".join(each["hooks"])]
        for each in found
    ]
    print_table("Plugins", ("name", "version", "IdP", "hooks"), rows)


@click.group()
def plugin() -> None:
    """Write a plugin."""


@plugin.command()
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(list(KINDS)),
    default="idp",
    show_default=True,
    help="idp: an identity provider and its dialect. listener: handles changes. auth: another way to authenticate.",
)
@click.option("--title", help="How people call it. Default: NAME, capitalized")
@click.option("--into", type=click.Path(path_type=Path), metavar="FOLDER", help="Default: ./gateway-NAME")
def new(name: str, kind: str, title: str | None, into: Path | None) -> None:
    """Write a plugin to start from: it works, and its tests pass.

    NAME is how the plugin is known, and what connections are made with where it is an identity provider: lower-case
    letters and digits.
    """
    _check_name(name)
    title = _check_title(name.title() if title is None else title)
    folder = into or Path(f"gateway-{name}")
    if folder.exists() or folder.is_symlink():
        raise click.ClickException(f"{folder} exists already; name another folder with --into.")
    summary, data = KINDS[kind]
    placeholders = {"name": name, "title": title, "class_name": name.title(), "summary": summary}
    files = _render_skeleton(kind, placeholders | {"data": "\n    ".join(data)})
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, "utf-8")
    click.echo(f"Wrote {folder}. Now: pip install -e {folder} && pytest {folder}")


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise click.ClickException(
            f"{name!r} cannot be the name of a plugin: take lower-case letters and digits, a letter first and 40 at"
            " most, as in acme."
        )
    if name == NAME or name in {point.name for point in entry_points(group=ENTRY_POINTS)}:
        raise click.ClickException(f"A plugin called {name} is installed already; take another name.")


def _check_title(title: str) -> str:
    title = title.strip()
    if not title:
        raise click.ClickException("The title of a plugin cannot be empty.")
    if len(title) > _TITLE_LENGTH:
        raise click.ClickException(
            f"The title of a plugin has {len(title)} characters; take {_TITLE_LENGTH} at most."
        )
    wrong = next(
        (letter for letter in title if letter in _FORBIDDEN_IN_TITLES or not letter.isprintable()), None
    )
    if wrong is not None:
        raise click.ClickException(
            f"The title of a plugin cannot hold {wrong!a}: take one line of text without"
            f" {' '.join(_FORBIDDEN_IN_TITLES)}."
        )
    return title


def _render_skeleton(kind: str, placeholders: dict[str, str]) -> dict[str, str]:
    """Return the text of each file of a new plugin by its path."""
    files = {}
    for source in (SKELETON / "common", SKELETON / kind):
        for template in sorted(source.rglob("*.txt")):
            path = str(template.relative_to(source).with_suffix("")).replace("NAME", placeholders["name"])
            files[path] = Template(template.read_text("utf-8")).substitute(placeholders)
    return files
