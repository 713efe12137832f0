"""What is searched of every registered method, beside what it is without tuning."""

from __future__ import annotations

import pytest

from adbench.config.presets import PRESETS
from adbench.config.settings import resolve
from adbench.contracts import registry
from adbench.tuning.space import at, contains

METHODS = [entry.name for entry in registry.names(registry.DETECTORS)]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("method", METHODS)
def test_the_space_holds_the_settings_without_tuning_unless_they_are_left_to_the_method(method, preset):
    """null leaves a field to the method: no number stands for that, so the first trial keeps it."""
    cls = registry.load_detector(method).cls
    config = resolve(cls.Config, [cls.overrides, cls.presets.get(preset, {})], method)
    space = {**cls.search_space.inference, **cls.search_space.training}
    outside = {name: at(config, name) for name, domain in space.items() if not contains(domain, at(config, name))}
    assert set(outside.values()) <= {None}


@pytest.mark.parametrize("method", METHODS)
def test_a_method_with_presets_has_all_of_them(method):
    presets = registry.load_detector(method).cls.presets
    assert not presets or set(presets) == set(PRESETS)
