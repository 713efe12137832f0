"""Score maps go when they are told to, and nothing else does."""

from __future__ import annotations

import toys
from typer.testing import CliRunner

from adbench.cli.app import app
from adbench.protocol import harness


def test_score_maps_are_removed_and_parts_and_records_stay(tmp_path, monkeypatch):
    toys.install(tmp_path / "site", monkeypatch)
    options = toys.options(tmp_path, "part.steps=3")
    harness.run(["toy-trained"], "toy", options, toys.Diary())
    artifacts, records = options.cache / "artifacts", sorted((tmp_path / "out").rglob("*"))
    kept = {path.name for path in artifacts.glob("*/")}
    scores = {name for name in kept if name.startswith("scores-")}
    assert len(kept - scores) == 1
    for arguments, left in ((["--dry-run"], kept), ([], kept - scores)):
        result = CliRunner().invoke(app, ["cache", "prune", "--cache", str(options.cache), *arguments])
        assert result.exit_code == 0, result.output
        assert result.output.startswith(f"{len(scores)} batches of score maps {'would be ' * bool(arguments)}removed, ")
        assert {path.name for path in artifacts.glob("*/")} == left
    assert sorted((tmp_path / "out").rglob("*")) == records
