"""One run's result as one immutable JSON file: `<out>/records/<dataset>/<method>/<confighash>-seed<k>.json`.

Numbers are numbers and null is never NaN. Records say everything that a reader needs to believe or repeat a number;
pages are made from them and from the times beside them (`adbench.results.timing`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from adbench.errors import RecordError, first_fault
from adbench.metrics.catalogue import METRICS
from adbench.metrics.catalogue.at_points import BOTH
from adbench.metrics.estimate import Estimate
from adbench.metrics.strata import Stratum
from adbench.storage.files import write_atomic, writing

SCHEMA_VERSION: Literal[2] = 2
PROTOCOL_VERSION: Literal[2] = 2
"""Of the rules by which metrics are measured. Records of another version are left out of all tables."""


NAMED = 10
"""Records of an error that several are meant by a name."""


class Frozen(BaseModel):
    """A part of a file that is never changed once it is written."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DetectorRecord(Frozen):
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


class SetRecord(Frozen):
    """A dataset and its settings."""

    name: str
    """What pages call it."""
    registered: str | None = None
    """The name by which its plugin is found; None: the same."""
    distribution: str
    version: str
    config: dict[str, Any]
    fingerprint: str
    """Of the images that are used."""

    @property
    def plugin(self) -> str:
        """The name by which its plugin is found."""
        return self.registered or self.name


class TrainedOnRecord(SetRecord):
    """The dataset that the healthy images came from, where it is another one."""


class DatasetRecord(SetRecord):
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


class PointRecord(Frozen):
    """An operating point: a threshold that healthy images alone decide."""

    key: str
    rate: float
    """Fraction of healthy pixels flagged at most, subjects weighted equally."""
    threshold: float
    """A pixel is flagged where its score is greater."""
    missing: str | None
    """Why the healthy images do not support the point, and its metrics are undefined."""
    rate_met_on_reference: float
    reference_pixels_above: int
    rate_in_subjects_without_lesion: float | None
    rate_in_clean_slices_of_patients: float | None
    rate_outside_lesions: float | None
    """Fraction of the pixels flagged that are not lesion in slices with one."""


class FrocPoint(Frozen):
    """A point of the FROC curve, at the threshold of a rate of healthy pixels."""

    rate: float
    threshold: float
    lesion_recall: float | None
    false_components: float
    """In a slice."""


class VolumesRecord(Frozen):
    """Scans judged at an operating point whose threshold comes from healthy scans on their own grid."""

    point: str
    threshold: float
    missing: str | None
    """Why the healthy scans do not support the point; nothing is judged then."""
    means: dict[str, Estimate]
    """By field of `adbench.metrics.volumes.VolumeScores`: mean over the subjects for whom it is defined."""
    undefined: dict[str, int]
    """Subjects for whom a field is not defined, of those fields alone."""


class ScansRecord(Frozen):
    """The test scans on their own grid, against their masks as drawn."""

    subjects: int
    scans: int
    best_dice: float | None
    auprc: float | None
    auroc: float | None
    """Of all voxels pooled that an image shows, and of all lesion voxels: those that none shows rank last."""
    perfect_dice: Estimate
    """Mean over subjects of the Dice that a perfect map at network size reaches here, at its best threshold."""
    unseen_lesion_fraction: float | None
    """Of the lesion voxels, those that no image shows."""
    thresholds_on_grid: bool
    """Whether healthy images are slices of scans too, and went back to them; else thresholds are of network size."""
    volumes: list[VolumesRecord]


class MeasurementRecord(Frozen):
    """What the metrics stand on, and what is counted beside them."""

    best_threshold: float | None
    """Of ⌈DICE⌉: a pixel is flagged where its score is no smaller."""
    error_bound: dict[str, float]
    """Metric -> how far the bins of its scores can move it."""
    interval_error_bound: dict[str, float]
    """Metric -> how far they can move either end of its interval."""
    images_left_out: int
    """Of image-level metrics: images whose lesions lie outside the region or are ignored."""
    reference_images: int
    """Healthy images that the thresholds come from."""
    reference_subjects: int
    points: list[PointRecord]
    froc: list[FrocPoint]
    bootstrap_resamples: int
    strata: list[Stratum]
    """Lesions by size, smallest first."""
    scans: ScansRecord | None = None
    """On the scans' own grid; None for 2-D sets."""
    lesion_subjects: int | None = None
    """Test subjects with lesions; None where the record is older than the count."""


