"""What the harness relies on in a detector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from safetensors.torch import load, save
from torch import Tensor

from adbench.config.settings import resolve
from adbench.contracts.detector import Detector, DetectorInfo, Images, Runtime
from adbench.contracts.family import FAMILIES, KNOWLEDGE
from adbench.contracts.search import Choice
from adbench.contracts.splits import Split
from adbench.metrics.pixels import pixel_metrics
from adbench.testing.checks import check_config, check_filled, check_presets, global_seed, skip
from adbench.testing.toys import toy_split


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
        check_filled(info, ("summary", "source", "version"))

    def test_the_family_is_named_and_what_is_known_beyond_healthy_images(self) -> None:
        cls = type(self.make(self.runtime()))
        assert cls.family in FAMILIES, f"family must be one of {', '.join(FAMILIES)}, got {cls.family!r}"
        assert cls.knowledge in KNOWLEDGE, f"knowledge must be one of {', '.join(KNOWLEDGE)}, got {cls.knowledge!r}"
        learns = cls.family != "synthetic" or cls.knowledge == "synthetic anomalies"
        assert learns, f"a method of the family 'synthetic' knows 'synthetic anomalies', got {cls.knowledge!r}"

    def test_the_config_is_frozen_and_refuses_unknown_keys(self) -> None:
        detector = self.make(self.runtime())
        check_config(type(detector).Config, detector.config)

    def test_every_preset_makes_a_valid_config(self) -> None:
        cls = type(self.make(self.runtime()))
        check_presets(cls, cls.overrides)

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
        with global_seed(1):
            second = self._fit()
            maps, image_scores = second.score(images), second.image_scores(images)
        with global_seed(2):
            assert torch.equal(first.score(images), maps), "two fits with the same seed must give the same score maps"
            same = torch.equal(first.image_scores(images), image_scores)
            assert same, "two fits with the same seed must give the same image scores"

    def test_scores_do_not_depend_on_the_batch(self) -> None:
        detector, images = self._fitted(), self._images()
        if not detector.batch_independent:
            assert type(detector).__doc__, "the docstring must say why scores depend on the batch"
            skip("batch_independent is False: the detector's docstring says why")
        for size in (1, len(images) - 1):
            batches = images.split(size)
            self._same(detector.score(images), torch.cat([detector.score(b) for b in batches]), "score maps")
            image_scores = torch.cat([detector.image_scores(b) for b in batches])
            self._same(detector.image_scores(images), image_scores, "image scores")

    def test_a_saved_detector_scores_the_same_once_loaded(self) -> None:
        detector, images = self._fitted(), self._images()
        saved = save({name: tensor.detach().cpu().contiguous() for name, tensor in detector.state().items()})
        loaded = self.make(self.runtime())
        loaded.load_state(load(saved))
        assert torch.equal(loaded.score(images), detector.score(images)), "state() must hold all that score() needs"
        same = torch.equal(loaded.image_scores(images), detector.image_scores(images))
        assert same, "state() must hold all that image_scores() needs"
        assert loaded.parameters() == detector.parameters(), "parameters() must be the same after load_state()"

    def test_a_shortened_detector_takes_fewer_passes_through_the_same_stages_and_leaves_this_one_as_it_is(self) -> None:
        detector, images = self._fitted(), self._images()
        short = detector.shortened(2)
        if short is None:
            skip("shortened() gives None: it has no chains of equal network passes")
        before = detector.score(images)
        assert short.score(images).shape == images.shape, "a shortened detector must score images of the same shape"
        passes, fewer = _passes(detector, images), _passes(short, images)
        assert fewer.keys() == passes.keys(), f"stages must stay the same, got {fewer} of {passes}"
        assert all(fewer[name] <= n for name, n in passes.items()), f"passes must not be more, got {fewer} of {passes}"
        assert sum(fewer.values()) < sum(passes.values()), f"passes must be fewer, got {fewer} of {passes}"
        assert torch.equal(detector.score(images), before), "shortened() must leave the detector as it was"

    def test_lesions_score_higher_than_chance(self) -> None:
        if self.blind_because:
            skip(self.blind_because)
        split = self.contaminated()
        scores = self._fitted().score(self._images()).cpu().numpy()
        maps = [(split.subjects[i], scores[i], split[i].lesion, None) for i in range(len(split))]
        measured = pixel_metrics(lambda: maps)
        auprc, prevalence = measured.auprc, measured.prevalence
        assert auprc is not None, "the test split must hold lesions"
        assert prevalence is not None, "the test split must hold pixels"
        assert auprc > prevalence, f"AUPRC is {auprc:.3f}, no better than the prevalence of {prevalence:.3f}"


def _passes(detector: Detector[Any], images: Tensor) -> dict[str, int]:
    """Stage -> network passes of one call of `score`, as its clock counts them."""
    clock = detector.runtime.clock
    clock.running = True
    clock.reset()
    detector.score(images)
    clock.running = False
    return dict(clock.passes)
