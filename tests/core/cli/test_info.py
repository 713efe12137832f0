"""`adbench info`: the card of a plugin, and its settings."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import pytest
from pydantic import BaseModel, Field
from typer.testing import CliRunner

from adbench.cli.app import app
from adbench.cli.console import config_rows
from adbench.contracts import registry
from adbench.contracts.registry import LoadedPlugin, PluginEntry
from adbench.protocol.protocol import MeasurementProtocol


class Inner(BaseModel):
    steps: int = Field(10, ge=1, description="optimiser steps")


class Outer(BaseModel):
    factor: int = 4
    mode: str | None = None
    sides: Annotated[float, Field(gt=0)] | Literal["keep"] | tuple[float, float] | None = (1.0, 2.0)
    width: int
    unet: Inner = Inner(steps=20)
    other: Inner = Field(default_factory=Inner)


def test_settings_are_shown_with_the_values_that_hold_for_a_variant():
    rows = {row[0]: row[1:] for row in config_rows(Outer, {"factor": 8, "other.steps": 30})}
    assert rows == {
        "factor": ("int", "8", ""),
        "mode": ("str | null", "null", ""),
        "sides": ("float, gt 0 | Literal['keep'] | tuple[float, float] | null", "[1.0, 2.0]", ""),
        "width": ("int", "required", ""),
        "unet.steps": ("int, ge 1", "20", "optimiser steps"),
        "other.steps": ("int, ge 1", "30", "optimiser steps"),
    }


class FakeInfo:
    summary, licence, access, version = "A toy.", "CC0", "none needed", "1"


class FakeDataset:
    Config, info = Inner, FakeInfo()
    presets: ClassVar[dict[str, dict[str, int]]] = {"smoke": {"steps": 1}, "paper": {}}


def test_info_shows_the_card_the_settings_and_the_presets(harness, command, monkeypatch):
    entry = PluginEntry("toy", "toys", "1.0", "toys:Toy")
    monkeypatch.setattr(registry, "load_dataset", lambda name: LoadedPlugin(FakeDataset, entry))
    code, out, _ = command("info", "toy")
    assert code == 0
    for text in (
        "A toy.",
        "CC0",
        "none needed",
        "toys 1.0",
        "data.steps",
        "--preset smoke: data.steps=1",
        "--preset paper: the defaults",
    ):
        assert text in out
    assert "the card of a plugin" in out, "what the module says of itself"


def test_info_of_a_broken_plugin_is_an_error(harness, command):
    code, _, err = command("info", "ddpm")
    assert code == 2
    assert "must be a complete Detector of adbench" in err


def test_the_fields_of_the_protocol_are_shown_with_their_defaults():
    result = CliRunner().invoke(app, ["info", "protocol"])
    assert result.exit_code == 0
    for name, field in MeasurementProtocol.model_fields.items():
        assert f"protocol.{name}" in result.output
        assert str(field.default) in result.output


@pytest.mark.parametrize(
    ("method", "family", "knowledge"),
    [("fpi", "synthetic", "synthetic anomalies"), ("dae", "reconstruction", "nothing")],
)
def test_info_says_the_family_of_a_method_and_what_it_knows_beyond_healthy_images(method, family, knowledge):
    lines = [" ".join(line.split()) for line in CliRunner().invoke(app, ["info", method]).output.splitlines()]
    assert {f"family {family}", f"knowledge {knowledge}"} <= set(lines)


def test_a_dataset_has_no_family():
    assert "family" not in CliRunner().invoke(app, ["info", "phantom"]).output
