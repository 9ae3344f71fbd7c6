"""The text of a report: a summary in a few lines, then every value with its reading."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

from neuralcollapse.measurement.cautions import cautions
from neuralcollapse.measurement.collapse_values import CollapseValues
from neuralcollapse.measurement.report_tables import class_table, pair_table
from neuralcollapse.metrics.catalogue import FIRST
from neuralcollapse.metrics.estimates.estimate import Estimate
from neuralcollapse.metrics.metric import Reading
from neuralcollapse.plain_text import plain
from neuralcollapse.wording import (
    at_least,
    at_most,
    between,
    count,
    counted,
    first_names,
    number,
    share,
)

if TYPE_CHECKING:
    from neuralcollapse.tables import Console, Table


WIDE = 116  # columns from which there is room for formulas
NOTEBOOK = 110
TIES_TOLD = 1e-3  # share of ties from which the report mentions them
QUESTION = (
    "Corrected for few samples per class; the intervals are for what unlimited fresh samples would "
    "give (NC3: of a head not fitted to these; shares: of fresh samples, by these class means and "
    "this head). Of a complete data set the plain value is exact."
)
STYLES = {"collapsed": "green", "on the way": "yellow", "no better than chance": "red"}


def report_text(report: CollapseValues) -> str:
    """Return a report as wide as the terminal, with colours if it is one."""
    from neuralcollapse.tables import Console

    console = Console(highlight=False)
    with console.capture() as captured:
        _print(report, console)
    return captured.get().rstrip("\n")


def report_html(report: CollapseValues) -> str:
    """Return a report for a notebook."""
    from neuralcollapse.tables import Console

    console = Console(
        record=True, width=NOTEBOOK, file=io.StringIO(), highlight=False, force_terminal=True
    )
    _print(report, console)
    return console.export_html(
        inline_styles=True, code_format='<pre style="line-height: 1.3">{code}</pre>'
    )


def headline(report: CollapseValues) -> str:
    """Say where each phenomenon stands, in one sentence."""
    parts = []
    for group, name in FIRST.items():
        if name in report.train.values:
            parts.append(f"{group.split()[0]} {_plain(report.reading(name))}")
    if "accuracy" in report.train.values:
        parts.append(f"training data {report.reading('accuracy').words}")
    return "; ".join(parts) + "."


def _plain(reading: Reading) -> str:
    if not reading.grade:
        return f"not graded ({reading.words})"
    return reading.words


def _print(report: CollapseValues, console: Console) -> None:
    for part in _parts(report, console.width):
        console.print(part, markup=False)


def _parts(report: CollapseValues, width: int) -> Iterator[str | Table]:
    moments, test = report.train.moments, report.test
    beside = "" if test is None else f"; test data of {counted(test.moments.num_samples, 'sample')}"
    yield (
        f"Neural collapse of {counted(moments.num_samples, 'sample')}, "
        f"{counted(moments.present.sum(), 'class', 'classes')}, "
        f"{counted(moments.dim, 'feature')}{beside}"
    )
    yield headline(report)
    yield from cautions(report)
    if report.absent:
        of = " of the training data" if report.test is not None or report.others else ""
        yield f"Absent classes{of}, left out: {first_names(list(map(plain, report.absent)))}."
    yield _table(report, width >= WIDE)
    yield from _others(report)
    yield from _estimates(report)
    yield from _remarks(report)


def _table(report: CollapseValues, wide: bool) -> Table:
    from neuralcollapse.tables import SIMPLE_HEAD, Table, Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("metric", no_wrap=True)
    if wide:
        table.add_column("formula")
    for column in ("train", "test", "target", "chance"):
        if column != "test" or report.test is not None:
            table.add_column(column, justify="right", no_wrap=True)
    table.add_column("reading")
    group = None
    for name, value in report.train.values.items():
        metric, reading = report.metric(name), report.reading(name)
        if metric.group != group:
            group = metric.group
            table.add_row(Text(group, style="bold"))
        cells: list[str | Text] = [Text(plain(name))]
        if wide:
            cells.append(Text(metric.heading))
        cells.append(f"{value:.4g}")
        if report.test is not None:
            other = report.test.values.get(name)
            cells.append("" if other is None else f"{other:.4g}")
        cells += [_number(reading.target), _number(reading.chance)]
        table.add_row(*cells, Text(reading.words, style=STYLES.get(reading.grade, "")))
    return table


def _others(report: CollapseValues) -> Iterator[str | Table]:
    """Yield the first metric of each phenomenon for several test data, and where the rest is."""
    from neuralcollapse.tables import SIMPLE_HEAD, Table

    if not report.others:
        return
    first = [name for name in (*FIRST.values(), "accuracy") if name in report.train.values]
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("test data")
    for name in first:
        table.add_column(name, justify="right", no_wrap=True)
    for part, split in report.others.items():
        values = (f"{split.values[name]:.4g}" for name in first)
        table.add_row(plain(part.removeprefix("test_")), *values)
    yield table
    yield f"The report has all values of each by name, such as {plain(part)}_{first[0]}."


def _estimates(report: CollapseValues) -> Iterator[str | Table]:
    """Yield corrected values with intervals, the question they answer, and why some lack one."""
    from neuralcollapse.tables import SIMPLE_HEAD, Table

    known = {name: each for name, each in report.estimates.items() if each.has_interval}
    names = [name for name in report.train.values if {name, f"test_{name}"} & set(known)]
    if names:
        parts = ("", "test_") if report.test is not None else ("",)
        table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column("corrected", no_wrap=True)
        for part in parts:
            table.add_column("test" if part else "train", justify="right", no_wrap=True)
            table.add_column("95 %")  # wrapped before an end is cut off
        for name in names:
            cells = [name]
            for part in parts:
                cells += estimate_words(known.get(f"{part}{name}"), report.metric(name).kind)
            table.add_row(*cells)
        yield table
        yield QUESTION
    lacking: dict[str, list[str]] = {}
    for name, each in report.estimates.items():
        lacking.setdefault(each.lacks, []).append(name)
    for reason, without in lacking.items():
        if reason:
            yield f"No interval for {first_names(without)}: {reason}."
    for name, each in report.estimates.items():
        if each.doubt:
            yield f"Do not rely on the corrected {name}: {each.doubt}."
    least = report.estimates.get("test_margin_min")
    if least is not None:
        yield f"Minimum margin of test data: with 95 % confidence, {least.words}."


def estimate_words(found: Estimate | None, kind: str) -> list[str]:
    """Return a corrected value and its interval, as the table and the page show them."""
    if found is None:
        return ["", ""]
    if kind == "share":
        return [share(found.corrected), f"{at_least(found.lower)} to {at_most(found.upper)}"]
    ends = between(found.lower, found.upper) if found.has_interval else ""
    return [number(found.corrected), ends]


def _remarks(report: CollapseValues) -> Iterator[str]:
    worst = pair_table(report, 1)
    if len(worst):
        i, j, value = worst.iloc[0]
        yield f"Pair of classes with the largest CDNV: {plain(i)} and {plain(j)} ({value:.4g})."
    departure = report.departures.get("nc2_etf")
    if departure is not None and int(report.train.moments.present.sum()) > 2:
        yield (
            f"Gram matrix of the class means: {departure.distance:.4g} from the one predicted for "
            f"these class sizes (by chance {departure.chance.value:.3g}), "
            f"{report['nc2_etf']:.4g} from an ETF."
        )
    for part, split in (("", report.train), ("test ", report.test)):
        state = None if split is None else split.state
        if state is not None and (said := ties_told(state.ties, state.counts.judged, part)):
            yield said
    per_class = class_table(report)
    if "margin_min" in per_class:
        least = per_class.iloc[0]
        yield f"Class with the minimum margin: {plain(least['class'])} ({least['margin_min']:.4g})."


def ties_told(ties: int, judged: int, part: str = "") -> str:
    """Return what a reader should know about ties; nothing if they are few."""
    if ties <= TIES_TOLD * judged:
        return ""
    return (
        f"The largest logits of {count(ties)} of {count(judged)} {part}samples tie. They count as "
        f"wrong: accuracy by argmax may be higher by as much as {share(ties / judged)}."
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
