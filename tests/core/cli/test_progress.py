"""Progress in a log and on a terminal."""

from __future__ import annotations

import io

from adbench.cli.progress import BarReporter, LineReporter


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
