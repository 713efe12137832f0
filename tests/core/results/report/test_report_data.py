"""What the report shows, as plain data: from records and the files beside them to rows, choices and words."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from record_factory import card, dataset, make, measurement, metrics, timed
from report_folder import HOSTILE, froc, record, write_folder
from sklearn.metrics import roc_curve

from adbench.errors import RecordError
from adbench.metrics.histogram import ScoreHistogram
from adbench.results.frame import frame
from adbench.results.method_card import method_card_path, write_method_card
from adbench.results.record import write_record
from adbench.results.report import charts, curves, gallery, overview, site, speed, strips, tables, words
from adbench.results.report.chart import Chart, columns
from adbench.results.report.differences import paired
from adbench.results.report.limits import COMPARED, ROWS
from adbench.results.report.site import write_report
from adbench.results.report.sources import Sources
from adbench.results.subjects import read_values
from adbench.results.variants import variants


@pytest.fixture(autouse=True, scope="module")
def _nothing_is_drawn():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site, "_drawing_library", str)
        yield


def pixels() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    lesion = rng.random((5, 32, 32)) < 0.1
    return (rng.normal(0, 1, lesion.shape) + lesion).astype(np.float32), lesion


def test_the_roc_curve_passes_through_the_points_of_scikit_learn():
    scores, lesion = pixels()
    hist = ScoreHistogram.of(lambda: ((f"s{i}", scores[i], lesion[i], None) for i in range(5)))
    roc, precision = curves.pixel_curves("m", hist)
    rate, recall, _ = roc_curve(lesion.ravel(), scores.ravel(), drop_intermediate=False)
    away = [np.maximum(abs(rate - point["x"]), abs(recall - point["y"])).min() for point in roc]
    assert max(away) < 0.001
    assert (roc[0]["x"], roc[0]["y"], roc[-1]["x"], roc[-1]["y"]) == (0, 0, 1, 1)
    assert precision[-1]["y"] == pytest.approx(lesion.mean(), abs=1e-4)


def test_there_is_no_curve_without_lesions():
    scores, _ = pixels()
    nothing = np.zeros((32, 32), bool)
    assert curves.pixel_curves("m", ScoreHistogram.of(lambda: iter([("s", scores[0], nothing, None)]))) == ([], [])


def test_froc_points_come_in_the_order_of_their_rates():
    found = curves.froc("m", make(measurement=measurement(froc=froc()[::-1])))
    assert [point["rate"] for point in found] == [0.001, 0.01, 0.05, 0.2]


@given(st.lists(st.tuples(st.floats(0.01, 100), st.floats(0, 1)), min_size=1, max_size=20))
def test_no_method_beats_one_on_the_front_in_quality_and_time(points):
    rows = pd.DataFrame(
        {
            "label": [f"m{i}" for i in range(len(points))],
            "dataset": "d",
            "config_hash": [str(i) for i in range(len(points))],
        }
    ).assign(auprc=[round(y, 4) for _, y in points])
    times = rows[["dataset", "config_hash"]].assign(
        timed_on="cpu", s_per_100_slices=[float(f"{x:.4g}") for x, _ in points]
    )
    found = speed.pareto(rows, times, ["auprc"])

    def beats(a, b):
        return a["x"] <= b["x"] and a["y"] >= b["y"] and (a["x"], a["y"]) != (b["x"], b["y"])

    front = [(point["x"], point["y"]) for point in found if point["front"]]
    assert len(front) == len(set(front)), "of equal ones the first alone"
    for point in found:
        beaten = any(beats(other, point) for other in found)
        assert beaten is ((point["x"], point["y"]) not in front)


def test_times_of_a_busy_machine_are_not_compared():
    records = [make("calm"), make("busy", config_hash="999999012345")]
    times = [timed(records[0], 2.0), timed(records[1], 1.0, others={"score": 0.5})]
    assert list(speed.times(frame(records, times))["s_per_100_slices"]) == [2.0]


@given(st.lists(st.none() | st.floats(0, 1), max_size=8))
def test_the_best_slice_is_no_worse_than_the_median_and_that_no_worse_than_the_worst(values):
    of = {mark: values[i] for mark, i in gallery.own([], values)}
    known = [value for value in values if value is not None]
    if known:
        assert of["best"] == max(known)
        assert of.get("worst", of["best"]) == min(known)
        assert of["best"] >= of.get("median", of["best"]) >= of.get("worst", of["best"])
    else:
        assert of == {}


def test_slices_that_a_method_kept_as_its_best_median_and_worst_are_the_last_ones():
    values = [0.1, 0.9, 0.8, 0.7, 0.2]
    assert gallery.own(["best", "median", "worst"], values) == [("best", 2), ("median", 3), ("worst", 4)]


def test_tables_of_one_dataset_are_those_of_its_page():
    plain, other = ({"version": 2, "region": "image", "postprocess": how} for how in ("none", "median"))
    records = [make("a", protocol=plain), make("b", protocol=plain), make("a", config_hash="1" * 12, protocol=other)]
    results = frame(records)
    found = tables.tables(results)
    assert [table.variant for table in found] == ["", "postprocess=median"]
    assert [set(table.rows["record"]) for table in found] == [set(v.runs["record"]) for v in variants(results)]
    assert len({table.slug for table in found}) == 2


def test_rows_of_one_method_have_labels_of_their_own():
    records = [
        make("a"),
        make("a", config_hash="1" * 12, preset="paper"),
        make("b"),
        make("b", config_hash="2" * 12, config={"steps": 20}),
        make("c"),
        make("c", config_hash="3" * 12),
    ]
    (table,) = tables.tables(frame(records))
    assert len(set(table.rows["label"])) == len(records)
    of_c = set(table.rows["label"][table.rows["method"] == "c"])
    assert of_c == {"c (small, abcdef)", "c (small, 333333)"}, "told apart by their hashes, for nothing else differs"


def test_of_very_many_rows_the_best_are_kept_and_counted():
    records = [record("m", i / 1000, config_hash=f"{i:012x}") for i in range(ROWS + 5)]
    (table,) = tables.tables(frame(records))
    assert (len(table.rows), table.total, len(table.compared)) == (ROWS, ROWS + 5, COMPARED)
    assert table.rows["subject_auprc"].min() > 4 / 1000


def sources(folder: Path) -> Sources:
    return Sources.read(write_folder(folder))


def test_the_matrix_is_antisymmetric_and_marks_what_is_more_than_chance(tmp_path):
    found = sources(tmp_path)
    table = next(table for table in tables.tables(found.frame) if table.dataset == "toy")
    pairs = paired(table.rows, found.values(path for of in table.rows["records"] for path in of))
    matrix = overview.matrix(pairs)
    for i, (_, cells) in enumerate(matrix):
        assert cells[i] is None
        for j, cell in enumerate(cells):
            if cell:
                assert cell.strength == pytest.approx(-matrix[j][1][i].strength)
                assert cell.differs is matrix[j][1][i].differs is pairs.differ(i, j)
    assert str(words.lead(table.rows, pairs)).startswith("It leads <strong>fair</strong> by 0.2")
    assert "more than chance" in words.lead(table.rows, pairs)


def test_a_subject_of_another_method_is_missing_so_nothing_is_compared(tmp_path):
    found = sources(tmp_path)
    table = tables.tables(found.frame)[0]
    assert paired(table.rows, {}) is None
    assert "numbers by subject are missing" in words.lead(table.rows, None)
    assert "one alone" in words.lead(table.rows.head(1), None)


def test_methods_on_one_test_subject_are_not_compared_and_the_page_says_why():
    of = dataset(subjects={"train": 100, "validation": 10, "test": 1})
    (table,) = tables.tables(frame([make("a", dataset=of), make("b", dataset=of)]))
    values = {path: {"s0": 0.5} for of in table.rows["records"] for path in of}
    assert paired(table.rows, values) is None
    assert words.lead(table.rows, None) == "Methods cannot be compared here: there is one test subject alone."
    assert words.stands_on(table.rows.iloc[0], None).startswith("20 test images of 1 subject;")


def test_names_of_measures_are_plain():
    assert strips.column_title("1pct:pixel_dice") == "Dice at 1 % of healthy pixels"
    assert strips.column_title("auprc") == "AUPRC"


def fields(spec: object) -> Iterator[str]:
    if isinstance(spec, dict):
        for key, value in spec.items():
            if key == "field" and isinstance(value, str) and value:  # a row is numbered by no field
                yield value
            else:
                yield from fields(value)
    elif isinstance(spec, list):
        for value in spec:
            yield from fields(value)


@pytest.mark.parametrize(
    ("chart", "known"),
    [
        (charts.curves(["a"], ["a"], "x", "y", level=0.1), {"method", "order", "x", "y"}),
        (charts.curves(["a"], ["a"], "x", "y", rates=True), {"method", "order", "x", "y", "rate"}),
        (charts.forest(["a"], "auprc"), {"method", "metric", "title", "value", "low", "high", "reported"}),
        (charts.behind(["a"]), {"method", "value", "low", "high", "differs", "p"}),
        (charts.pareto(["a"], ["a"], "auprc", "cpu"), {"method", "metric", "device", "x", "y", "front"}),
        (charts.strips(["a"], ["a"], "auprc"), {"method", "measure", "subject", "value"}),
        (charts.sizes(["a"], ["a"], "1pct", "sensitivity", ["s"]), {"method", "size", "value", "low", "high"}),
    ],
)
def test_a_chart_draws_only_fields_that_its_rows_have(chart, known):
    chart.to_dict()  # raises where it is not Vega-Lite
    spec = charts.filled(chart, [])
    assert set(fields(spec)) <= known
    assert "config" not in spec, "colours are the style sheet's"


class Tags(HTMLParser):
    """Every tag with its attributes, and the JSON that the page holds."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.held: list[str] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag == "script" and dict(attrs).get("type") == "application/json"

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.held.append(data)


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, str]:
    return written(tmp_path_factory.mktemp("report"))


