"""The images that tuning may see: healthy training images, and healthy validation images in two halves by subject.

One half goes to `fit` as validation (thresholds), on the other lesions are drawn and scored. Test images are not asked
for: `load_healthy` gives training and validation images alone, and this module never looks at a test split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adbench.contracts.dataset import Dataset
from adbench.contracts.detector import Images
from adbench.contracts.splits import Split
from adbench.errors import DataError, TuningError
from adbench.protocol.data import healthy_fingerprint
from adbench.protocol.halves import halved, in_turn
from adbench.tuning.synthetic import LesionGenerator, find_head, large_enough

MOST_VALIDATION = 500
"""Images of the half for thresholds that are used, even over subjects: what each trial's maps are computed of."""


@dataclass(frozen=True)
class Lesioned:
    """Healthy images with lesions drawn on them, all (N, 1, H, W)."""

    images: NDArray[np.float32]
    lesions: NDArray[np.bool_]
    valid: NDArray[np.bool_] | None
    """Pixels that count; None: all."""
    kinds: Sequence[str]
    """N kinds of lesion."""

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Development:
    """All that tuning sees of a dataset."""

    healthy: Images
    validation: Images
    """The half that thresholds are found on."""
    lesioned: Lesioned
    fingerprint: str
    """Of training and validation images, 16 hex digits."""


def development_images(dataset: Dataset[Any]) -> tuple[Split, Split]:
    """Return healthy training and validation images. Raises DataError where one is empty or not healthy."""
    train, validation = dataset.load_healthy()
    for name, split in (("training", train), ("validation", validation)):
        if len(split) == 0:
            raise DataError(f"Tuning needs healthy {name} images, but there are none: add data.")
        if split.lesions is not None and bool(np.any(split.lesions)):
            raise DataError(f"The {name} images must be healthy, but they hold lesion pixels.")
    return train, validation


def develop(dataset: Dataset[Any], generator: LesionGenerator, images: int, region: str) -> Development:
    """Load a dataset's healthy images, halve those for validation and draw up to `images` lesions on one half.

    Raises:
        DataError: no healthy images.
        TuningError: validation images are of one subject alone, or no head is large enough for a lesion.
    """
    train, validation = development_images(dataset)
    calibration, _ = halved(validation)  # on the other subjects the thresholds of a run stand
    first, second = halves(calibration, generator.seed)
    order = np.array(_subjects_in_turn(first.subjects, generator.seed))
    first = first.take(np.sort(order[:MOST_VALIDATION]))
    return Development(
        healthy=Images(train.images, train.image_fingerprint),
        validation=Images(first.images, first.image_fingerprint),
        lesioned=draw_lesions(second, generator, images, region),
        fingerprint=healthy_fingerprint(train, validation),
    )


def halves(validation: Split, seed: int) -> tuple[Split, Split]:
    """Return two splits that share no subject, each with half of the subjects (one more in the first)."""
    subjects = sorted(set(validation.subjects))
    if len(subjects) < 2:
        raise TuningError(
            f"Tuning halves the validation images by subject, but all {len(validation)} are of {subjects[0]!r}. "
            "Add healthy validation images of another subject."
        )
    shuffled = np.random.default_rng(seed).permutation(len(subjects))
    chosen = {subjects[i] for i in shuffled[: -(-len(subjects) // 2)]}
    inside = np.array([subject in chosen for subject in validation.subjects])
    return validation.take(np.flatnonzero(inside)), validation.take(np.flatnonzero(~inside))


def draw_lesions(healthy: Split, generator: LesionGenerator, count: int, region: str) -> Lesioned:
    """Draw a lesion on each of up to `count` images, even over subjects, kinds in turn.

    Where there are fewer images than `count`, an image comes back with a lesion of another kind, up to once a kind.
    """
    heads = _heads(healthy, _subjects_in_turn(healthy.subjects, generator.seed), count)
    if not heads:
        raise TuningError(
            f"Lesions are drawn on the head, but none of {len(healthy)} validation images shows one that stands out "
            "from the image's border. Use another dataset, or give its images brain masks."
        )
    kinds_n = len(generator.kinds)
    rounds = range(min(kinds_n, -(-count // len(heads))))
    chosen = [(i, generator.kinds[(place + turn) % kinds_n]) for turn in rounds for place, i in enumerate(heads)]
    images, lesions = [], []
    for number, (i, kind) in enumerate(chosen[:count]):
        other = healthy.images[_of_another_subject(healthy.subjects, i, generator.seed, number), 0]
        image, lesion = generator.draw(kind, number, np.array(healthy.images[i, 0]), heads[i], np.array(other))
        images.append(image[None])
        lesions.append(lesion[None])
    which = np.array([i for i, _ in chosen[:count]])
    kinds = [kind for _, kind in chosen[:count]]
    return Lesioned(np.stack(images), np.stack(lesions), _valid(healthy, which, region), kinds)


def _heads(split: Split, order: Sequence[int], count: int) -> dict[int, NDArray[np.bool_]]:
    """Position -> head (H, W) of up to `count` images that have one large enough, in the order given."""
    heads: dict[int, NDArray[np.bool_]] = {}
    for i in order:
        if len(heads) < count and large_enough(head := _head(split, i)):
            heads[i] = head
    return heads


def _head(split: Split, i: int) -> NDArray[np.bool_]:
    """Where a lesion may lie: the brain where the dataset says it, else what stands out from the border."""
    if split.brains is not None and split.brains[i].any():
        return np.array(split.brains[i, 0])
    return find_head(np.array(split.images[i, 0]))


def _subjects_in_turn(subjects: Sequence[str], seed: int) -> list[int]:
    return in_turn(subjects, np.random.default_rng([seed, 1]).permutation(len(subjects)))


def _of_another_subject(subjects: Sequence[str], i: int, seed: int, number: int) -> int:
    """An image of another subject, or of the same where there is no other."""
    others = [k for k, subject in enumerate(subjects) if subject != subjects[i]] or [i]
    return others[int(np.random.default_rng([seed, 2, number]).integers(len(others)))]


def _valid(split: Split, which: NDArray[np.intp], region: str) -> NDArray[np.bool_] | None:
    if region == "brain" and split.brains is None:
        raise DataError(
            "protocol.region=brain needs brain masks, but the validation images have none: use region=image."
        )
    valid = np.array(split.brains[which]) if region == "brain" and split.brains is not None else None
    if split.ignores is None:
        return valid
    seen = ~np.array(split.ignores[which])
    return seen if valid is None else valid & seen
