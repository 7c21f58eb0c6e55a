"""Charts: their numbers add up, their text is escaped, and nothing in them needs a style attribute or a script."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from markupsafe import Markup

from gateway.provisioning.history import CallsOfDay, SeatsOfDay
from gateway.web.console import charts
from gateway.web.console.charts import calls_chart, seats_chart

FIRST = date(2026, 11, 22)
CALLS = [(0, 0, 0), (120, 4, 9), (80, 30, 0), (0, 0, 0), (3000, 2, 1), (10, 0, 25), (42, 8, 3)]
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)> {0} %s {{7*7}} &amp;"


def calls(rows: Sequence[tuple[int, int, int]] = CALLS) -> list[CallsOfDay]:
    return [CallsOfDay(FIRST + timedelta(days=place), *row) for place, row in enumerate(rows)]


def seats(*rows: tuple[int | None, int | None]) -> list[SeatsOfDay]:
    return [SeatsOfDay(FIRST + timedelta(days=place), *row) for place, row in enumerate(rows)]


def parsed(chart: Markup) -> ET.Element:
    """The chart as XML, which is stricter than HTML."""
    return ET.fromstring(chart)


def words(chart: Markup, path: str) -> list[str]:
    return ["".join(element.itertext()) for element in parsed(chart).iterfind(path)]


def column(chart: Markup, place: int) -> list[int]:
    cells = [row[place].text or "" for row in parsed(chart).iterfind(".//tbody/tr")]
    return [int(cell.replace(",", "")) for cell in cells]


def test_numbers_of_calls_add_up() -> None:
    chart = calls_chart(calls())
    totals = [sum(row[place] for row in CALLS) for place in range(3)]
    assert [sum(column(chart, place)) for place in (1, 2, 3)] == totals
    assert words(chart, ".//tfoot//td") == [f"{total:,}" for total in totals]
    assert words(chart, ".//li") == [" Carried out: 3,252", " In part: 44", " Refused: 38"]
    (description,) = words(chart, ".//desc")
    assert description.startswith("3,334 calls: 3,252 carried out, 44 in part, 38 refused.")
    assert "Most were refused on Fri 27 Nov: 25." in description
    shown = words(chart, "./svg/text")
    assert shown[7:] == [f"{sum(row):,}" for row in CALLS]
    assert shown[:7] == ["Sun 22", "Mon 23", "Tue 24", "Wed 25", "Thu 26", "Fri 27", "Sat 28"]


def test_segments_of_a_bar_are_as_high_as_their_share_and_never_nothing() -> None:
    chart = parsed(calls_chart(calls([(5000, 0, 1), (2500, 0, 0), (0, 0, 5001)])))
    heights = [
        (rect[0].text, float(rect.attrib["height"])) for rect in chart.iterfind("./svg/rect") if len(rect)
    ]
    assert [text for text, _ in heights] == [
        "Sun 22 Nov: 5,000 carried out", "Sun 22 Nov: 1 refused", "Mon 23 Nov: 2,500 carried out",
        "Tue 24 Nov: 5,001 refused",
    ]  # fmt: skip
    high = dict(heights)
    assert high["Sun 22 Nov: 5,000 carried out"] == pytest.approx(
        2 * high["Mon 23 Nov: 2,500 carried out"], abs=0.1
    )
    assert high["Sun 22 Nov: 1 refused"] == 3
    tops = [float(rect.attrib["y"]) for rect in chart.iterfind("./svg/rect")]
    assert min(tops) > 14  # there is room for the total above the highest bar


def test_each_outcome_has_a_pattern_of_its_own() -> None:
    chart = parsed(calls_chart(calls(), name="week"))
    patterns = {pattern.attrib["id"]: len(list(pattern)) for pattern in chart.iterfind(".//pattern")}
    fills = {rect.attrib["fill"] for rect in chart.iterfind(".//rect") if "fill" in rect.attrib}
    assert fills == {f"url(#{name})" for name in patterns}
    assert set(patterns) == {"week-done", "week-partial", "week-refused"}
    shapes = [[shape.tag for shape in pattern] for pattern in chart.iterfind(".//pattern")]
    assert len({tuple(each) for each in shapes}) == 3


def test_steps_of_seats_and_the_dashed_limit_end_at_their_numbers() -> None:
    chart = seats_chart(seats((None, None), (3, None), (3, 10), (7, 10), (10, 10), (12, 14)))
    lines = list(parsed(chart).iterfind("./svg/polyline"))
    dashed = [line for line in lines if "stroke-dasharray" in line.attrib]
    assert len(lines) == 2
    assert dashed == [lines[0]]
    used = [tuple(map(float, point.split(","))) for point in lines[1].attrib["points"].split()]
    assert len(used) == 10
    assert used[0][0] > 0  # nothing is known of the first day
    assert all(one[0] == other[0] or one[1] == other[1] for one, other in pairwise(used))
    assert words(chart, "./svg/text")[-3:] == ["12 in use", "14 limit", "3"]
    assert words(chart, ".//desc") == ["12 of 14 in use on Fri 27 Nov; 3 on Mon 23 Nov."]
    rows = [[cell.text for cell in row] for row in parsed(chart).iterfind(".//tbody/tr")]
    assert rows[0] == ["Sun 22 Nov", "–", "–"]
    assert rows[-1] == ["Fri 27 Nov", "12", "14"]


@pytest.mark.parametrize("last", [(10, 10), (9, 10), (11, 10), (0, 0), (0, 1), (1, 0)])
def test_numbers_at_the_end_never_overlap(last: tuple[int, int]) -> None:
    chart = parsed(seats_chart(seats((9, 10), last)))
    places = [float(text.attrib["y"]) for text in chart.iterfind("./svg/text") if text.attrib["x"] == "278"]
    assert len(places) == 2
    assert abs(places[0] - places[1]) > 14.9
    assert max(places) <= 150


def test_days_before_the_first_call_are_named() -> None:
    unknown: list[tuple[int | None, int | None]] = [(None, None)] * 6
    assert "no calls before Sat 28 Nov" in words(seats_chart(seats(*unknown, (1, 2))), "./svg/text")
    assert "no calls before" not in seats_chart(seats((1, 2), (2, 2)))


def test_seats_without_a_limit_have_no_dashed_line() -> None:
    chart = seats_chart(seats((3, None), (4, None)))
    assert "stroke-dasharray" not in chart
    assert words(chart, "./svg/text")[-3:] == ["4 in use", "no limit", "3"]


@pytest.mark.parametrize("chart", [calls_chart(calls([(0, 0, 0)] * 7)), seats_chart(seats((None, None)))])
def test_chart_without_data_says_so(chart: Markup) -> None:
    assert words(chart, "./p") == ["No calls yet"]
    assert "<svg" not in chart


@pytest.mark.parametrize(
    "draw", [lambda of: calls_chart(calls(), of), lambda of: seats_chart(seats((1, 2)), of)]
)
def test_hostile_names_are_escaped(draw) -> None:
    chart = draw(HOSTILE)
    assert HOSTILE in words(chart, "./figcaption")[0]
    assert HOSTILE in words(chart, "./svg/title")[0]
    tags = {element.tag for element in parsed(chart).iter()}
    assert tags.isdisjoint({"script", "img"})
    assert "<script" not in chart


@pytest.mark.parametrize("chart", [calls_chart(calls()), seats_chart(seats((1, 2), (2, 2)))])
def test_picture_has_a_name_and_a_description_and_no_style(chart: Markup) -> None:
    (picture,) = parsed(chart).iterfind("./svg")
    texts = {element.attrib["id"]: element.text for element in picture if "id" in element.attrib}
    assert picture.attrib["role"] == "img"
    assert texts[picture.attrib["aria-labelledby"]]
    assert texts[picture.attrib["aria-describedby"]]
    assert words(chart, "./details/summary") == ["Numbers"]
    for element in parsed(chart).iter():
        assert not [name for name in element.attrib if name == "style" or name.startswith("on")]
    ids = [element.attrib["id"] for element in parsed(chart).iter() if "id" in element.attrib]
    assert len(ids) == len(set(ids))


def test_every_class_of_a_chart_is_in_its_stylesheet() -> None:
    sheet = (Path(charts.__file__).parent / "static" / "charts.css").read_text("utf-8")
    styled = set(re.findall(r"\.(chart[\w-]*)", sheet))
    drawn = calls_chart(calls()) + seats_chart(seats((1, 2)))
    used = {name for names in re.findall(r'class="([^"]*)"', drawn) for name in names.split()}
    assert styled == used