def written(tmp_path: Path, notice: str | None = "CC0") -> dict[str, str]:
    out, folder = write_folder(tmp_path / "results"), tmp_path / "report"
    pages = write_report(out, folder, lambda record: notice)
    assert pages[0] == folder / "index.html"
    return {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in pages}


def test_names_and_settings_from_records_do_no_harm(pages):
    for name, text in pages.items():
        tags = Tags(text)
        assert not [attributes for _, attributes in tags.tags if any(key.startswith("on") for key in attributes)], name
        loaded = [attributes for tag, attributes in tags.tags if tag == "script" and "type" not in attributes]
        assert all(set(attributes) == {"src"} for attributes in loaded), f"{name}: only files of the report are run"
        for held in tags.held:
            json.loads(held)
        assert HOSTILE not in text


def test_every_link_leads_to_a_page_of_the_report(pages):
    for name, text in pages.items():
        for tag, attributes in Tags(text).tags:
            link = attributes.get("href")
            if tag == "a" and link and not link.startswith("#"):
                target = (Path("/") / name).parent.joinpath(link).resolve().as_posix().lstrip("/")
                assert target in pages, f"{name}: {link}"


def test_pictures_are_left_out_where_they_may_not_be_shown(tmp_path, pages):
    assert not any("data:image/png" in text for text in written(tmp_path, None).values())
    assert any("data:image/png" in text for text in pages.values())


