"""The two contracts as tests: subclass one in a pytest module, and every rule that the harness relies on is checked.

    from adbench.testing import DetectorContract

    class TestMine(DetectorContract):
        detector_class = Mine
        settings = {"steps": 20}

Nothing is needed but pytest: detectors are checked on small images made here, a smooth head on a dark background, and
datasets on what their `load` returns. Keep settings tiny, since a detector is fitted twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError
from torch import Tensor

from adbench.dataset import Dataset, DatasetInfo, Split, Splits, content_hash
from adbench.detector import Detector, DetectorInfo, Images, Runtime, load_detector, save_detector
from adbench.errors import DataError
from adbench.metrics import ScoreHistogram, pixel_metrics
from adbench.registry import PRESETS
from adbench.search import Choice
from adbench.settings import resolve

__all__ = ["DatasetContract", "DetectorContract", "toy_split"]

_BACKGROUND, _HEAD, _LESION = 0.05, 0.45, 0.95


def toy_split(n: int, size: int, seed: int, lesions: bool = False) -> Split:
    """Return `n` images (N, 1, size, size): an ellipse with two inner blobs, each a little different.

    With `lesions` every image holds one bright, smooth disc inside the ellipse, and its mask.
    """
    rng = np.random.default_rng(seed)
    healthy = np.stack([_toy_head(size, rng) for _ in range(n)])[:, None]
    images, masks = healthy.copy(), np.zeros(healthy.shape, bool)
    for i in range(n if lesions else 0):
        weight = _toy_blob(size, rng.uniform(-0.3, 0.3, 2), rng.uniform(0.12, 0.2))
        images[i, 0] += weight * (_LESION - images[i, 0])
        masks[i, 0] = weight > 0.5
    return Split(
        images=images,
        subjects=[f"toy-{seed}-{i}" for i in range(n)],
        hashes=[content_hash(image) for image in healthy],
        lesions=masks if lesions else None,
    )


def _toy_head(size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    shift, level = rng.uniform(-0.05, 0.05, 2), _HEAD + rng.uniform(-0.05, 0.05)
    image = _BACKGROUND + (level - _BACKGROUND) * _toy_blob(size, shift, 0.75)
    for side in (-0.3, 0.3):
        image = image - 0.2 * _toy_blob(size, np.array([shift[0], shift[1] + side]), rng.uniform(0.12, 0.18))
    return (image + rng.normal(0, 0.01, image.shape)).clip(0, 1).astype(np.float32)


def _toy_blob(size: int, centre: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """Return (size, size): 1 inside a disc, 0 outside, smooth between; places in units of half the image."""
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    distance = np.hypot(axis[:, None] - centre[0], axis[None] - centre[1])
    return np.asarray(1 / (1 + np.exp((distance - radius) * size / 2)))


def _skip(reason: str) -> NoReturn:
    import pytest  # only users of the contracts need it

    pytest.skip(reason)


@contextmanager
def _global_seed(seed: int) -> Iterator[None]:
    """Set the global random generators to `seed`, and put them back afterwards."""
    state = np.random.get_state()  # noqa: NPY002  # a plugin may use it, and must not depend on it
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(state)  # noqa: NPY002


def _check_config(model: type[BaseModel], config: BaseModel) -> None:
    assert isinstance(config, model), f"config must be a {model.__name__}, got {type(config).__name__}"
    assert model.model_config.get("frozen"), f"{model.__name__} must be frozen, as its base class is"
    try:
        model.model_validate({**config.model_dump(), "no_such_setting": 1})
    except ValidationError:
        return
    raise AssertionError(f"{model.__name__} must refuse unknown keys, as its base class does, but took one")


def _check_presets(plugin: type[Detector[Any]] | type[Dataset[Any]], below: Mapping[str, Any]) -> None:
    """Every preset must have a known name and make a valid config on top of the layer `below`."""
    for preset, values in plugin.presets.items():
        assert preset in PRESETS, f"preset {preset!r} is none of {PRESETS}"
        resolve(plugin.Config, [below, values], f"{plugin.__name__}, preset {preset}")


def _check_filled(info: object, names: tuple[str, ...]) -> None:
    for name in names:
        value = getattr(info, name)
        assert isinstance(value, str), f"info.{name} must be a text, got {value!r}"
        assert value.strip(), f"info.{name} must be filled, got {value!r}"


def _data_error(verb: Callable[[], object]) -> str | None:
    """The message of the DataError that a call ends with, or None."""
    try:
        verb()
    except DataError as error:
        return str(error)
    return None


def _listing(folder: Path | None) -> dict[Path, tuple[int, int]]:
    """Size and time of every file below a folder; nothing where there is none."""
    files = (path for path in folder.rglob("*") if path.is_file()) if folder else ()
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


class DetectorContract:
    """Subclass with `detector_class` (and `settings`), or with `make` and `config_class`."""

    detector_class: ClassVar[type[Detector[Any]]]
    settings: ClassVar[Mapping[str, Any]] = {}
    """Config values on top of the class's `overrides`; dotted keys reach nested configs, as with `--set`."""
    device: ClassVar[str] = "cpu"
    size: ClassVar[int] = 32
    """Side of the images in pixels."""
    n_healthy: ClassVar[int] = 64
    n_validation: ClassVar[int] = 48
    n_test: ClassVar[int] = 6
    tolerance: ClassVar[float] = 1e-3
    """Largest difference between batch sizes that rounding may cause, as a fraction of the largest score."""
    blind_because: ClassVar[str] = ""
    """Why the detector need not find the toy's lesions (a control, say); empty where it must."""

    def make(self, runtime: Runtime) -> Detector[Any]:
        """Return a fresh detector that is not fitted."""
        cls = self.detector_class
        return cls(resolve(cls.Config, [cls.overrides, self.settings], cls.__name__), runtime)

    def runtime(self) -> Runtime:
        """Return a runtime with an empty artifact store of its own."""
        return Runtime(device=torch.device(self.device))

    def healthy(self) -> Split:
        return toy_split(self.n_healthy, self.size, seed=1)

    def validation(self) -> Split:
        return toy_split(self.n_validation, self.size, seed=2)

    def contaminated(self) -> Split:
        return toy_split(self.n_test, self.size, seed=3, lesions=True)

    def _stacks(self) -> tuple[Images, Images]:
        splits = (self.healthy(), self.validation())
        healthy, validation = (Images(split.images, split.image_fingerprint) for split in splits)
        return healthy, validation

    def _images(self) -> Tensor:
        return torch.from_numpy(self.contaminated().images.copy()).to(self.device)

    def _fit(self) -> Detector[Any]:
        detector = self.make(self.runtime())
        detector.fit(*self._stacks())
        return detector

    def _fitted(self) -> Detector[Any]:
        """The detector that the tests of this class share."""
        cls: Any = type(self)
        if "_shared" not in vars(cls):
            cls._shared = self._fit()
        shared: Detector[Any] = cls._shared
        return shared

    def _same(self, a: Tensor, b: Tensor, what: str) -> None:
        apart = float((a - b).abs().max())
        limit = self.tolerance * float(a.abs().max())
        assert apart <= limit, f"{what} differ by up to {apart:.3g}, more than {limit:.3g}"

    def test_the_info_card_is_filled(self) -> None:
        info = self.make(self.runtime()).info
        assert isinstance(info, DetectorInfo), f"info must be a DetectorInfo, got {type(info).__name__}"
        _check_filled(info, ("summary", "source", "version"))

    def test_the_config_is_frozen_and_refuses_unknown_keys(self) -> None:
        detector = self.make(self.runtime())
        _check_config(type(detector).Config, detector.config)

    def test_every_preset_makes_a_valid_config(self) -> None:
        cls = type(self.make(self.runtime()))
        _check_presets(cls, cls.overrides)

    def test_both_ends_of_every_searched_field_make_a_valid_config(self) -> None:
        cls = type(self.make(self.runtime()))
        for name, domain in {**cls.search_space.inference, **cls.search_space.training}.items():
            ends = domain.values if isinstance(domain, Choice) else (domain.low, domain.high)
            for value in ends:
                resolve(cls.Config, [cls.overrides, {name: value}], f"{cls.__name__}, search space")

    def test_planning_trains_nothing_and_names_the_parts_that_fitting_makes(self) -> None:
        runtime = self.runtime()
        plan = self.make(runtime).plan(*self._stacks())
        assert not any(runtime.store.root.iterdir()), "plan() must leave the artifact store as it was"
        assert all(n >= 0 for n in plan.passes.values()), f"network passes must not be negative, got {plan.passes}"
        fitted = self._fitted()
        planned = {part.spec.key for part in plan.parts}
        made = {part.spec.key for part in plan.parts if fitted.runtime.store.has(part.spec)}
        assert made == planned, f"plan() names parts that fit() did not make: {sorted(planned - made)}"
        used = set(fitted.artifacts().values())
        assert used <= planned, f"artifacts() names parts that plan() does not: {sorted(used - planned)}"

    def test_scores_are_finite_float32_maps_of_the_shape_of_the_images(self) -> None:
        images = self._images()
        scores = self._fitted().score(images)
        assert isinstance(scores, Tensor), f"score() must return a tensor, got {type(scores).__name__}"
        assert scores.shape == images.shape, f"scores must be {tuple(images.shape)}, got {tuple(scores.shape)}"
        assert scores.dtype == torch.float32, f"scores must be float32, got {scores.dtype}"
        assert bool(torch.isfinite(scores).all()), "scores must be finite, but hold NaN or infinity"
        assert not scores.requires_grad, "scores must not carry gradients: score under torch.no_grad()"

    def test_image_scores_are_one_finite_float32_number_an_image(self) -> None:
        images = self._images()
        scores = self._fitted().image_scores(images)
        assert scores.shape == images.shape[:1], f"image scores must be ({len(images)},), got {tuple(scores.shape)}"
        assert scores.dtype == torch.float32, f"image scores must be float32, got {scores.dtype}"
        assert bool(torch.isfinite(scores).all()), "image scores must be finite, but hold NaN or infinity"

    def test_scoring_leaves_the_images_as_they_were(self) -> None:
        images = self._images()
        before = images.clone()
        scores = self._fitted().score(images)
        self._fitted().image_scores(images)
        scores += 1  # a score map that shares the images' memory would change them now
        assert torch.equal(images, before), "score() and image_scores() must not change the images they are given"

    def test_the_same_seed_gives_the_same_scores_whatever_the_global_generators_hold(self) -> None:
        images, first = self._images(), self._fitted()
        with _global_seed(1):
            second = self._fit()
            maps, image_scores = second.score(images), second.image_scores(images)
        with _global_seed(2):
            assert torch.equal(first.score(images), maps), "two fits with the same seed must give the same score maps"
            same = torch.equal(first.image_scores(images), image_scores)
            assert same, "two fits with the same seed must give the same image scores"

    def test_scores_do_not_depend_on_the_batch(self) -> None:
        detector, images = self._fitted(), self._images()
        if not detector.batch_independent:
            assert type(detector).__doc__, "the docstring must say why scores depend on the batch"
            _skip("batch_independent is False: the detector's docstring says why")
        for size in (1, len(images) - 1):
            batches = images.split(size)
            self._same(detector.score(images), torch.cat([detector.score(b) for b in batches]), "score maps")
            image_scores = torch.cat([detector.image_scores(b) for b in batches])
            self._same(detector.image_scores(images), image_scores, "image scores")

    def test_a_saved_detector_scores_the_same_once_loaded(self, tmp_path: Path) -> None:
        detector, images = self._fitted(), self._images()
        save_detector(detector, tmp_path / "detector.safetensors")
        loaded = self.make(self.runtime())
        load_detector(loaded, tmp_path / "detector.safetensors")
        assert torch.equal(loaded.score(images), detector.score(images)), "state() must hold all that score() needs"
        same = torch.equal(loaded.image_scores(images), detector.image_scores(images))
        assert same, "state() must hold all that image_scores() needs"
        assert loaded.parameters() == detector.parameters(), "parameters() must be the same after load_state()"

    def test_lesions_score_higher_than_chance(self) -> None:
        if self.blind_because:
            _skip(self.blind_because)
        split, histogram = self.contaminated(), ScoreHistogram()
        scores = self._fitted().score(self._images()).cpu().numpy()
        for i in range(len(split)):
            histogram.add(split.subjects[i], scores[i], split[i].lesion)
        auprc, prevalence = pixel_metrics(histogram).auprc, histogram.prevalence
        assert auprc is not None, "the test split must hold lesions"
        assert prevalence is not None, "the test split must hold pixels"
        assert auprc > prevalence, f"AUPRC is {auprc:.3f}, no better than the prevalence of {prevalence:.3f}"


