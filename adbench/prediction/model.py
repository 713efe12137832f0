"""A trained model in use: from a model file to the prediction of a scan, all in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from nibabel.orientations import apply_orientation, io_orientation
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from adbench.config.options import AskedPrecision, Precision
from adbench.contracts.dataset import DataRuntime, Dataset
from adbench.contracts.detector import Detector, DetectorConfig, Images, Runtime
from adbench.contracts.registry import LoadedPlugin, load_dataset, load_detector
from adbench.contracts.scans import NewScan, PreparedScan
from adbench.devices.device import backend_of, pick_device
from adbench.devices.precision import known
from adbench.errors import AdbenchError, ConfigError, DataError, ModelError, first_fault
from adbench.prediction.card import ModelCard, PointCard, described
from adbench.prediction.model_file import ModelFile, read_model
from adbench.prediction.report import ScanReport, SliceScores, report_of
from adbench.prediction.scored import batches, finished, own_scores, slice_scores
from adbench.prediction.sheet import draw
from adbench.protocol.data import instance
from adbench.protocol.planned import plan_of
from adbench.protocol.protocol import MeasurementProtocol

Floats = NDArray[np.float32]
DEFAULT_AT = (0.01,)
MOST_PASSES = 100_000
"""Network passes of a batch of slices: twelve times those of the longest method."""
MANY_IMAGES = 1_000_000
"""Of the healthy images that a plan is asked about, so that none lacks any."""


@dataclass(frozen=True)
class Prediction:
    """What a model says of a scan; images are nibabel's, on the grid of the scan's own file."""

    report: ScanReport
    scores: Any
    """float32; what no slice shows is 0, or the lowest score where that is negative."""
    lesions: dict[str, Any]
    """Key of an operating point -> uint8 mask of what is flagged."""
    sheet: Any
    """A PIL image: slices with an outline, and their score maps."""


@dataclass(frozen=True)
class Scored:
    """The scores of a scan that were written before: other points need no others."""

    scores: Any
    """As in a prediction."""
    slices: Sequence[SliceScores]


class Model:
    """A model that can be used on new scans."""

    def __init__(self, file: ModelFile, device: str = "auto", precision: AskedPrecision = "auto") -> None:
        """Use a model on a device, for `auto` in the precision that its thresholds come from, where they are of such a
        device, else in float32.

        Raises ModelError where this installation would score or prepare scans in another way.
        """
        self.card, self.sha256 = file.card, file.sha256
        self.device = pick_device(device)
        self.precision = _own_precision(self.card, self.device) if precision == "auto" else known(precision)
        self.protocol = _valid(MeasurementProtocol, self.card.protocol, "protocol")
        self.detector = _detector(file, self.device)
        self.dataset = _dataset(self.card)

    def points(self, at: Sequence[float]) -> list[PointCard]:
        """The operating points of some rates. Raises ConfigError where one is unknown, or was not supported."""
        if not at:
            raise ConfigError("A prediction needs an operating point: name one by --at.")
        known = {point.rate: point for point in self.card.points}
        for rate in at:
            if rate not in known:
                rates = ", ".join(f"{each:g}" for each, point in known.items() if not point.missing) or "none"
                raise ConfigError(f"The operating points of this model are {rates}, not {rate}: choose by --at.")
            if missing := known[rate].missing:
                raise ConfigError(
                    f"The point {rate:g} is not supported by this model's healthy images: it {missing}. Choose another "
                    "by --at, or train on more."
                )
        return [known[rate] for rate in sorted(set(at), reverse=True)]

    def find(self, paths: Sequence[Path]) -> list[NewScan]:
        """The scans below some paths. Raises DataError where a path holds none."""
        return list(self.dataset.find_scans(paths))

    def predict(self, image: Any, at: Sequence[float] = DEFAULT_AT, force: bool = False) -> Prediction:
        """Score one scan: a path, or a NIfTI image of nibabel.

        Raises DataError where it is no single scan or cannot be scored, ConfigError for an unknown point.
        """
        if isinstance(image, str | Path):
            scans = self.find([Path(image)])
            if len(scans) != 1:
                raise DataError(f"One scan is predicted at a time, but {image} holds {len(scans)}: name one of them.")
            return self.predict_scan(scans[0], at, force)
        if not isinstance(image, nib.nifti1.Nifti1Pair):
            raise DataError(f"A scan is a path or a NIfTI image of nibabel, not {type(image).__name__}: convert it.")
        with tempfile.TemporaryDirectory(prefix="adbench-") as folder:
            path = Path(folder) / "image.nii"
            kind = nib.Nifti2Image if isinstance(image, nib.nifti2.Nifti2Pair) else nib.Nifti1Image
            kind.from_image(image).to_filename(path)
            return self.predict_scan(self.find([path])[0], at, force)

    def predict_scan(
        self, scan: NewScan, at: Sequence[float] = DEFAULT_AT, force: bool = False, before: Scored | None = None
    ) -> Prediction:
        """Score a scan that `find` found, unless its scores by this very model are given. Raises as `predict`."""
        points = self.points(at)
        prepared = self._prepared(scan, force)
        if not len(prepared.images):
            raise DataError(f"A scan needs a slice with a brain or head, but {scan.name} has none.")
        scores, slices = self._again(prepared, before) or self._anew(prepared)
        seen = np.isfinite(scores)
        flagged = {point.key: scores > point.threshold for point in points}
        report = report_of(self.card, self.sha256, scan.name, prepared, scores, points, slices, self._elsewhere())
        unseen = np.float32(min(0.0, float(scores[seen].min())))
        sheet = draw(prepared, scores, flagged[points[-1].key], report, points[-1])
        return Prediction(
            report=report,
            scores=_marked(prepared.stored(np.where(seen, scores, unseen))),
            lesions={key: _marked(prepared.stored(mask)) for key, mask in flagged.items()},
            sheet=sheet,
        )

    def _anew(self, prepared: PreparedScan) -> tuple[Floats, Sequence[SliceScores]]:
        maps, own = self._scored(prepared.images)
        return self._on_grid(prepared, maps), slice_scores(prepared, maps, own, self.protocol.region)

    def _again(self, prepared: PreparedScan, before: Scored | None) -> tuple[Floats, Sequence[SliceScores]] | None:
        """Scores that were written before, None where there are none on the grid of this scan."""
        if before is None:
            return None
        written = np.asanyarray(before.scores.dataobj)
        scores = apply_orientation(written.reshape((*written.shape, 1, 1)[:3]), io_orientation(before.scores.affine))
        same = scores.shape == prepared.anatomy.shape
        if not same or not np.array_equal(np.asanyarray(prepared.stored(scores).dataobj), written):
            return None
        seen = np.isfinite(self._on_grid(prepared, np.zeros_like(prepared.images)))
        return np.where(seen, scores, np.float32(-np.inf)), before.slices

    def _prepared(self, scan: NewScan, force: bool = False) -> PreparedScan:
        prepared = self.dataset.prepare_scan(scan, force)
        size = prepared.images.shape[2:]
        if size != self.card.image_size:
            raise ModelError(
                f"The model was trained on images of {_by(self.card.image_size)} pixels, but its settings make images "
                f"of {_by(size)}: its card was altered. Fetch or export it again."
            )
        return prepared

    def measured(self, scan: NewScan) -> tuple[Floats, Floats]:
        """The scores of a healthy scan that thresholds are taken from: of its voxels, and of pixels at network size."""
        prepared = self._prepared(scan)
        maps = self.maps(prepared.images)
        scores = self._on_grid(prepared, maps)
        pixels = maps[prepared.brains] if self.protocol.region == "brain" else maps.ravel()
        return scores[np.isfinite(scores)], pixels

    def maps(self, images: Floats) -> Floats:
        """Score maps of prepared slices (n, 1, H, W). Raises ScoreError."""
        return finished([maps for _, maps in self._batches(images)], self.protocol)

    def _scored(self, images: Floats) -> tuple[Floats, Floats]:
        """Score maps, and the method's own image-level scores (n,)."""
        maps, own = [], []
        for batch, each in self._batches(images):
            maps.append(each)
            own.append(own_scores(self.detector, batch, each, self.card.method))
        return finished(maps, self.protocol), np.concatenate(own)

    def _batches(self, images: Floats) -> Iterator[tuple[torch.Tensor, Floats]]:
        return batches(self.detector, images, self.protocol, self.precision, self.card.method)

    def _elsewhere(self) -> list[str]:
        """Say where scores are computed in another way than those that the thresholds come from."""
        here = described(self.device, self.precision)
        if here == self.card.measured_in:
            return []
        return [f"scores are computed on {here}, thresholds come from {self.card.measured_in}: maps differ a little"]

    def _on_grid(self, prepared: PreparedScan, maps: Floats) -> Floats:
        """Scores of voxels, -inf where none is measured."""
        scores = prepared.view.back(maps)
        if self.protocol.region == "brain":
            brain = prepared.view.truth(with_brain=True).brain
            scores[~brain if brain is not None else False] = -np.inf
        if not np.isfinite(scores).any():
            raise DataError("No voxel of the scan is measured: its brain or head lies outside of what slices show.")
        return scores


