"""What the harness relies on in a dataset."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from adbench.config.settings import resolve
from adbench.contracts.dataset import Dataset, DatasetInfo
from adbench.contracts.splits import Splits
from adbench.metrics.catalogue import METRICS
from adbench.testing.checks import check_config, check_filled, check_presets, data_error, listing, skip
from adbench.testing.toys import toy_split


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
        check_filled(info, ("summary", "licence", "citation", "modality", "access", "version"))
        if info.reported:
            known = {*METRICS, "s_per_100_slices"}
            unknown = {each.metric for each in info.reported} - known
            assert not unknown, f"reported values must be of {sorted(known)}, got {sorted(unknown)}"
            for each in info.reported:
                check_filled(each, ("method", "source", "place"))

    def test_the_config_is_frozen_and_refuses_unknown_keys(self) -> None:
        dataset = self.make()
        check_config(type(dataset).Config, dataset.config)

    def test_every_preset_makes_a_valid_config(self) -> None:
        check_presets(type(self.make()), {})

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
            for masks in ("lesions", "brains", "ignores"):
                mask = getattr(split, masks)
                if mask is not None:
                    got = f"{name} {masks}: {mask.dtype} {mask.shape}"
                    assert mask.dtype == np.bool_, f"masks must be bool, got {got}"
                    assert mask.shape == split.images.shape, f"masks must be {split.images.shape}, got {got}"

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
            message = data_error(verb)
            assert message is not None, f"{verb.__name__}() must raise DataError for a set of {self.parts} images alone"
            assert "--train-on" in message, f"the error must lead to --train-on, got {message!r}"

    def test_halves_for_train_on_are_healthy_images_and_a_test_split_with_lesions(self) -> None:
        if set(self.parts) != {"healthy", "test"}:
            skip(f"the set has {self.parts} images alone, which all other tests look at")
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
        before = listing(self.data_root)
        self._load()
        assert listing(self.data_root) == before, "a dataset must not write into the data folder: use runtime.cache"

    def test_the_manifest_names_every_image_with_its_sha256(self) -> None:
        manifest = self._splits().manifest()
        for name, split in self._splits().items():
            assert len(manifest[name]) == len(split), f"the manifest has {len(manifest[name])} of {len(split)} images"
            for key, digest in manifest[name].items():
                whole = re.fullmatch(r"[0-9a-f]{64}", digest)
                assert whole, f"{name} {key}: a hash must be 64 hex digits (splits.content_hash), got {digest!r}"