class EnvironmentRecord(Frozen):
    python: str
    platform: str
    device: str
    device_name: str
    threads: int
    precision: str
    packages: dict[str, str]
    git_commit: str | None
    git_dirty: bool | None


def _known(metrics: dict[str, Estimate]) -> dict[str, Estimate]:
    if unknown := sorted(metrics.keys() - METRICS.keys()):
        raise ValueError(f"there is no metric {unknown[0]!r}; the metrics are {', '.join(METRICS)}")
    return metrics


class Record(Frozen):
    """What one run found; how long it took is in a `TimingFile` for each device."""

    schema_version: Literal[2] = SCHEMA_VERSION
    status: Literal["ok", "failed", "skipped"]
    reason: str | None = None
    """Why the run failed or was skipped, in one sentence."""
    config_hash: str
    """12 hex digits: of method, config, dataset, set trained on, protocol, and the versions of the code of each."""
    seed: int
    detector: DetectorRecord
    dataset: DatasetRecord
    protocol: dict[str, Any]
    metrics: Annotated[dict[str, Estimate], AfterValidator(_known)] = {}
    """By key of `adbench.metrics.catalogue`, without metrics newer than the record; empty where the run failed."""
    measurement: MeasurementRecord | None = None
    core_minutes: float | None = None
    """Processor minutes that all trained parts took to make; None where one is older than the count."""
    tuning: dict[str, Any] | None = None
    reported: dict[str, float] | None = None
    """Published values for this method on this dataset, and only those."""
    reported_source: str | None = None
    environment: EnvironmentRecord
    """Of training and scoring in this run."""
    scored_by: list[str] = []
    """Devices that scored side by side in this run, the first of which trained; empty: that of `environment` alone."""
    created: str
    """UTC, ISO 8601 to the second."""

    def shown(self, key: str) -> Estimate:
        """A metric, with its interval only where it can be relied on; its value is None where unknown.

        There must be subjects enough for it, and the record no older than the rule for it.
        """
        estimate = self.metrics.get(key, Estimate(value=None)).among(self.lesion_subjects, METRICS[key].fewest)
        return Estimate(value=estimate.value) if self._is_too_old(key) else estimate

    @property
    def too_old_intervals(self) -> list[str]:
        """Metrics whose intervals took the threshold for certain, as records without a bound for them did."""
        return [key for key, of in self.metrics.items() if of.low is not None and self._is_too_old(key)]

    def _is_too_old(self, key: str) -> bool:
        known = self.measurement.interval_error_bound if self.measurement else {}
        return METRICS[key].resampled == BOTH and key not in known

    @property
    def lesion_subjects(self) -> int:
        """Test subjects with lesions; all test subjects where the record is older than the count."""
        counted = self.measurement.lesion_subjects if self.measurement else None
        return self.dataset.subjects.get("test", 0) if counted is None else counted

    @property
    def path(self) -> Path:
        """Where the record belongs, below the output folder."""
        return record_path(self.dataset.name, self.detector.name, self.config_hash, self.seed)


def record_path(dataset: str, method: str, config_hash: str, seed: int) -> Path:
    return Path("records", dataset, method, f"{config_hash}-seed{seed}.json")


def write_changed(path: Path, text: str) -> None:
    """Write a file where it is not there yet or says something else. Raises as `write_text`."""
    if not path.is_file() or path.read_bytes() != text.encode():
        write_text(path, text)


