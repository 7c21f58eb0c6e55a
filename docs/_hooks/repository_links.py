"""MkDocs hook: takes pages from outside of docs/ into the site, and checks what the pages refer to.

Pages are written for the repository: `../plugins/README.md` is a file there. A link to a page of the site is rewritten
to its place in the site; a link to any other file of the repository becomes text, since the site does not hold it.
A link to nothing, and what a browser would fetch from another host, is a warning: `--strict` makes it an error.
"""

from __future__ import annotations

import logging
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
#: Below the root of the repository, and their places in the site where these differ.
OUTSIDE = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "deploy/README.md",
    "client/README.md",
    "examples/application/README.md",
    "plugins/**/README.md",
)
PLACES = {"README.md": "overview.md"}

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+)\)")
_FETCHED = re.compile(
    r"<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)=[\"']?((?:https?:)?//[^\"'\s>]+)"
)

log = logging.getLogger("mkdocs.hooks.repository_links")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside of docs/."""
    for pattern in OUTSIDE:
        for path in sorted(ROOT.glob(pattern)):
            source = path.relative_to(ROOT).as_posix()
            if "." not in {part[0] for part in source.split("/")}:
                files.append(File.generated(config, PLACES.get(source, source), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite links from the places of the repository to those of the site."""
    places = {_source(file): file.src_uri for file in files}
    here = page.file.src_uri

    def rewritten(match: re.Match[str]) -> str:
        mark, text, target = match.groups()
        path, hash_, anchor = target.partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return match[0]
        named = posixpath.normpath(posixpath.join(posixpath.dirname(_source(page.file)), path))
        place = places.get(named) or places.get(f"{named}/README.md")
        if place:
            return f"{mark}[{text}]({posixpath.relpath(place, posixpath.dirname(here))}{hash_}{anchor})"
        if not (ROOT / named).exists():
            log.warning("%s links to %r, which is not in the repository", here, target)
        return text

    return _LINK.sub(rewritten, markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Warn of what a browser would fetch from another host: readers of the site are seen by nobody else."""
    for address in _FETCHED.findall(output):
        log.warning("%s fetches %s", page.file.src_uri, address)
    return output


def _source(file: File) -> str:
    """Where a file of the site lies in the repository."""
    path = Path(file.abs_src_path) if file.abs_src_path else None
    return path.relative_to(ROOT).as_posix() if path and path.is_relative_to(ROOT) else ""
