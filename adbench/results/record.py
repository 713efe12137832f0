"""One run's result as one immutable JSON file: `<out>/records/<dataset>/<method>/<confighash>-seed<k>.json`.

Numbers are numbers and null is never NaN. Records say everything that a reader needs to believe or repeat a number;
pages are made from them alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from adbench.errors import RecordError
from adbench.metrics.estimate import Estimate
from adbench.storage.files import write_atomic

SCHEMA_VERSION: Literal[1] = 1


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DetectorRecord(_Model):
    name: str
    distribution: str
    version: str
    code_version: str
    """The detector's own `info.version`."""
    preset: str
    config: dict[str, Any]
    parameters: int
    artifacts: dict[str, str]
    part_versions: dict[str, int] = {}
    """Kind -> code version of the trained parts, as planned."""


class TrainedOnRecord(_Model):
    """The dataset that the healthy images came from, where it is another one."""

    name: str
    distribution: str
    version: str
    config: dict[str, Any]
    fingerprint: str
    """Of its training and validation images."""


class DatasetRecord(_Model):
    name: str
    distribution: str
    version: str
    config: dict[str, Any]
    fingerprint: str
    split_sizes: dict[str, int]
    subjects: dict[str, int]
    image_size: tuple[int, int]
    region: Literal["image", "brain"]
    prevalence: float | None
    """Lesion pixels as a fraction of all pixels measured: the AUPRC of a random score."""
    manifest: str
    """File beside the records that lists every image of every split with its content hash."""
    train_on: TrainedOnRecord | None = None
    """None where training and validation images are the dataset's own."""


class StratumRecord(_Model):
    """The lesions of one range of sizes, field by field those of `adbench.metrics.lesions.Stratum`."""

    from_fraction: float
    to_fraction: float | None
    lesions: int
    pixels: int
    recall: Estimate
    detected: Estimate
    recall_transferred: Estimate
    detected_transferred: Estimate


class MetricsRecord(_Model):
    best_dice: Estimate
    """⌈DICE⌉: best over all thresholds, chosen with the test labels; an upper bound."""
    best_threshold: float | None
    auprc: Estimate
    auroc: Estimate
    dice_transferred: Estimate
    """Dice at `transferred_threshold`, which healthy validation scores alone decide."""
    transferred_threshold: float | None
    transferred_quantile: float
    transferred_images: int
    """Healthy validation images scored to find the threshold."""
    subject_dice: Estimate
    """Mean over subjects with lesions of the Dice at `best_threshold`."""
    image_auroc: Estimate
    image_auprc: Estimate
    binning_error_bound: dict[str, float]
    bootstrap_resamples: int
    strata: list[StratumRecord] = []
    """By lesion size, smallest first; records of earlier versions have none."""


class TimingRecord(_Model):
    slices: int
    batch_size: int
    warmups: int
    repeats: int
    median_s: float
    min_s: float
    max_s: float
    stages_s: dict[str, float]
    passes: dict[str, int]
    flops: int
    peak_memory_bytes: int
    latency_s: float
    image_scores_s: float
    """Seconds for the image-level scores of the slices, timed apart: one run."""
    fit_s: float
    """Seconds that `fit` took in this run; parts that were reused cost only their loading."""
    core_minutes: float | None = None
    """Processor minutes that all its parts took to make; None where one is older than the count."""


class EnvironmentRecord(_Model):
    python: str
    platform: str
    device: str
    device_name: str
    threads: int
    precision: str
    packages: dict[str, str]
    git_commit: str | None
    git_dirty: bool | None


class Record(_Model):
    """One run."""

    schema_version: Literal[1] = SCHEMA_VERSION
    status: Literal["ok", "failed", "skipped"]
    reason: str | None = None
    """Why the run failed or was skipped, in one sentence."""
    config_hash: str
    """12 hex digits: of method, config, dataset, set trained on, protocol, and the versions of the code of each."""
    seed: int
    detector: DetectorRecord
    dataset: DatasetRecord
    protocol: dict[str, Any]
    metrics: MetricsRecord | None = None
    timing: TimingRecord | None = None
    tuning: dict[str, Any] | None = None
    reported: dict[str, float] | None = None
    """Published values for this method on this dataset, and only those."""
    reported_source: str | None = None
    environment: EnvironmentRecord
    created: str
    """UTC, ISO 8601 to the second."""

    @property
    def path(self) -> Path:
        """Where the record belongs, below the output folder."""
        return record_path(self.dataset.name, self.detector.name, self.config_hash, self.seed)


def record_path(dataset: str, method: str, config_hash: str, seed: int) -> Path:
    return Path("records") / dataset / method / f"{config_hash}-seed{seed}.json"


def write_text(path: Path, text: str) -> None:
    """Write a file at once or not at all. Raises RecordError where the folder cannot be written."""
    try:
        write_atomic(path, text.encode())
    except OSError as error:
        raise RecordError(
            f"Results must be written, but {path.parent} cannot be ({error.strerror}). "
            "Free space there, or name another folder with --out."
        ) from error


def write_record(record: Record, out: Path) -> Path:
    """Write a record below `out` and return its path."""
    path = out / record.path
    write_text(path, record.model_dump_json(indent=1) + "\n")
    return path


def read_record(path: Path) -> Record:
    """Read one record. Raises RecordError naming the file and what is wrong with it."""
    try:
        return Record.model_validate_json(path.read_bytes())
    except OSError as error:
        raise RecordError(f"Cannot read the record {path} ({error.strerror}).") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "file"
        raise RecordError(
            f"{path} is not a record of schema version {SCHEMA_VERSION}: {where}: {first['msg']}. "
            "Remove the file, or run that cell again."
        ) from error


def read_records(out: Path) -> list[Record]:
    """All records below `out`, in the order of their paths."""
    return [read_record(path) for path in sorted((out / "records").glob("*/*/*-seed*.json"))]
