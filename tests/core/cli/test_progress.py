"""Progress in a log and on a terminal."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

from adbench.cli.progress import BarReporter, LineReporter
from adbench.protocol.forecast import Known
from adbench.protocol.grid import GridReporter, estimated_s


def test_a_log_gets_a_line_now_and_then_with_the_time_left():
    now, stream = [0.0], io.StringIO()
    reporter = LineReporter(stream, clock=lambda: now[0])
    for done in range(500, 1001):  # resumed at 500, one step a second
        reporter.progress("train", done, 1000)
        now[0] += 1.0
    lines = stream.getvalue().splitlines()
    assert lines[0] == "train: 530/1000 (53 %), 7 min 50 s left"
    assert lines[-1] == "train: 1000/1000, done in 8 min 20 s"
    assert len(lines) <= 500 / 30 + 6


def test_a_quick_task_gets_one_line():
    stream = io.StringIO()
    reporter = LineReporter(stream, clock=lambda: 0.0)
    for done in range(101):
        reporter.progress("score", done, 100)
    assert stream.getvalue() == "score: 100/100, done in 0.0 s\n"


def test_a_bar_ends_in_one_line_and_may_be_used_again(capsys):
    with BarReporter() as reporter:
        for _ in range(2):
            for done in range(3):
                reporter.progress("score [a]", done, 2)
        reporter.progress("cut off", 1, 2)
    captured = capsys.readouterr()
    assert captured.err.count("score [a]: done in 0.0 s") == 2
    assert captured.out == ""


def test_a_grid_names_cell_and_stage_and_tells_the_time_left_for_all_cells():
    now, stream = [0.0], io.StringIO()
    grid = GridReporter(LineReporter(stream, clock=lambda: now[0]), cells=3)
    for method in ("a", "b"):  # 100 seconds each
        grid.method, grid.dataset = method, "toy"
        for done in range(101):
            grid.progress(f"{method}: train", done, 100)
            now[0] += 1.0 if done < 100 else 0.0
        if method == "a":
            grid.end_cell()
    lines = stream.getvalue().splitlines()
    assert "cell 1/3, a on toy: train: 30/100 (30 %), 1 min 10 s left" in lines
    assert "all cells: 0/3 (0 %), time left unknown" in lines
    assert "cell 2/3, b on toy: train: 100/100, done in 1 min 40 s" in lines
    assert "all cells: 1/3 (33 %), 2 min 50 s left" in lines, "200 seconds, of which 30 are over"


def test_cells_weigh_what_they_are_estimated_to_take():
    now, stream = [0.0], io.StringIO()
    grid = GridReporter(LineReporter(stream, clock=lambda: now[0]), cells=3, seconds=[300.0, 50.0, 50.0])
    for method, seconds in (("a", 600), ("b", 100)):  # half as fast as estimated
        grid.method, grid.dataset = method, "toy"
        for done in range(seconds + 1):
            grid.progress(f"{method}: train", done, seconds)
            now[0] += 1.0 if done < seconds else 0.0
        grid.end_cell()
    lines = stream.getvalue().splitlines()
    assert "all cells, in estimated seconds: 300/400 (75 %), 3 min 17 s left" in lines, (
        "200 seconds, of which 3 are over"
    )


def test_the_estimate_of_a_grid_counts_a_shared_part_once_and_bears_a_detector_that_fails(monkeypatch):
    def cell(name: str, steps: int = 1000) -> Any:
        part = SimpleNamespace(spec=SimpleNamespace(key="unet"), steps=steps)
        return SimpleNamespace(name=name, plan=SimpleNamespace(parts=[part]))

    def of_cell(cell: Any, known: Known) -> Any:
        if cell.name == "broken":
            raise ValueError(cell.name)
        return SimpleNamespace(parts=[SimpleNamespace(key="unet", estimated_s=100.0)], estimated_score_s=20.0)

    monkeypatch.setattr("adbench.protocol.grid.of_cell", of_cell)
    assert estimated_s([cell("a"), cell("broken"), cell("b")]) == [121.0, 1.0, 21.0]
    assert estimated_s([cell("a", steps=999), cell("b", steps=999)]) is None, "short"
    assert estimated_s([cell("a")]) is None, "no grid"


def test_one_cell_has_no_grid():
    stream = io.StringIO()
    grid = GridReporter(LineReporter(stream, clock=lambda: 0.0), cells=1, method="a", dataset="toy")
    grid.progress("a: score", 1, 1)
    grid.end_cell()
    assert stream.getvalue() == "a: score: 1/1, done in 0.0 s\n"
