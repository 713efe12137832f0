"""The charts as Vega-Lite specifications, built with Altair: what stands where, without colours and without data.

Colours come from the style sheet, so that light and dark differ there alone; data are named and put in by `filled`.
Charts with methods listen to two parameters of the page: `shown`, the methods that are drawn, and `focus`, the one that
is pointed at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

Spec = dict[str, Any]
COLOURS = 6
DASHES: Sequence[Sequence[int]] = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])
ROW_PX, CURVE_PX = 26, 300
DATA = "rows"
_FOCUS = "focus === '' || datum.method === focus"


def filled(chart: alt.Chart | alt.LayerChart, rows: Sequence[Mapping[str, Any]]) -> Spec:
    """The specification with its data, as wide as its box; not held against Vega-Lite's schema, which takes long."""
    spec: Spec = chart.properties(width="container").to_dict(validate=False)
    spec.pop("config", None)
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    return {**spec, "datasets": {DATA: list(rows)}}


def _base() -> alt.Chart:
    return alt.Chart(alt.NamedData(name=DATA))


def _methods(chart: alt.Chart | alt.LayerChart | alt.FacetChart, shown: Sequence[str]) -> Any:
    """Let the page choose the methods that are drawn, and the one that stands out."""
    return chart.add_params(alt.param(name="shown", value=list(shown)), alt.param(name="focus", value=""))


def _colour(names: Sequence[str]) -> alt.Color:
    return alt.Color("method:N", scale=alt.Scale(domain=list(names)), legend=None)


