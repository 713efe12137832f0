"""`adbench report`: which pictures it shows, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from record_factory import dataset, make
from report_folder import record, write_all
from typer.testing import CliRunner

from adbench.cli import report as command
from adbench.cli.app import app
from adbench.contracts import registry
from adbench.contracts.dataset import DatasetInfo
from adbench.errors import UnknownPluginError
from adbench.results.record import write_record
from adbench.results.report import site

RESTRICTED = DatasetInfo("heads", "by agreement", "none", "CT", "ask", "1")


def adbench(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(word) for word in ("report", *words)])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def results(tmp_path, monkeypatch) -> Path:
    infos = {"open": replace(RESTRICTED, pictures="By the heads, CC0."), "closed": RESTRICTED}

    def load(name: str):
        if name not in infos:
            raise UnknownPluginError(f"no dataset {name!r}.")
        return SimpleNamespace(cls=SimpleNamespace(info=infos[name]))

    monkeypatch.setattr(registry, "load_dataset", load)
    monkeypatch.setattr(site, "_drawing_library", str)  # nothing is drawn here
    command._notice.cache_clear()
    for i, name in enumerate(("open", "closed", "unknown")):
        of = dataset(name=name, fingerprint=f"{i}" * 16, manifest=f"records/{name}/m.json")
        write_all(tmp_path / "results", record("good", 0.9, dataset=of), 0.9)
    return tmp_path / "results"


def pictured(folder: Path) -> set[str]:
    return {
        path.stem
        for path in folder.glob("*.html")
        if path.stem != "index" and "data:image/png" in path.read_text("utf-8")
    }


def test_only_sets_that_let_their_images_be_published_have_pictures(results, tmp_path):
    assert str(tmp_path / "report" / "index.html") in adbench("-o", tmp_path / "report", "--out", results)
    assert pictured(tmp_path / "report") == {"open"}
    assert "By the heads, CC0." in (tmp_path / "report" / "open.html").read_text("utf-8")
    assert "do not let its images be passed on" in (tmp_path / "report" / "closed.html").read_text("utf-8")


def test_restricted_pictures_are_shown_where_asked_for_with_a_warning(results, tmp_path):
    adbench("-o", tmp_path / "report", "--out", results, "--include-restricted")
    assert pictured(tmp_path / "report") == {"open", "closed", "unknown"}
    assert "keep this page to yourself" in (tmp_path / "report" / "closed.html").read_text("utf-8")


def test_a_folder_of_something_else_is_refused_in_one_sentence(tmp_path):
    write_record(make(), tmp_path / "results")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    assert "holds something else" in adbench("-o", tmp_path / "mine", "--out", tmp_path / "results", code=2)


def test_without_records_it_says_what_to_do(tmp_path):
    assert "run 'adbench run --out" in adbench("-o", tmp_path / "report", "--out", tmp_path / "none", code=2)
