"""Base class of all datasets of scans: an adapter lists the cases, and everything else is here.

An adapter is a subclass of `ScanDataset` with `info`, `modality` and `cases(root)`; see `brats.py`. Hooks with a
default: `release`, `units`, `read`. Its config is `ScanConfig` or a subclass that sets other defaults or adds fields.

Splits are by subject. The set's own split is kept where a case names one; otherwise the hash of (split_seed, subject)
orders the subjects, so neither names of files nor the order of a listing matter. Train and validate: slices without
pathology of such subjects, not near a slice with some. Test: all kept slices of test subjects.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Generic, Literal, TypeVar

from pydantic import Field, model_validator

from adbench.contracts.dataset import DataRuntime, Dataset, Findings, Problem
from adbench.contracts.splits import Split, Splits
from adbench.errors import DataError
from adbench_datasets.imaging import preprocessing, slice_cache
from adbench_datasets.imaging.cases import Case, FileRef, Scan
from adbench_datasets.imaging.files import CaseError
from adbench_datasets.imaging.preprocessing import Kind, Prepared, prepare
from adbench_datasets.imaging.preprocessing_config import PreprocessingConfig
from adbench_datasets.imaging.reading import read_case
from adbench_datasets.imaging.region import Units
from adbench_datasets.imaging.scan_facts import facts
from adbench_datasets.imaging.slice_cache import Job, SliceCache, key_of

MIN_SUBJECTS = 3
NAMED = 3
"""Skipped cases that a message names."""
PRESETS = {
    "smoke": {"size": 64, "max_subjects": 8},
    "small": {"size": 64},
    "standard": {"size": 64},
    "paper": {"size": 128},
}
NO_LABEL = "has neither a lesion mask nor is it known to be free of lesions"


class ScanConfig(PreprocessingConfig):
    """Fields of every dataset of scans, beside those of the preprocessing (flat: `--set data.size=128`)."""

    split_seed: int = Field(0, ge=0, description="seed of the order of subjects, by which they are split")
    validation_fraction: float = Field(0.1, gt=0, lt=1, description="fraction of the subjects for validation")
    test_fraction: float = Field(0.2, gt=0, lt=1, description="fraction of the subjects for testing")
    max_subjects: int | None = Field(None, ge=3, description="use about so many subjects; null: all")
    test_slices: Literal["all", "lesion"] = Field("all", description="test on all slices, or on those with a lesion")
    max_skipped_fraction: float = Field(
        0.05, ge=0, lt=1, description="stop where more than this fraction of the cases cannot be used"
    )

    @model_validator(mode="after")
    def _some_train(self) -> ScanConfig:
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError("validation_fraction and test_fraction together must leave subjects to train on")
        return self


ConfigT = TypeVar("ConfigT", bound=ScanConfig)


class ScanDataset(Dataset[ConfigT], Generic[ConfigT]):
    """A set of scans with lesion masks; splits are by subject, slices are axial."""

    modality: ClassVar[Literal["MRI", "CT"]]
    own_split: ClassVar[bool] = True
    """False for a set that is only tested on: `load` and `load_healthy` then say to use --train-on."""
    last_trained: ClassVar[Literal["train", "test"]] = "train"
    """"test" for a set without lesions, which is never tested on: all but the validation subjects are trained on."""
    presets = PRESETS

    def __init__(self, config: ConfigT, data_root: Path | None = None, runtime: DataRuntime | None = None) -> None:
        super().__init__(config, data_root, runtime)
        self._cache: SliceCache | None = None

    @abstractmethod
    def cases(self, root: Path) -> list[Case]:
        """Find the cases below `root` (exists) in any order, without reading images.

        Raises DataError saying what was looked for, and where. A case with neither a mask nor `lesion_free` may be
        returned: it is skipped and counted.
        """

    def release(self, root: Path) -> str:
        """Which release or layout was recognised below `root`, for `inspect`."""
        return "as distributed"

    def units(self, case: Case) -> Units:
        """What the numbers of a case's image are; by default "mri" or "hu" by `modality`.

        "grey" is for CT that was stored as grey values of a window (0 to 255): it is divided by 255.
        """
        return "mri" if self.modality == "MRI" else "hu"

    def read(self, case: Case) -> Scan:
        """Read one case; runs in a worker process. Raises CaseError."""
        return read_case(case, self._root())

    def load(self) -> Splits:
        """Return the set's own split. Raises DataError where it has none, or where a part of it is empty."""
        cache = self.prepared()
        self._needs_split(cache)
        splits = Splits(
            train=cache.split(("train", Kind.HEALTHY), ("train", Kind.HEALTHY), truth=False),
            validation=cache.split(("validation", Kind.HEALTHY), ("validation", Kind.HEALTHY), truth=False),
            test=cache.split(self._first_tested(), ("test", Kind.LESION), truth=True),
        )
        splits.check()
        return splits

    def load_healthy(self) -> tuple[Split, Split]:
        """Return the lesion-free slices of training and validation subjects, those of `load`.

        Tests on any number of sets, this one among them, then share one training, and no test subject is seen.
        """
        cache = self.prepared()
        self._needs_split(cache)
        train = cache.split(("train", Kind.HEALTHY), (self.last_trained, Kind.HEALTHY), truth=False)
        validation = cache.split(("validation", Kind.HEALTHY), ("validation", Kind.HEALTHY), truth=False)
        for name, split in (("training", train), ("validation", validation)):
            if not len(split):
                raise DataError(f"No slice free of lesions is left for {name}: add data, or train on another set.")
        return train, validation

    def load_test(self) -> Split:
        """Return all kept slices of all subjects, with their truth."""
        last = ("rest", Kind.LESION if self.config.test_slices == "lesion" else Kind.NEAR)
        first = self._first_tested() if self.config.test_slices == "lesion" else ("validation", Kind.HEALTHY)
        return self.prepared().split(first, last, truth=True)

    def inspect(self) -> Findings:
        """Say what is in the folder and what a run would use; all scans are read and prepared."""
        cache = self.prepared(strict=False)
        problems = [Problem(file, why, skipped=True) for file, why in cache.skipped]
        try:
            self._check_run()
        except DataError as error:
            problems.append(Problem(str(self._root()), str(error), skipped=False))
        tested = (Kind.LESION,) if self.config.test_slices == "lesion" else (Kind.HEALTHY, Kind.NEAR, Kind.LESION)
        found = facts(cache.cases, self.config.size, tested, len(cache.skipped))
        if not self._has_split(cache):
            found["to run"] = "only tested on: name a set to train on with --train-on"
        return Findings({"release": self.release(self._root()), **found}, problems)

    def _check_run(self) -> None:
        """Raise DataError where a run would: on the set alone, or as one to test on where it has no split."""
        self.prepared()
        if self._has_split(self.prepared()):
            self.load()
        else:
            self.load_test()

    def prepared(self, strict: bool = True) -> SliceCache:
        """The slices of all cases that can be used, made where needed.

        Raises DataError where cases are ambiguous, and if `strict` where too many cannot be used.
        """
        if self._cache is None:
            self._cache = self._prepare()
            _tell_skipped(self._cache, self.runtime)
        if strict:
            _refuse_many_skipped(self._cache, self.config.max_skipped_fraction)
        return self._cache

    def _prepare(self) -> SliceCache:
        root = self._root()
        cases = self.cases(root)
        _check_unique(cases)
        unknown = [case for case in cases if case.lesion is None and not case.lesion_free]
        role = split_subjects([case for case in cases if case.lesion or case.lesion_free], self.config, self.own_split)
        role = dict.fromkeys((case.subject for case in unknown), "train") | role  # to be listed as skipped
        subjects = {case.subject for case in cases}
        if left := len(subjects - role.keys()):
            limit = f"data.max_subjects={self.config.max_subjects}"
            self.runtime.notify(f"{self._name}: {len(subjects) - left} of {len(subjects)} subjects are used ({limit})")
        jobs = [self._job(case, role[case.subject], root) for case in cases if case.subject in role]
        jobs.sort(key=lambda job: (_place(self.config.split_seed, job.subject), job.source))
        key = key_of([slice_cache.VERSION, [(job.key, job.role) for job in jobs]])[:16]
        make = partial(_prepare_case, type(self), self.config, root)
        return SliceCache.get(self._cache_root() / f"{self._name}-{key}", jobs, self.config.size, make, self.runtime)

    def _job(self, case: Case, role: str, root: Path) -> Job:
        """The key holds all that decides the pixels; roles are in the key of the whole cache."""
        fields = PreprocessingConfig.model_fields
        content = {
            "code": preprocessing.VERSION,
            "adapter": [type(self).__module__, type(self).__name__, self.info.version],
            "config": self.config.model_dump(mode="json", include=set(fields)),
            "extra": self.config.model_dump(mode="json", exclude={*fields, *ScanConfig.model_fields}),
            "case": [case.subject, case.session, case.lesion_free, case.spacing_mm],
            "labels": [sorted(case.labels.lesion), sorted(case.labels.ignore), sorted(case.labels.background)],
            "threshold": case.labels.threshold,
            "files": {
                name: [_stamp(ref, root) for ref in _refs(getattr(case, name))] for name in ("image", "lesion", "brain")
            },
        }
        source = _relative(_refs(case.image)[0], root)
        return Job(case.subject, source, role, case, key_of(content)[:24])

    def _root(self) -> Path:
        if self.data_root is None:
            raise DataError(
                f"{self.info.summary} must be on this machine: name the folder with --data-root or ADBENCH_DATA. "
                f"Access: {self.info.access}."
            )
        if not os.path.exists(self.data_root):
            raise DataError(f"The data folder must exist, but there is no {self.data_root}: correct --data-root.")
        return self.data_root

    def _cache_root(self) -> Path:
        if self.runtime.cache is not None:
            return self.runtime.cache / "slices"
        self._temporary = tempfile.TemporaryDirectory(prefix="adbench-slices-")
        return Path(self._temporary.name)

    def _first_tested(self) -> tuple[str, Kind]:
        return ("test", Kind.LESION if self.config.test_slices == "lesion" else Kind.HEALTHY)

    def _has_split(self, cache: SliceCache) -> bool:
        return self.own_split and _count_subjects(cache) >= MIN_SUBJECTS

    def _needs_split(self, cache: SliceCache) -> None:
        if self._has_split(cache):
            return
        why = f"it has {_count_subjects(cache)} usable subjects" if self.own_split else "it is only tested on"
        raise DataError(
            f"{self._name}: a set needs {MIN_SUBJECTS} subjects and healthy slices for a split of its own, but {why}: "
            "test on it with a detector trained on another set (--train-on)."
        )

    @property
    def _name(self) -> str:
        return type(self).__name__.lower()