def _dash(names: Sequence[str]) -> alt.StrokeDash:
    dashes = [list(DASHES[i // COLOURS % len(DASHES)]) for i in range(len(names))]
    return alt.StrokeDash("method:N", scale=alt.Scale(domain=list(names), range=dashes), legend=None)


def _faint() -> Any:
    return alt.when(_FOCUS).then(alt.value(1.0)).otherwise(alt.value(0.12))


def curves(
    names: Sequence[str], shown: Sequence[str], x: str, y: str, *, rates: bool = False, level: float | None = None
) -> Any:
    """Lines through points in their order, one a method.

    rates: whether points are few, marked, and of a rate of healthy pixels. level: a dashed line at this y.
    """
    domain = alt.Undefined if rates else alt.Scale(domain=[0, 1])
    tips = [
        alt.Tooltip("method:N"),
        alt.Tooltip("x:Q", title=x, format=".3f"),
        alt.Tooltip("y:Q", title=y, format=".3f"),
    ]
    if rates:
        tips.append(alt.Tooltip("rate:Q", title="healthy pixels flagged", format=".1%"))
    line = (
        _base()
        .transform_filter("indexof(shown, datum.method) >= 0")
        .transform_window(order="row_number()")
        .mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=28) if rates else False)
        .encode(
            x=alt.X("x:Q", title=x, scale=domain),
            y=alt.Y("y:Q", title=y, scale=alt.Scale(domain=[0, 1])),
            color=_colour(names),
            strokeDash=_dash(names),
            order=alt.Order("order:Q"),
            opacity=_faint(),
            tooltip=tips,
        )
    )
    chart = _methods(line, shown)
    if level is not None:
        rule = alt.Chart(alt.InlineData(values=[{}])).mark_rule(strokeDash=[2, 3], style="reference")
        chart = alt.layer(rule.encode(y=alt.YDatum(level, type="quantitative")), chart)
    return chart.properties(height=CURVE_PX)


def forest(names: Sequence[str], metric: str) -> Any:
    """Values with their intervals, and published ones as hollow diamonds, of the metric that the page chooses."""
    base = _base().transform_filter("datum.metric === metric")
    y = alt.Y("method:N", sort=list(names), title=None, scale=alt.Scale(domain=list(names)))
    tips = [
        alt.Tooltip("method:N"),
        alt.Tooltip("title:N", title="number"),
        *(alt.Tooltip(f"{key}:Q", format=".3f") for key in ("value", "low", "high")),
    ]
    x = alt.X("value:Q", title=None, scale=alt.Scale(zero=False, nice=True))
    rule = base.mark_rule(strokeWidth=2, style="accent").encode(
        x=alt.X("low:Q", title=None), x2="high:Q", y=y, tooltip=tips
    )
    point = base.mark_point(filled=True, size=70, opacity=1, style="accent").encode(x=x, y=y, tooltip=tips)
    published = (
        base.transform_filter("isValid(datum.reported)")
        .mark_point(shape="diamond", size=80, filled=False, style="reference")
        .encode(x="reported:Q", y=y, tooltip=[alt.Tooltip("reported:Q", title="published", format=".3f")])
    )
    chart = alt.layer(rule, point, published).add_params(alt.param(name="metric", value=metric))
    return chart.properties(height=ROW_PX * len(names))


def behind(names: Sequence[str]) -> Any:
    """How far each method is behind the best, with its interval: filled where that is more than chance."""
    y = alt.Y("method:N", sort=list(names), title=None, scale=alt.Scale(domain=list(names)))
    tips = [
        alt.Tooltip("method:N"),
        alt.Tooltip("value:Q", title="difference", format="+.3f"),
        alt.Tooltip("low:Q", format="+.3f"),
        alt.Tooltip("high:Q", format="+.3f"),
        alt.Tooltip("p:N"),
    ]
    zero = (
        alt.Chart(alt.InlineData(values=[{}])).mark_rule(style="reference").encode(x=alt.XDatum(0, type="quantitative"))
    )
    rule = (
        _base()
        .mark_rule(strokeWidth=2, style="accent")
        .encode(x=alt.X("low:Q", title=None), x2="high:Q", y=y, tooltip=tips)
    )
    x = alt.X("value:Q", title="difference to the best", axis=alt.Axis(grid=True))
    points = [
        _base()
        .transform_filter(which)
        .mark_point(filled=filled, size=70, opacity=1, style="accent")
        .encode(x=x, y=y, tooltip=tips)
        for which, filled in (("datum.differs", True), ("!datum.differs", False))
    ]
    return alt.layer(zero, rule, *points).properties(height=ROW_PX * len(names))


def pareto(names: Sequence[str], shown: Sequence[str], metric: str, device: str) -> Any:
    """Quality by seconds; a line joins what nothing beats in both."""
    base = _base().transform_filter("datum.metric === metric && datum.device === device")
    x = alt.X("x:Q", title="seconds for 100 slices", scale=alt.Scale(type="log"))
    y = alt.Y("y:Q", title=None, scale=alt.Scale(zero=False))
    tips = [alt.Tooltip("method:N"), alt.Tooltip("x:Q", title="s / 100 slices"), alt.Tooltip("y:Q", format=".3f")]
    front = base.transform_filter("datum.front").mark_line(interpolate="step-after", style="reference").encode(x=x, y=y)
    points = base.mark_point(size=90, filled=True, opacity=1).encode(x=x, y=y, color=_colour(names), tooltip=tips)
    words = base.mark_text(align="left", dx=8, dy=-6).encode(x=x, y=y, text="method:N")
    chart = alt.layer(front, points, words).add_params(
        alt.param(name="metric", value=metric), alt.param(name="device", value=device)
    )
    return _methods(chart, shown).properties(height=360)


def strips(names: Sequence[str], shown: Sequence[str], measure: str) -> Any:
    """A stroke a subject and a bar at the middle one; pointing at a subject shows it in every row."""
    base = _base().transform_filter("datum.measure === measure && indexof(shown, datum.method) >= 0")
    y = alt.Y("method:N", sort=list(names), title=None)
    hover = alt.selection_point(name="subject", fields=["subject"], on="pointerover", empty=False, clear="pointerout")
    strokes = (
        base.mark_tick(thickness=1.5, bandSize=ROW_PX * 0.62)
        .encode(
            x=alt.X("value:Q", title=None),
            y=y,
            color=_colour(names),
            opacity=alt.when(hover).then(alt.value(1)).otherwise(alt.value(0.38)),
            size=alt.when(hover).then(alt.value(ROW_PX)).otherwise(alt.value(ROW_PX * 0.62)),
            tooltip=[alt.Tooltip("subject:N"), alt.Tooltip("method:N"), alt.Tooltip("value:Q", format=".3f")],
        )
        .add_params(hover)
    )
    middle = base.mark_point(shape="diamond", size=60, filled=True, opacity=1, style="ink").encode(
        x="median(value):Q",
        y=y,
        tooltip=[alt.Tooltip("method:N"), alt.Tooltip("median(value):Q", title="median", format=".3f")],
    )
    chart = alt.layer(strokes, middle).add_params(alt.param(name="measure", value=measure))
    return _methods(chart, shown).properties(height=alt.Step(ROW_PX))


def sizes(names: Sequence[str], shown: Sequence[str], point: str, measure: str, order: Sequence[str]) -> Any:
    """What is found of lesions by their size, with intervals."""
    base = _base().transform_filter(
        "datum.point === point && datum.measure === measure && indexof(shown, datum.method) >= 0"
    )
    x = alt.X("size:N", sort=list(order), title="share of the image (lesions)", axis=alt.Axis(labelAngle=0))
    offset = alt.XOffset("method:N", sort=list(names))
    tips = [
        alt.Tooltip("method:N"),
        alt.Tooltip("size:N", title="size"),
        *(alt.Tooltip(f"{key}:Q", format=".3f") for key in ("value", "low", "high")),
    ]
    y = alt.Y("value:Q", title=None, scale=alt.Scale(domain=[0, 1]))
    coloured = _colour(names)
    bars = base.mark_rule(strokeWidth=2).encode(
        x=x, xOffset=offset, y=alt.Y("low:Q", title=None), y2="high:Q", color=coloured, opacity=_faint(), tooltip=tips
    )
    points = base.mark_point(filled=True, size=60).encode(
        x=x, xOffset=offset, y=y, color=coloured, opacity=_faint(), tooltip=tips
    )
    chart = alt.layer(bars, points).add_params(
        alt.param(name="point", value=point), alt.param(name="measure", value=measure)
    )
    return _methods(chart, shown).properties(height=CURVE_PX)
