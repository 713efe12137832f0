"""The command line on a harness that only remembers what it was asked."""

from __future__ import annotations

import sys

import pytest
from cli_fakes import NAMES, FakeHarness

from adbench import protocol
from adbench.cli.app import app
from adbench.contracts import registry
from adbench.contracts.registry import PluginEntry


@pytest.fixture
def harness(monkeypatch, tmp_path):
    fake = FakeHarness()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ADBENCH_DATA", raising=False)
    monkeypatch.delenv("ADBENCH_CACHE", raising=False)
    for name in ("forecast", "harness"):
        monkeypatch.setitem(sys.modules, f"adbench.protocol.{name}", fake)
        monkeypatch.setattr(protocol, name, fake, raising=False)
    entries = {group: [PluginEntry(n, "toys", "1.0", "json:loads") for n in ns] for group, ns in NAMES.items()}
    monkeypatch.setattr(registry, "names", entries.__getitem__)
    return fake


@pytest.fixture
def command(capsys):
    def call(*args: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            app(list(args), prog_name="adbench")
        captured = capsys.readouterr()
        return int(end.value.code or 0), captured.out, captured.err

    return call