def _count_subjects(cache: SliceCache) -> int:
    return len({case["subject"] for case in cache.cases})


def _prepare_case(cls: type[ScanDataset[ConfigT]], config: ConfigT, root: Path, case: Case) -> Prepared:
    """Read and prepare one case, in a worker process."""
    if case.lesion is None and not case.lesion_free:
        raise DataError(NO_LABEL)
    dataset = cls(config, root)
    try:
        return prepare(dataset.read(case), config, dataset.units(case))
    except CaseError as error:
        raise CaseError(error.file.removeprefix(f"{root}{os.sep}"), error.what) from error


def split_subjects(cases: Iterable[Case], config: ScanConfig, own_split: bool = True) -> dict[str, str]:
    """Subject -> train, validation or test, for the subjects to use; all test if fewer than 3, or not `own_split`.

    Raises DataError where a subject is in two splits of the set's own.
    """
    official: dict[str, str | None] = {}
    for case in cases:
        if official.setdefault(case.subject, case.split) != case.split:
            raise DataError(
                f"A subject belongs to one split, but {case.subject!r} is in both {official[case.subject]} and "
                f"{case.split}: correct the list."
            )
    order = sorted(official, key=lambda subject: _place(config.split_seed, subject))
    if not own_split or len(order) < MIN_SUBJECTS:
        return _fewer(dict.fromkeys(order, "test"), config.max_subjects)
    role = {subject: official[subject] or "train" for subject in order}
    named = set(official.values())
    for part, fraction in (("test", config.test_fraction), ("validation", config.validation_fraction)):
        free = [s for s in order if role[s] == "train" and (part == "validation" or official[s] is None)]
        if part not in named and len(free) > 1:
            for subject in free[: min(max(1, round(fraction * len(order))), len(free) - 1)]:
                role[subject] = part
    return _fewer(role, config.max_subjects)