def test_provenance_names_commit_device_hash_and_settings(pages):
    page = next(text for name, text in pages.items() if name.startswith("methods/toy") and "records/toy/good" in text)
    for expected in ("commit", "Some CPU", "SHA-256 of the file", "torch=2.13.0", "Settings of the method", "note"):
        assert expected in page


def test_a_folder_with_something_else_is_not_touched(tmp_path):
    out = write_folder(tmp_path / "results")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "index.html").write_text("mine")
    with pytest.raises(RecordError, match="holds something else"):
        write_report(out, tmp_path / "mine", lambda record: None)
    assert (tmp_path / "mine" / "index.html").read_text("utf-8") == "mine"


def test_a_report_replaces_an_earlier_one(tmp_path):
    out = write_folder(tmp_path / "results")
    write_report(out, tmp_path / "report", lambda record: None)
    (tmp_path / "report" / "gone.html").write_text("of records that are gone")
    write_report(out, tmp_path / "report", lambda record: None)
    assert not (tmp_path / "report" / "gone.html").exists()


def test_without_records_there_is_no_report(tmp_path):
    with pytest.raises(RecordError, match="A report needs records"):
        write_report(tmp_path, tmp_path / "report", lambda record: None)


def test_records_alone_make_a_report_that_says_what_is_missing(tmp_path):
    for name in ("a", "b"):
        write_record(make(name, metrics=metrics(0.9), dataset=dataset(prevalence=None)), tmp_path / "results")
    pages = write_report(tmp_path / "results", tmp_path / "report", lambda record: "CC0")
    text = (tmp_path / "report" / "toy.html").read_text("utf-8")
    assert len(pages) == 5
    for reason in ("no curves", "No times are kept", "No pictures are kept", "No numbers by subject", "no FROC"):
        assert reason in text