def load_model(path: str | Path, device: str = "auto", precision: AskedPrecision = "auto") -> Model:
    """Read a model file for use on a device. Raises ModelError, DeviceError, UnknownPluginError."""
    return Model(read_model(Path(path)), device, precision)


def _by(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))


def _own_precision(card: ModelCard, device: torch.device) -> Precision:
    """That of the thresholds where they were measured on a device of this type that can do so, else float32."""
    in_bf16 = card.measured_in == described(device, "bf16") and backend_of(device).has_bf16
    return "bf16" if in_bf16 else "float32"


def _detector(file: ModelFile, device: torch.device) -> Detector[Any]:
    card = file.card
    plugin = load_detector(card.method)
    if plugin.cls.info.version != card.code_version:
        raise ModelError(
            f"The model was made by version {card.code_version} of {card.method}, and this installation has version "
            f"{plugin.cls.info.version}, which scores in another way. Install {card.distribution}, or train anew."
        )
    config = _valid(plugin.cls.Config, card.config, f"settings of {card.method}")
    _check_passes(plugin, config, card)
    detector = plugin.cls(config, Runtime(device=device, seed=card.seed))
    tensors = {name: t.float() if t.is_floating_point() else t for name, t in file.tensors.items()}
    try:
        detector.load_state(tensors)
    except AdbenchError:
        raise
    except Exception as error:  # of whatever network: names or shapes that do not fit
        raise ModelError(
            f"The tensors of the model must fit {card.method}, but do not ({' '.join(str(error).split())[:200]}): "
            "it is of other code. Train and export it anew."
        ) from error
    return detector


