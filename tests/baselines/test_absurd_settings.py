"""No setting makes a method score for ever or without end of memory: absurd ones are refused or counted as passes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from adbench.contracts.detector import Images, Runtime
from adbench.contracts.registry import DETECTORS, load_detector, names
from adbench.prediction.model import MOST_PASSES
from adbench.protocol.planned import plan_of

ABSURD = 10**9
OF_TRAINING = {
    *("steps", "batch_size", "augmented_copies", "candidates", "critic_steps", "projection", "most_shapes"),
    *("target_steps", "cell_px"),
}
OF_NETWORKS = {
    *("channels", "residual_layers", "residual_blocks", "latent_channels", "attention_from", "width", "latent_dim"),
    *("dim", "layers", "bottleneck_channels", "latent_size"),
}
"""What a model file's tensors must agree with before a network is built."""
CLIPPED = {"kl_timesteps", "image_timesteps", "timesteps", "healing_steps", "reverse_steps", "map_every"}
"""Steps of a chain, of which there are no more than it has."""
UNUSED = {"kl-mask-intensity": {"healings", "resamplings"}}
"""It shares the settings of methods that heal, and heals nothing."""


def numbers(config: dict[str, Any], before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of all whole numbers of a config, and of lists of them."""
    for name, value in config.items():
        if isinstance(value, dict):
            yield from numbers(value, (*before, name))
        elif (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, list) and value):
            yield (*before, name)


def with_absurd(config: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    changed = copy.deepcopy(config)
    place = changed
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = [ABSURD] * len(place[path[-1]]) if isinstance(place[path[-1]], list) else ABSURD
    return changed


@pytest.mark.parametrize("method", [entry.name for entry in names(DETECTORS)])
def test_no_setting_asks_for_endless_work_without_being_counted(method):
    plugin = load_detector(method)
    images = Images(np.broadcast_to(np.float32(0), (10**6, 1, 64, 64)), "")
    config = plugin.cls.Config().model_dump(mode="json")
    harmless = OF_TRAINING | OF_NETWORKS | CLIPPED | UNUSED.get(method, set())
    for path in numbers(config):
        try:
            absurd = plugin.cls.Config.model_validate(with_absurd(config, path))
        except ValidationError:
            continue
        if path[-1] not in harmless:
            plan = plan_of(plugin, absurd, Runtime(), images, images)
            assert sum(plan.passes.values()) + plan.image_passes > MOST_PASSES, path
