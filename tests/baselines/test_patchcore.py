"""PatchCore: its coreset, its distances, its image score, and the part that it keeps."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from adbench_baselines import patchcore
from adbench_baselines.patchcore import PatchCore, image_score, k_centre, nearest_items, places, spread
from scipy.spatial.distance import cdist
from tiny_nets import VQVAE_SETTINGS, build, fitted, sick, stack

from adbench.contracts.detector import Runtime
from adbench.errors import ConfigError
from adbench.testing import DetectorContract

SETTINGS = {"vqvae": VQVAE_SETTINGS, "candidates": 400, "memory_size": 100, "neighbours": 3}


class TestPatchCoreOfThePresetsForCPUs(DetectorContract):
    detector_class = PatchCore
    settings = {**SETTINGS, **patchcore.CPU_FIELDS}
    n_healthy = 16
    n_validation = 4
    n_test = 4


def points(n: int, width: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, width)))


def radius(cloud: np.ndarray, centres: list[int]) -> float:
    """The largest distance of a point to its nearest centre."""
    return float(cdist(cloud, cloud[centres]).min(1).max())


def test_each_centre_is_the_point_farthest_from_those_before_it():
    cloud = points(60)
    chosen = k_centre(cloud, 20, first=7).tolist()
    assert chosen[0] == 7
    for i in range(1, 20):
        assert chosen[i] == cdist(cloud.numpy(), cloud[chosen[:i]].numpy()).min(1).argmax()


@pytest.mark.parametrize("seed", range(5))
def test_the_coreset_covers_at_most_twice_as_widely_as_the_best_one(seed):
    cloud = points(12, 2, seed).numpy()
    best = min(radius(cloud, list(centres)) for centres in combinations(range(12), 4))
    found = radius(cloud, k_centre(torch.from_numpy(cloud), 4, first=0).tolist())
    assert best <= found <= 2 * best


def test_no_point_is_chosen_twice_even_where_points_are_equal():
    cloud = torch.cat([points(5), points(5), points(5)])
    assert sorted(k_centre(cloud, 15, first=3).tolist()) == list(range(15))
    different = {i % 5 for i in k_centre(cloud, 5, first=3).tolist()}
    assert different == set(range(5))


def test_progress_of_the_choice_is_reported_to_its_end():
    seen = []
    k_centre(points(250), 230, 0, lambda what, done, total: seen.append((done, total)))
    assert seen == [(100, 230), (200, 230), (230, 230)]


@pytest.mark.parametrize("distances", [1 << 24, 64])
def test_distances_are_those_of_scipy(monkeypatch, distances):
    monkeypatch.setattr(patchcore, "DISTANCES", distances)  # 64: one vector at a time, and a memory larger than that
    vectors, memory = points(40, 6).float(), points(70, 6, 1).float()
    found, indices = nearest_items(vectors, memory)
    reference = cdist(vectors.numpy(), memory.numpy())
    np.testing.assert_allclose(found.numpy(), reference.min(1), rtol=1e-5)
    assert np.array_equal(indices.numpy(), reference.argmin(1))


def test_a_vector_of_the_memory_is_at_distance_exactly_0():
    memory = 100 + points(50, 8).float()  # far from the origin, where a difference of squares would be rounded
    distances, indices = nearest_items(memory, memory)
    assert torch.equal(distances, torch.zeros(50))
    assert torch.equal(indices, torch.arange(50))


def test_every_field_of_the_inference_tier_changes_score_maps_which_are_all_that_tuning_sees():
    detector = fitted(PatchCore, SETTINGS)
    before = detector.score(sick())
    assert PatchCore.search_space.inference
    for name, domain in PatchCore.search_space.inference.items():
        detector.config = detector.config.model_copy(update={name: domain.high})
        assert not torch.equal(detector.score(sick()), before), name


@pytest.mark.parametrize("neighbours", [2, 5, 30])
def test_the_image_score_is_the_reweighted_maximum_of_the_paper(neighbours):
    images, memory = points(3 * 10, 4, 2).reshape(3, 10, 4), points(30, 4, 3)
    for vectors, score in zip(images, image_score(images, memory, neighbours), strict=True):
        to_memory = cdist(vectors.numpy(), memory.numpy())
        patch = to_memory.min(1).argmax()
        item = to_memory[patch].argmin()
        around = cdist(memory[item : item + 1].numpy(), memory.numpy())[0].argsort()[:neighbours]
        s = to_memory[patch, item]
        weight = 1 - np.exp(s) / np.exp(to_memory[patch, around]).sum()
        assert 0 < weight < 1
        assert float(score) == pytest.approx(weight * s)


def test_the_image_score_is_finite_for_distances_that_an_exponential_overflows_at():
    memory = points(30, 4, 3).float()
    far = 1e4 + points(10, 4).float()[None]
    assert torch.isfinite(image_score(far, memory, 5)).all()


def test_places_are_centres_of_patches_and_mirror_each_other():
    grid = places(4, 2, torch.device("cpu"))
    assert grid[0, 0].tolist() == [-0.75, -0.5]
    assert grid[3, 1].tolist() == [0.75, 0.5]
    assert torch.equal(grid, -grid.flip(0, 1))


@pytest.fixture(scope="module")
def shared():
    """A runtime whose store holds the VQ-VAE after the first test that needs it."""
    return Runtime()


@pytest.mark.parametrize(("resolution", "side"), [("finest", 16), ("coarsest", 8)])
def test_features_are_all_levels_of_the_encoder_at_one_resolution(shared, resolution, side):
    detector = fitted(PatchCore, {**SETTINGS, "resolution": resolution, "neighbourhood": 1}, shared)
    x, ends = sick(), []
    for i, block in enumerate(detector.encoder.blocks):
        x = block(x)
        ends += [x] if i in (1, 3) else []  # one residual layer a level: blocks 0 and 1, 2 and 3, then the last
    found = detector.features(sick()).movedim(-1, 1)
    assert found.shape == (4, 16, side, side)
    own = slice(0, 8) if resolution == "finest" else slice(8, 16)
    torch.testing.assert_close(found[:, own], ends[0 if resolution == "finest" else 1])
    if resolution == "coarsest":
        halved = ends[0].reshape(4, 8, 8, 2, 8, 2).mean((3, 5))
        torch.testing.assert_close(found[:, :8], halved)


def test_neighbourhoods_are_averaged_over_and_borders_count_only_what_is_there(shared):
    plain = fitted(PatchCore, {**SETTINGS, "neighbourhood": 1}, shared).features(sick())
    found = fitted(PatchCore, {**SETTINGS, "neighbourhood": 3}, shared).features(sick())
    torch.testing.assert_close(found[:, 5, 6, :8], plain[:, 4:7, 5:8, :8].mean((1, 2)))
    torch.testing.assert_close(found[:, 0, 0, :8], plain[:, :2, :2, :8].mean((1, 2)))


def test_all_patches_as_memory_leave_training_images_at_distance_0(shared):
    everything = {**SETTINGS, "candidates": 16 * 64, "memory_size": 16 * 64, "resolution": "coarsest", "smoothing": 0}
    detector = fitted(PatchCore, everything, shared)
    healthy, lesions = (float(detector.score(x).max()) for x in (stack(16, 1)[:4], sick()))
    assert healthy < 0.02 * lesions  # not 0: what the encoder rounds depends on the batch
    assert lesions > 0


def test_the_memory_is_a_part_that_scoring_fields_do_not_change(shared):
    def key(**changes: object) -> str:
        plan = build(PatchCore, {**SETTINGS, **changes}, shared).plan(stack(16, 1), stack(4, 2))
        assert [part.spec.kind for part in plan.parts] == ["vqvae", "patchcore-memory"]
        return plan.parts[1].spec.key

    assert key() == key(smoothing=0.1) == key(neighbours=2)
    keys = {key(), key(memory_size=50), key(position_weight=1), key(candidates=300), key(resolution="coarsest")}
    assert len(keys) == 5


def test_another_seed_chooses_another_memory_and_the_same_seed_the_same():
    runtime, again, other = Runtime(seed=1), Runtime(seed=1), Runtime(seed=2)
    first, second, third = (fitted(PatchCore, SETTINGS, r).memory for r in (runtime, again, other))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_position_tells_equal_patches_at_other_places_apart(shared):
    places_used = fitted(PatchCore, {**SETTINGS, "standardise": True, "position_weight": 2.0}, shared)
    features = torch.zeros(2, 16)
    corner, middle = places_used.vectors(features, torch.tensor([[-1.0, -1.0], [0.0, -1.0]]))
    assert float((corner - middle).norm()) == pytest.approx(2 * 16**0.5)  # weight x a standard deviation in 16 channels
    assert fitted(PatchCore, SETTINGS, shared).vectors(features, torch.zeros(2, 2)).shape == (2, 16)


@pytest.mark.parametrize("standardise", [True, False])
def test_the_memory_of_all_candidates_has_mean_0_and_no_channel_of_more_weight_than_its_share(shared, standardise):
    settings = {**SETTINGS, "memory_size": 400, "standardise": standardise}
    memory = fitted(PatchCore, settings, shared).memory
    torch.testing.assert_close(memory.mean(0), torch.zeros(16), atol=1e-4, rtol=0)
    variance = memory.var(0, correction=0)
    if standardise:
        assert float(variance.max()) == pytest.approx(1, abs=1e-3)
    else:
        assert float(variance.mean()) == pytest.approx(1, abs=1e-3)
        assert float(variance.max()) > 1.5


def test_the_spread_is_that_of_each_channel_or_of_all_but_never_near_0():
    features = points(500, 3).float() * torch.tensor([2.0, 1.0, 1e-6])
    own = features.numpy().std(0)
    overall = np.sqrt((own**2).mean())
    np.testing.assert_allclose(spread(features, True).numpy(), [own[0], own[1], overall / 10], rtol=1e-4)
    np.testing.assert_allclose(spread(features, False).numpy(), [overall] * 3, rtol=1e-4)
    assert torch.isfinite(1 / spread(torch.zeros(5, 2), True)).all()


def test_a_loaded_detector_needs_no_parts(shared):
    detector = fitted(PatchCore, SETTINGS, shared)
    loaded = build(PatchCore, SETTINGS)
    loaded.load_state(detector.state())
    assert torch.equal(loaded.score(sick()), detector.score(sick()))
    assert loaded.artifacts() == {}
    assert loaded.parameters() == detector.parameters() == sum(p.numel() for p in detector.encoder.parameters())


def test_a_memory_larger_than_the_patches_is_refused_before_anything_is_trained():
    runtime = Runtime()
    detector = build(PatchCore, {**SETTINGS, "candidates": 9000, "memory_size": 5000}, runtime)
    for verb in (detector.fit, detector.plan):
        with pytest.raises(ConfigError, match=r"memory_size=5000 is more than their 4096 patches. Lower memory_size"):
            verb(stack(16, 1), stack(4, 2))
    assert not any(runtime.store.root.iterdir())


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"neighbourhood": 2}, "neighbourhood must be odd, got 2"),
        ({"memory_size": 500}, "memory_size <= candidates is needed, got 3, 500, 400"),
        ({"neighbours": 200}, "neighbours <= memory_size <= candidates is needed, got 200, 100, 400"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(changes, rule):
    with pytest.raises(ConfigError, match=rule):
        build(PatchCore, {**SETTINGS, **changes})