def _check_passes(plugin: LoadedPlugin[Detector[Any]], config: DetectorConfig, card: ModelCard) -> None:
    """Raise ModelError where the settings ask for more network passes than any honest model."""
    images = Images(np.broadcast_to(np.float32(0), (MANY_IMAGES, 1, *card.image_size)), "")
    plan = plan_of(plugin, config, Runtime(seed=card.seed), images, images)
    if (passes := sum(plan.passes.values()) + plan.image_passes) > MOST_PASSES:
        raise ModelError(
            f"A model takes at most {MOST_PASSES} network passes for a batch of slices, but with its settings this "
            f"{card.method} would take {passes}: its card was altered. Fetch or export it again."
        )


def _dataset(card: ModelCard) -> Dataset[Any]:
    of = card.trained_on
    plugin = load_dataset(of.registered)
    config = _valid(plugin.cls.Config, of.config, f"settings of {of.registered}")
    dataset = instance(plugin.cls, config, None, DataRuntime())
    dataset.name = dataset.name or of.registered
    now = dataset.preparation().version
    if now != card.preparation.version:
        raise ModelError(
            f"The model needs scans prepared by version {card.preparation.version} of {of.registered}, and this "
            f"installation prepares by version {now}. Install {of.distribution}, or train anew."
        )
    return dataset


def _valid(model: type[BaseModel], values: dict[str, Any], what: str) -> Any:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ModelError(
            f"The {what} of the model are not valid here: {first_fault(error)}. It was made by other code: "
            "train and export it anew."
        ) from error


def _marked(image: Any) -> Any:
    image.header["descrip"] = b"adbench: research only, no medical device"
    image.header.set_xyzt_units("mm")
    return image
