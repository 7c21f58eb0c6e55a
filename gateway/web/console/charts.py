"""Charts as SVG, each with the table of its numbers: calls by outcome, seats by day.

A policy without inline style holds on the page, so presentation attributes and the classes of `static/charts.css` do it
all. Outcomes differ by pattern, and by colour besides; lines are in the colour of the text, on any ground.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date

from markupsafe import Markup

from gateway.provisioning.history import CallsOfDay, SeatsOfDay

#: Units of the drawing: small enough for its text to be read where the page is 320 pixels wide.
_WIDTH, _TOP, _BOTTOM, _HEIGHT = 360, 22, 150, 172
#: Where the line of the seats ends, and the numbers of its end begin.
_PLOT_END = 272
#: Units between the lines of two numbers.
_LINE = 15
#: The least height of a segment: one refusal among thousands of calls is not lost.
_LEAST = 3
#: Days that have a label, at most.
_LABELS = 7
#: Units that the name and the number of a day take.
_DAY_WIDTH = 46
#: Each outcome with the words for it, from the bottom of a bar up.
_OUTCOMES = (("done", "Carried out"), ("partial", "In part"), ("refused", "Refused"))


def calls_chart(days: Sequence[CallsOfDay], of: str = "", name: str = "calls") -> Markup:
    """Draw the calls of days as bars by outcome, with a legend and a table.

    `of` is whose calls they are; `name` begins the ids, for a page with two such charts.
    """
    title = f"Calls{of and f' of {of}'} in the last {len(days)} days"
    totals = {outcome: sum(getattr(day, outcome) for day in days) for outcome, _ in _OUTCOMES}
    if not any(totals.values()):
        return _figure(title, [_element("p", "No calls yet")])
    drawing = [_patterns(name), *_axis([day.day for day in days], _WIDTH)]
    most, width = max(day.total for day in days), _WIDTH / len(days)
    labelled = _labelled(len(days))
    for place, day in enumerate(days):
        drawing += _bar(day, name, (place + 0.16) * width, width * 0.68, most, place in labelled)
    numbers = ", ".join(f"{totals[outcome]:,} {words.lower()}" for outcome, words in _OUTCOMES)
    worst = max(days, key=lambda day: day.refused)
    description = f"{sum(totals.values()):,} calls: {numbers}."
    if worst.refused:
        description += f" Most were refused on {_day(worst.day)}: {worst.refused:,}."
    legend = [_legend_entry(name, outcome, words, totals[outcome]) for outcome, words in _OUTCOMES]
    rows = [(day.day, [getattr(day, outcome) for outcome, _ in _OUTCOMES]) for day in days]
    table = _table([words for _, words in _OUTCOMES], rows, list(totals.values()))
    picture = _svg(name, title, description, drawing)
    return _figure(title, [picture, _element("ul", *legend, class_="chart-legend"), table])


def seats_chart(days: Sequence[SeatsOfDay], of: str = "", name: str = "seats") -> Markup:
    """Draw the seats in use as a line of steps, the limit as a dashed one, with a table.

    `of` and `name` as for `calls_chart`. Days of which nothing is known come before all others.
    """
    title = f"Seats{of and f' of {of}'} in the last {len(days)} days"
    known = [(place, day) for place, day in enumerate(days) if day.used is not None]
    if not known:
        return _figure(title, [_element("p", "No calls yet")])
    most = max(max(day.used or 0, day.limit or 0) for _, day in known) or 1
    width = _PLOT_END / len(days)
    drawing = _axis([day.day for day in days], _PLOT_END)
    for used, line in ((False, "chart-limit"), (True, "chart-used")):
        for run in _runs([(place, day.used if used else day.limit) for place, day in known]):
            points = [
                f"{x:g},{_height(value, most):g}"
                for place, value in run
                for x in (place * width, (place + 1) * width)
            ]
            dashes = {} if used else {"stroke_dasharray": "6 4"}
            drawing.append(
                _element("polyline", points=" ".join(points), fill="none", stroke="currentColor", class_=line, **dashes)
            )  # fmt: skip
    first, last = known[0][1], known[-1][1]
    drawing += _end_numbers(last, most)
    if known[0][0] > 1:
        drawing.append(_text(f"no calls before {_day(first.day)}", 2, _BOTTOM - 6))
    if first.used != last.used:
        x, y = known[0][0] * width, _height(first.used or 0, most)
        # Below its line where the limit is close above.
        close = first.limit is not None and 0 <= y - _height(first.limit, most) < _LINE + 5
        drawing.append(_text(_short(first.used or 0), x + 2, y + _LINE if close else y - 5))
    limit = "no limit" if last.limit is None else f"of {last.limit:,}"
    description = f"{last.used:,} {limit} in use on {_day(last.day)}; {first.used:,} on {_day(first.day)}."
    table = _table(["In use", "Limit"], [(day.day, [day.used, day.limit]) for day in days])
    return _figure(title, [_svg(name, title, description, drawing), table])


# Parts of a drawing ---------------------------------------------------------------------------------------------------


def _bar(day: CallsOfDay, name: str, x: float, width: float, most: int, total: bool) -> Iterator[Markup]:
    """Yield the segments of a bar, and above them its `total`."""
    top = float(_BOTTOM)
    for outcome, words in _OUTCOMES:
        count: int = getattr(day, outcome)
        if not count:
            continue
        # The least heights of all segments fit above the highest bar: the scale leaves them out.
        height = max(_LEAST, count / most * (_BOTTOM - _TOP - _LEAST * len(_OUTCOMES)))
        top -= height
        segment = {"x": f"{x:g}", "y": f"{top:g}", "width": f"{width:g}", "height": f"{height:g}"}
        tip = _element("title", f"{_day(day.day)}: {count:,} {words.lower()}")
        fill = f"url(#{name}-{outcome})"
        yield _element("rect", tip, fill=fill, class_=f"chart-bar chart-bar-{outcome}", **segment)
    if total:
        yield _text(_short(day.total), min(x + width / 2, _WIDTH - _DAY_WIDTH / 4), top - 5, "middle")


def _end_numbers(last: SeatsOfDay, most: int) -> list[Markup]:
    """Return the numbers beside the ends of both lines, one above the other where the lines are close."""
    used = _height(last.used or 0, most)
    text = f"{_short(last.used or 0)} in use"
    if last.limit is None:
        return [_text(text, _PLOT_END + 6, used + 4), _text("no limit", _PLOT_END + 6, used + 4 - _LINE)]
    limit = _height(last.limit, most)
    below = used >= limit
    if abs(used - limit) < _LINE:
        # Never below the axis, where the days are.
        lower = min(max(used, limit) + _LINE / 2, _BOTTOM - 4)
        used, limit = (lower, lower - _LINE) if below else (lower - _LINE, lower)
    numbers = ((text, used), (f"{_short(last.limit)} limit", limit))
    return [_text(words, _PLOT_END + 6, y + 4) for words, y in numbers]


def _axis(days: Sequence[date], end: float) -> list[Markup]:
    """Return the ground line and the names of days, of some only where there are many."""
    line = {"x1": "0", "x2": f"{end:g}", "y1": str(_BOTTOM), "y2": str(_BOTTOM)}
    axis = [_element("line", stroke="currentColor", class_="chart-axis", **line)]
    width, labelled = end / len(days), _labelled(len(days))
    narrow = end / len(labelled) < _DAY_WIDTH
    for place in labelled:
        label = f"{days[place]:%a}" if narrow else f"{days[place]:%a} {days[place].day}"
        axis.append(_text(label, (place + 0.5) * width, _HEIGHT - 5, "middle"))
    return axis


def _labelled(days: int) -> range:
    """Return the places of days that have a label: the last one, which is today, and few enough before it."""
    each = 1 if days <= _LABELS else -(-days // (_LABELS - 3))
    return range((days - 1) % each, days, each)


def _patterns(name: str) -> Markup:
    """Return the fillings of outcomes: an even tint, dots, and hatching."""
    box = {"width": "6", "height": "6", "patternUnits": "userSpaceOnUse"}
    ground = {"width": "6", "height": "6"}
    done = [_element("rect", class_="chart-tint", **ground)]
    partial = [_element("rect", class_="chart-ground", **ground), _element("circle", cx="3", cy="3", r="1.4")]
    refused = [_element("rect", class_="chart-ground", **ground), _element("rect", width="3", height="6")]
    return _element(
        "defs",
        _element("pattern", *done, id=f"{name}-done", class_="chart-done", **box),
        _element("pattern", *partial, id=f"{name}-partial", class_="chart-partial", **box),
        _element(
            "pattern", *refused, id=f"{name}-refused", class_="chart-refused", patternTransform="rotate(45)", **box
        ),
    )  # fmt: skip


def _legend_entry(name: str, outcome: str, words: str, total: int) -> Markup:
    fill = f"url(#{name}-{outcome})"
    sample = _element(
        "rect", x="1", y="1", width="16", height="16", fill=fill, class_=f"chart-bar chart-bar-{outcome}"
    )
    swatch = {"viewBox": "0 0 18 18", "width": "18", "height": "18", "aria_hidden": "true"}
    return _element("li", _element("svg", sample, class_="chart-swatch", **swatch), f" {words}: {total:,}")


def _text(words: str, x: float, y: float, anchor: str = "start") -> Markup:
    place = {"x": f"{x:g}", "y": f"{y:g}", "text_anchor": anchor}
    return _element("text", words, fill="currentColor", class_="chart-text", **place)


def _svg(name: str, title: str, description: str, drawing: Iterable[Markup]) -> Markup:
    names = {"role": "img", "aria_labelledby": f"{name}-title", "aria_describedby": f"{name}-desc"}
    return _element(
        "svg",
        _element("title", title, id=f"{name}-title"),
        _element("desc", description, id=f"{name}-desc"),
        *drawing,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        class_="chart-picture",
        **names,
    )


# Around it ------------------------------------------------------------------------------------------------------------


def _figure(title: str, parts: Iterable[Markup]) -> Markup:
    return _element("figure", _element("figcaption", title), *parts, class_="chart")


def _table(
    headings: Sequence[str], rows: Sequence[tuple[date, Sequence[int | None]]], totals: Sequence[int] = ()
) -> Markup:
    """Return a closed list of the same numbers; of columns that are summed up with a last row."""
    head = [_element("th", words, scope="col") for words in ("Day (UTC)", *headings)]
    body = [
        _element("tr", _element("th", _day(day), scope="row"), *map(_cell, numbers)) for day, numbers in rows
    ]
    parts = [_element("thead", _element("tr", *head)), _element("tbody", *body)]
    if totals:
        all_days = _element("th", "All", scope="row")
        parts.append(_element("tfoot", _element("tr", all_days, *map(_cell, totals))))
    table = _element("table", *parts, class_="chart-table")
    return _element("details", _element("summary", "Numbers"), table)


def _cell(number: int | None) -> Markup:
    return _element("td", "–" if number is None else f"{number:,}")


def _element(tag: str, *content: str, **attributes: str) -> Markup:
    """Return an element; `content` that is no markup is escaped. An attribute's `_` stands for `-`."""
    given = Markup().join(
        Markup(' {}="{}"').format(name.strip("_").replace("_", "-"), value)
        for name, value in attributes.items()
    )
    return Markup("<{0}{1}>{2}</{0}>").format(tag, given, Markup().join(content))


# Numbers --------------------------------------------------------------------------------------------------------------


def _height(value: int, most: int) -> float:
    return _BOTTOM - value / most * (_BOTTOM - _TOP)


def _runs(points: Iterable[tuple[int, int | None]]) -> list[list[tuple[int, int]]]:
    """Return the parts of a line between points that have no value."""
    runs: list[list[tuple[int, int]]] = [[]]
    for place, value in points:
        if value is not None:
            runs[-1].append((place, value))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _short(number: int) -> str:
    """Write a number in a few characters: from 100,000 on in thousands, from ten millions on in millions."""
    if number < 100_000:
        return f"{number:,}"
    return f"{number // 1000:,}k" if number < 10_000_000 else f"{number // 1_000_000:,}M"


def _day(day: date) -> str:
    return f"{day:%a} {day.day} {day:%b}"