class DatasetContract:
    """Subclass with `dataset_class` (and `settings`, `data_root`), or with `make`."""

    dataset_class: ClassVar[type[Dataset[Any]]]
    settings: ClassVar[Mapping[str, Any]] = {}
    """Config values; dotted keys reach nested configs."""
    data_root: ClassVar[Path | None] = None
    parts: ClassVar[tuple[str, ...]] = ("healthy", "test")
    """What the set has: ("test",) where it is tested on by `--train-on` alone, ("healthy",) where it is trained on."""

    def make(self) -> Dataset[Any]:
        """Return a fresh dataset."""
        cls = self.dataset_class
        return cls(resolve(cls.Config, [self.settings], cls.__name__), self.data_root)

    def _splits(self) -> Splits:
        """What a run would use, once for the tests of this class; toy images stand in for a part that is not there."""
        cls: Any = type(self)
        if "_shared" not in vars(cls):
            cls._shared = self._load()
        shared: Splits = cls._shared
        return shared

    def _load(self) -> Splits:
        dataset = self.make()
        if "healthy" not in self.parts:
            test = dataset.load_test()
            size = test.images.shape[-1]
            return Splits(toy_split(4, size, seed=1), toy_split(4, size, seed=2), test)
        if "test" not in self.parts:
            train, validation = dataset.load_healthy()
            return Splits(train, validation, toy_split(4, train.images.shape[-1], seed=3, lesions=True))
        return dataset.load()

    def test_the_info_card_is_filled(self) -> None:
        info = self.make().info
        assert isinstance(info, DatasetInfo), f"info must be a DatasetInfo, got {type(info).__name__}"
        _check_filled(info, ("summary", "licence", "citation", "modality", "access", "version"))
        if info.reported:
            _check_filled(info, ("reported_source",))

    def test_the_config_is_frozen_and_refuses_unknown_keys(self) -> None:
        dataset = self.make()
        _check_config(type(dataset).Config, dataset.config)

    def test_every_preset_makes_a_valid_config(self) -> None:
        _check_presets(type(self.make()), {})

    def test_loading_gives_splits_that_pass_the_check(self) -> None:
        splits = self._splits()
        assert isinstance(splits, Splits), f"load() must return Splits, got {type(splits).__name__}"
        splits.check()

    def test_images_are_float32_from_0_to_1_and_of_one_size(self) -> None:
        for name, split in self._splits().items():
            assert split.images.dtype == np.float32, f"{name} images must be float32, got {split.images.dtype}"
            low, high = float(split.images.min()), float(split.images.max())
            assert 0 <= low <= high <= 1, f"{name} images must lie in [0, 1] and be finite, got {low} to {high}"
        sizes = {name: split.images.shape[2:] for name, split in self._splits().items()}
        assert len(set(sizes.values())) == 1, f"all splits must have images of one size, got {sizes}"

    def test_training_and_validation_images_are_healthy(self) -> None:
        splits = self._splits()
        for name, split in (("train", splits.train), ("validation", splits.validation)):
            assert split.lesions is None or not split.lesions.any(), f"the {name} split holds lesion pixels"

    def test_masks_are_bool_and_of_the_shape_of_the_images(self) -> None:
        for name, split in self._splits().items():
            for kind in ("lesions", "brains", "ignores"):
                mask = getattr(split, kind)
                if mask is not None:
                    found = f"{name} {kind}: {mask.dtype} {mask.shape}"
                    assert mask.dtype == np.bool_, f"masks must be bool, got {found}"
                    assert mask.shape == split.images.shape, f"masks must be {split.images.shape}, got {found}"

    def test_images_for_image_level_scores_alone_are_clean(self) -> None:
        for name, split in self._splits().items():
            if split.image_level_only is None:
                continue
            shape, dtype = split.image_level_only.shape, split.image_level_only.dtype
            assert (shape, dtype) == ((len(split),), np.bool_), f"{name} image_level_only must be (N,) bool"
            if split.lesions is not None:
                assert not split.lesions[split.image_level_only].any(), f"{name} has lesions in image_level_only images"

    def test_loading_twice_gives_the_same_fingerprint(self) -> None:
        first, second = self._splits().fingerprint, self._load().fingerprint
        assert first == second, f"load() must give the same data each time, got fingerprints {first} and {second}"

    def test_a_set_that_lacks_a_part_says_so(self) -> None:
        dataset = self.make()
        missing = {"healthy": dataset.load_healthy, "test": dataset.load_test}
        calls = [verb for part, verb in missing.items() if part not in self.parts]
        for verb in [dataset.load, *calls] if calls else []:
            message = _data_error(verb)
            assert message is not None, f"{verb.__name__}() must raise DataError for a set of {self.parts} images alone"
            assert "--train-on" in message, f"the error must lead to --train-on, got {message!r}"

    def test_halves_for_train_on_are_healthy_images_and_a_test_split_with_lesions(self) -> None:
        if set(self.parts) != {"healthy", "test"}:
            _skip(f"the set has {self.parts} images alone, which all other tests look at")
        dataset = self.make()
        for split in dataset.load_healthy():
            assert len(split), "load_healthy() must give training and validation images"
            assert split.lesions is None or not split.lesions.any(), "load_healthy() gave lesion pixels"
        lesions = dataset.load_test().lesions
        assert lesions is not None, "load_test() must give lesion masks"
        assert lesions.any(), "load_test() must give at least one lesion pixel"

    def test_inspecting_gives_facts_as_text_and_problems_with_their_files(self) -> None:
        findings = self.make().inspect()
        assert findings.facts, "inspect() must give at least one fact"
        for key, value in findings.facts.items():
            assert isinstance(key, str) and isinstance(value, str), f"facts are texts, got {key!r}: {value!r}"  # noqa: PT018
        for problem in findings.problems:
            assert problem.file and problem.what, f"a problem names a file and what is wrong, got {problem}"  # noqa: PT018

    def test_nothing_in_the_data_folder_is_changed(self) -> None:
        before = _listing(self.data_root)
        self._load()
        assert _listing(self.data_root) == before, "a dataset must not write into the data folder: use runtime.cache"

    def test_the_manifest_names_every_image_with_its_sha256(self) -> None:
        manifest = self._splits().manifest()
        for name, split in self._splits().items():
            assert len(manifest[name]) == len(split), f"the manifest has {len(manifest[name])} of {len(split)} images"
            for key, digest in manifest[name].items():
                whole = re.fullmatch(r"[0-9a-f]{64}", digest)
                assert whole, (
                    f"{name} {key}: a hash must be 64 hex digits (adbench.dataset.content_hash), got {digest!r}"
                )