def test_the_report_shows_families_and_marks_what_methods_know(tmp_path):
    for method, config_hash in (("pasted", "a" * 12), ("plain", "b" * 12)):
        write_record(make(method, config_hash=config_hash), tmp_path / "out")
    write_method_card(card("synthetic", "synthetic anomalies"), tmp_path / "out" / method_card_path("pasted"))
    write_report(tmp_path / "out", tmp_path / "report", lambda record: None)
    for name in ("index.html", "toy.html"):
        page = (tmp_path / "report" / name).read_text("utf-8")
        assert 'data-method="pasted" data-family="synthetic"' in page
        assert 'data-method="plain" data-family="-"' in page
        assert ">pasted*</a>" in page
        assert ">plain</a>" in page
        assert "<option>-</option><option>synthetic</option>" in page
        assert "Methods marked * learn from synthetic anomalies too." in page
    page = (tmp_path / f"report/methods/toy/{'a' * 12}.html").read_text("utf-8")
    assert "Family synthetic, knows synthetic anomalies beyond healthy images." in page


def test_values_of_subjects_are_those_of_the_whole_file(tmp_path):
    found = sources(tmp_path)
    for path in found.records:
        file = found.subjects(path)
        if file is not None:
            known = file.dropna(subset="auprc")
            assert found.values([path])[path] == dict(zip(known["subject"], known["auprc"], strict=True))


def test_a_damaged_file_of_subjects_is_named(tmp_path):
    (tmp_path / "a.csv").write_text("subject,auprc\ns1,high\n")
    with pytest.raises(RecordError, match=r"a\.csv must hold one row a subject"):
        read_values(tmp_path / "a.csv", "auprc")


def test_pictures_are_packed_without_loss_and_each_slice_once(tmp_path):
    def image(uri: str) -> np.ndarray:
        return np.array(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("L"))

    out = write_folder(tmp_path)
    records = [r for r in Sources.read(out).records.values() if r.dataset.name == "toy"]
    shown = [each for r in records if (each := gallery.shown(r.detector.name, r, out, None))]
    held = gallery.packed(shown)
    assert len(held["slices"]) < sum(len(each.picture.subjects) for each in shown)
    for each, packed in zip(shown, held["pictures"], strict=True):
        both = [image(held["slices"][at]) for at in packed["slices"]]
        pairs = [np.concatenate(pair) for pair in zip(each.picture.inputs, each.picture.lesions, strict=True)]
        np.testing.assert_array_equal(both, pairs)
        np.testing.assert_array_equal(image(packed["scores"]), np.concatenate(list(each.picture.scores), axis=1))


@given(st.lists(st.sampled_from(["a", "b", None]), max_size=12))
def test_a_column_of_texts_is_read_back_place_by_place_or_in_runs(texts):
    (held,) = columns([{"m": text} for text in texts]).values() if texts else ([],)
    if isinstance(held, list):
        assert held == texts
    else:
        runs = held.get("runs", [])
        at = held.get("at", [place for place, n in zip(runs[::2], runs[1::2], strict=True) for _ in range(n)])
        assert [held["values"][place] for place in at] == texts


def test_a_dataset_is_packed_as_columns_with_each_text_once():
    rows = [{"method": "a", "x": 0.5}, {"method": "b", "x": None, "note": "n"}, {"method": "a", "x": 0.25}]
    chart = Chart("key", "title", charts.filled(charts.behind(["a"]), rows), "about")
    assert chart.packed["datasets"] == {
        charts.DATA: {
            "method": {"values": ["a", "b"], "at": [0, 1, 0]},
            "x": [0.5, None, 0.25],
            "note": {"values": [None, "n"], "at": [0, 1, 0]},
        }
    }
    assert chart.spec["datasets"] == {charts.DATA: rows}, "the specification itself stays as it is"
    assert columns([]) == {}
