"""From a cell of the benchmark to a model file: trained parts, thresholds and all that a new scan needs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from adbench.config.options import Reporter, RunOptions
from adbench.contracts.detector import Detector
from adbench.devices.environment import environment
from adbench.errors import ConfigError, RecordError
from adbench.prediction.card import ModelCard, PointCard, PreparationCard, TrainingSet, described, point_cards
from adbench.prediction.likeness import healthy_card
from adbench.prediction.model_file import cards_of, write_model
from adbench.protocol.cell import Cell, build_cells
from adbench.protocol.fitting import fit
from adbench.protocol.halves import evenly
from adbench.protocol.scoring import Scorer, scored_pixels
from adbench.protocol.volumes import healthy_on_grid
from adbench.results.record import Record, read_record
from adbench.storage.saved import DamagedError, Saved


def export(method: str, dataset: str, options: RunOptions, reporter: Reporter, path: Path) -> ModelCard:
    """Write the model of a method trained on a dataset; parts that the cache does not hold are trained.

    Raises:
        AdbenchError: as a run does, and where the dataset does not prepare new scans.
    """
    cells = build_cells([method], [dataset], options, reporter, tested=False)
    if len(cells) > 1:
        raise ConfigError("A model has one region and one post-processing: name one of each with --set protocol....")
    cell = cells[0]
    preparation = cell.data.dataset.preparation()
    made = PreparationCard(version=preparation.version, steps=tuple(preparation.steps))
    with cell.computing():
        detector = fit(cell, reporter).detector
        tensors = _tensors(detector)
        card = _card(cell, detector, tensors, made, reporter)
    write_model(path, card, tensors)
    return card


def _tensors(detector: Detector[Any]) -> dict[str, Tensor]:
    """On the CPU, each with memory of its own."""
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in sorted(detector.state().items())}


def _card(
    cell: Cell, detector: Detector[Any], tensors: dict[str, Tensor], preparation: PreparationCard, reporter: Reporter
) -> ModelCard:
    entry, record = cell.plugin.entry, _record(cell, reporter)
    calibration, reference = cell.data.halves
    here = environment(cell.device)
    height, width = cell.data.splits.train.images.shape[2:]
    return ModelCard(
        method=cell.method,
        distribution=f"{entry.distribution} {entry.version}",
        code_version=cell.plugin.cls.info.version,
        preset=cell.options.preset,
        seed=cell.options.seed,
        config=cell.config.model_dump(mode="json"),
        parameters=detector.parameters(),
        parts=dict(detector.artifacts()),
        made_with=_made_with(cell, detector),
        tensors=cards_of(tensors),
        trained_on=_training_set(cell),
        preparation=preparation,
        image_size=(height, width),
        protocol=cell.protocol.of_quality(),
        points=_points(cell, detector, reporter),
        measured_in=described(cell.device, cell.precision),
        healthy=healthy_card(calibration, reference, cell.data.dataset.traits(cell.data.splits.train)),
        metrics={key: estimate.value for key, estimate in record.metrics.items()} if record else {},
        config_hash=record.config_hash if record else None,
        created=record.created if record else None,
        packages=here["packages"],
    )


def _training_set(cell: Cell) -> TrainingSet:
    data, train = cell.data, cell.data.splits.train
    info, entry = data.dataset.info, data.plugin.entry
    healthy, validation = data.healthy()
    return TrainingSet(
        name=data.name,
        registered=data.registered,
        distribution=f"{entry.distribution} {entry.version}",
        version=info.version,
        config=data.config,
        modality=info.modality,
        spacing_mm=info.spacing_mm,
        licence=info.licence,
        citation=info.citation,
        fingerprint=healthy.fingerprint,
        validation_fingerprint=validation.fingerprint,
        images=len(train),
        subjects=len(set(train.subjects)),
    )


def _points(cell: Cell, detector: Detector[Any], reporter: Reporter) -> tuple[PointCard, ...]:
    """Thresholds from the same healthy images, and in the same way, as a run's."""
    protocol = cell.protocol
    reference = evenly(cell.data.reference, protocol.reference_images)
    maps = Scorer(cell, detector, cell.store(reporter), reporter).maps(reference, "healthy reference")
    at_size = partial(scored_pixels, reference, maps, protocol)
    on_grid = healthy_on_grid(cell.data, reference, maps, protocol) or at_size
    return point_cards(on_grid, at_size)


def _record(cell: Cell, reporter: Reporter) -> Record | None:
    """The record of this very cell, where a run has left one."""
    if not cell.record_path.is_file():
        reporter.message(f"{cell.method}: there is no record below {cell.options.out}: the card holds no metrics")
        return None
    try:
        record = read_record(cell.record_path)
    except RecordError as error:
        reporter.message(f"{cell.method}: the record cannot be read, and the card holds no metrics ({error})")
        return None
    return record if record.status == "ok" else None


def _made_with(cell: Cell, detector: Detector[Any]) -> dict[str, dict[str, str]]:
    """Of each part: device and precision, where it says so."""
    made_with: dict[str, dict[str, str]] = {}
    for key in detector.artifacts().values():
        try:
            meta = Saved(cell.store().root / key, "part").read_meta()
        except DamagedError:
            continue
        made_with[key] = {name: str(meta[name]) for name in ("device", "precision") if name in meta}
    return made_with