def write_text(path: Path, text: str) -> None:
    """Write a file at once or not at all. Raises RecordError where the folder cannot be written."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """The same of bytes."""
    advice = "Free space there, or name another folder with --out, or with -o where the command has that."
    with writing("Results", path.parent, advice, RecordError):
        write_atomic(path, data)


def write_record(record: Record, out: Path) -> Path:
    """Write a record below `out` and return its path."""
    path = out / record.path
    write_text(path, record.model_dump_json(indent=1) + "\n")
    return path


M = TypeVar("M", bound=Frozen)


def read_model(model: type[M], path: Path, what: str) -> M:
    """Read a file of this schema version. Raises RecordError naming the file and what is wrong with it."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise RecordError(f"Cannot read the {what} {path} ({error.strerror}).") from error
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        _refuse_other_schema(text, path, what)
        raise RecordError(
            f"{path} is not a {what} of schema version {SCHEMA_VERSION}: {first_fault(error)}. "
            "Remove the file, or run that cell again."
        ) from error


def _refuse_other_schema(text: bytes, path: Path, what: str) -> None:
    try:
        version = json.loads(text)["schema_version"]
    except (ValueError, TypeError, KeyError):  # no JSON, no object, or no version: the caller says so
        return
    if version != SCHEMA_VERSION:
        raise RecordError(
            f"A {what} must be of schema version {SCHEMA_VERSION}, but {path} is of version {version}: "
            "remove the file, or run that cell again with this version of adbench."
        )


def read_record(path: Path) -> Record:
    """Read one record. Raises RecordError naming the file and what is wrong with it."""
    return read_model(Record, path, "record")


def read_records(out: Path) -> list[Record]:
    """All records below `out`, in the order of their paths, without those of an earlier protocol.

    Raises RecordError as `read_record`, and where a record does not lie where its content says.
    """
    records = {path: record for path in _record_files(out) if (record := _of_this_protocol(path))}
    for path, record in records.items():
        if out / record.path != path:
            raise RecordError(
                f"A record must lie where its content says, at {record.path}, but {path} does not: move or remove it."
            )
    return list(records.values())


def find_record(name: str, out: Path) -> Path:
    """The file of a record that is named by its path, `method@dataset`, or the beginning of its `confighash-seedk`.

    Raises RecordError where no record below `out` is named so, or several are.
    """
    if name.endswith(".json") or Path(name).is_file():
        return Path(name)
    method, _, dataset = name.partition("@")
    named = [path for path in _record_files(out) if _is_named(path, name, (dataset, method))]
    if len(named) == 1:
        return named[0]
    if not named:
        raise RecordError(
            f"A record must be named by its file, by the beginning of its hash, or as method@dataset, but {name!r} is "
            f"none below {out}. Run 'adbench list' to see what there is."
        )
    names = ", ".join(f"{path.stem} ({_rules(path)})" for path in named[:NAMED]) + (", ..." if named[NAMED:] else "")
    raise RecordError(f"{name!r} names {len(named)} records: name one of {names} instead.")


def _is_named(path: Path, name: str, cell: tuple[str, str]) -> bool:
    return path.parts[-3:-1] == cell if cell[0] else path.stem.startswith(name)


def _rules(path: Path) -> str:
    """What of a record tells it from others of its method and dataset."""
    record = read_record(path)
    rules = [record.detector.name, record.dataset.name, record.detector.preset, record.dataset.region]
    return ", ".join([*rules, f"postprocess={record.protocol.get('postprocess', 'none')}"])


def _of_this_protocol(path: Path) -> Record | None:
    try:
        record = read_record(path)
    except RecordError:
        if _is_earlier(path):
            return None
        raise
    return None if _is_other(record.protocol) else record


def of_earlier_protocol(out: Path) -> list[Path]:
    """The records below `out` that another version of the protocol measured: no table may hold both."""
    return [path for path in _record_files(out) if _is_earlier(path)]


def _record_files(out: Path) -> list[Path]:
    files, times = (set((out / "records").glob(f"*/*/{name}")) for name in ("*-seed*.json", "*.timing-*.json"))
    return sorted(files - times)


def _is_earlier(path: Path) -> bool:
    """Whether it is a record of another version of the protocol; not where the file is no record."""
    try:
        return _is_other(json.loads(path.read_bytes())["protocol"])
    except (OSError, ValueError, TypeError, KeyError):
        return False


def _is_other(protocol: Any) -> bool:
    try:
        return int(protocol.get("version", 1)) != PROTOCOL_VERSION
    except (ValueError, TypeError, AttributeError):
        return False
