"""The published cards say what the methods of this repository say of themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from adbench.contracts import registry
from adbench.protocol.recording import method_card
from adbench.results.method_card import method_card_path, read_method_card

NAMES = [entry.name for entry in registry.names(registry.DETECTORS) if entry.distribution == "brain-adbench"]
PUBLISHED = Path(__file__).parents[2] / "leaderboards"


@pytest.mark.parametrize("name", NAMES)
def test_a_published_card_is_that_of_its_method(name):
    path = PUBLISHED / method_card_path(name)
    assert path.is_file(), "run 'adbench leaderboard --cards'"
    assert read_method_card(path) == method_card(registry.load_detector(name).cls)


@pytest.mark.parametrize("name", NAMES)
def test_controls_are_those_whose_source_says_so(name):
    card = read_method_card(PUBLISHED / method_card_path(name))
    assert (card.family == "control") is card.source.startswith("control")