def _fewer(role: dict[str, str], most: int | None) -> dict[str, str]:
    """The first subjects of each split, in proportion."""
    if most is None or len(role) <= most:
        return role
    parts = {part: [s for s in role if role[s] == part] for part in set(role.values())}
    taken = {s for members in parts.values() for s in members[: max(1, most * len(members) // len(role))]}
    return {s: part for s, part in role.items() if s in taken}


def _place(seed: int, subject: str) -> str:
    return hashlib.sha256(os.fsencode(f"{seed}\0{subject}")).hexdigest()  # names of files may be no UTF-8


def _refs(file: FileRef | Sequence[FileRef | None] | None) -> list[FileRef]:
    return [file] if isinstance(file, FileRef) else [ref for ref in file or () if ref is not None]


def _relative(ref: FileRef, root: Path) -> str:
    base = root if root.is_dir() else root.parent
    return str(FileRef(Path(os.path.relpath(ref.path, base)), ref.member))


def _stamp(ref: FileRef, root: Path) -> list[str | int]:
    """Relative path, size and time of change; a file that is missing gets its own stamp, and an error when read."""
    try:
        status = ref.path.stat()
    except OSError:
        return [_relative(ref, root), -1, -1]
    return [_relative(ref, root), status.st_size, status.st_mtime_ns]


def _check_unique(cases: Sequence[Case]) -> None:
    seen: dict[tuple[str, str], Case] = {}
    for case in cases:
        other = seen.setdefault((case.subject, case.session), case)
        if other is not case:
            a, b = _refs(other.image)[0], _refs(case.image)[0]
            raise DataError(f"Each examination must occur once, but {case.subject!r} is both {a} and {b}: remove one.")
    if not cases:
        raise DataError("At least one case is needed, but the data folder holds none: complete the download.")


def _some(skipped: Sequence[tuple[str, str]]) -> str:
    rest = f"; and {len(skipped) - NAMED} more" if len(skipped) > NAMED else ""
    return "; ".join(f"{file}: {why}" for file, why in skipped[:NAMED]) + rest


def _tell_skipped(cache: SliceCache, runtime: DataRuntime) -> None:
    if cache.skipped:
        total = len(cache.skipped) + len(cache.cases)
        runtime.notify(f"{len(cache.skipped)} of {total} cases cannot be used and are left out: {_some(cache.skipped)}")


def _refuse_many_skipped(cache: SliceCache, limit: float) -> None:
    faults = [(file, why) for file, why in cache.skipped if why != NO_LABEL]
    n = len(cache.cases) + len(faults)
    if not cache.cases or len(faults) > limit * n:
        raise DataError(
            f"At most {limit:.0%} of the cases may be left out (data.max_skipped_fraction), but {len(cache.skipped)} "
            f"of {len(cache.cases) + len(cache.skipped)} cannot be used: {_some(cache.skipped)}"
        )
