"""The pages for readers: what they link to is there, and each decision has its parts. `make docs` checks the site."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("deploy/*.md"),
        *ROOT.glob("client/*.md"),
        *ROOT.glob("examples/**/*.md"),
        *ROOT.glob("plugins/**/README.md"),
    ]
)
DECISIONS = sorted(ROOT.glob("docs/decisions/0*.md"))
PARTS = ["Context", "Decision", "Consequences", "Measured by"]


def text_of(page):
    """A page without its examples."""
    return re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchor(heading):
    """Where a heading can be linked to."""
    return re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", heading).strip().lower()).replace(" ", "-")


def broken_links(page):
    for target in re.findall(r"\]\(([^()\s]+)\)", text_of(page)):
        path, _, heading = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = page.parent / path if path else page
        if not file.exists() or (heading and anchor_is_missing(file, heading)):
            yield target


def anchor_is_missing(file, heading):
    return heading not in map(anchor, re.findall(r"^#+ (.*)$", text_of(file), re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_each_link_of_a_page_leads_to_a_file_and_a_heading(page):
    assert list(broken_links(page)) == []


def test_a_link_to_nothing_is_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# One\n[a](#one) [b](page.md#one) [c](#two) [d](none.md) [e](page.md#two) [f](https://acme.test/)\n"
    )
    assert list(broken_links(page)) == ["#two", "none.md", "page.md#two"]


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_a_decision_has_its_number_its_status_its_code_and_its_parts(page):
    text = page.read_text("utf-8")
    assert text.startswith(f"# {page.stem[:4]}. ")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == PARTS
    assert all(part.strip() for part in re.split(r"^## .*$", text, flags=re.MULTILINE))
    status, code = re.search(r"^Status: (.+?)\. Code: `(.+)`\.$", text, re.MULTILINE).groups()
    assert re.match(r"in force|withdrawn: ", status)
    assert (ROOT / code).exists()


def test_the_table_of_decisions_names_each_page_and_no_other_with_its_title_and_status():
    table = re.findall(
        r"^\| \[(\d{4})\]\((.+?)\) \| (.+?) \| (.+?) \|$",
        (ROOT / "docs/decisions/README.md").read_text("utf-8"),
        re.MULTILINE,
    )
    pages = []
    for page in DECISIONS:
        number, title = re.match(r"# (\d{4})\. (.*)", page.read_text("utf-8")).groups()
        status = re.search(r"^Status: (in force|withdrawn)", page.read_text("utf-8"), re.MULTILINE)[1]
        pages.append((number, page.name, title, status))
    assert len(pages) >= 41
    assert sorted(table) == pages
    assert [number for number, *_ in pages] == [f"{n:04}" for n in range(1, len(pages) + 1)]
