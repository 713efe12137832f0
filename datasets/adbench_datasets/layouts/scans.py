"""Base class of all datasets of scans: an adapter lists the cases, and everything else is here.

An adapter is a subclass of `ScanDataset` with `info`, `modality` and `cases(root)`; see `brats.py`. Hooks with a
default: `release`, `units`, `read`. Its config is `ScanConfig` or a subclass that sets other defaults or adds fields.

Splits are by subject. The set's own split is kept where a case names one; otherwise the hash of (split_seed, subject)
orders the subjects, so neither names of files nor the order of a listing matter. Train and validate: slices without
pathology of such subjects, not near a slice with some. Test: all kept slices of test subjects.
"""

from __future__ import annotations

import os
import tempfile
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Generic, Literal

from adbench.contracts.dataset import DataRuntime, Dataset, Findings, Problem
from adbench.contracts.scans import NewScan, Preparation, PreparedScan, ScanView, Traits
from adbench.contracts.splits import Split, Splits
from adbench.errors import DataError, counted
from adbench_datasets.imaging import preprocessing, slice_cache
from adbench_datasets.imaging.cases import Case, FileRef, Scan
from adbench_datasets.imaging.file_hashes import content_hashes
from adbench_datasets.imaging.files import CaseError
from adbench_datasets.imaging.preprocessing import Content, Prepared, prepare
from adbench_datasets.imaging.preprocessing_config import PreprocessingConfig
from adbench_datasets.imaging.reading import read_case
from adbench_datasets.imaging.region import Units
from adbench_datasets.imaging.scan_facts import facts, strata_facts
from adbench_datasets.imaging.scan_views import views
from adbench_datasets.imaging.slice_cache import SliceCache
from adbench_datasets.imaging.slice_jobs import CONTENTS, Job, key_of
from adbench_datasets.imaging.traits import traits_of
from adbench_datasets.layouts import new_scans, skipped
from adbench_datasets.layouts.discovery import some_names
from adbench_datasets.layouts.scan_config import PRESETS, ConfigT, ScanConfig
from adbench_datasets.layouts.subjects import LEAST, MIN_SUBJECTS, check_cases, order_of, refs_of, split_subjects
from adbench_datasets.layouts.unread import check_healthy, unread

PARTS = ("image", "lesion", "brain")
SCALES: Mapping[str, Units] = {
    "window_centre_hu": "hu",
    "window_width_hu": "hu",
    "lower_percentile": "mri",
    "upper_percentile": "mri",
}
"""Settings that only images of one scale have."""
WHY = {"hu": "no image is CT in HU", "mri": "no image is MRI"}
TRAITED = 12
"""Scans that are read to say what those of a split are like."""


class ScanDataset(Dataset[ConfigT], Generic[ConfigT]):
    """A set of scans with lesion masks; splits are by subject, slices are axial."""

    modality: ClassVar[Literal["MRI", "CT"]]
    own_split: ClassVar[bool] = True
    """False for a set that is only tested on: `load` and `load_healthy` then say to use --train-on."""
    last_trained: ClassVar[Literal["train", "test"]] = "train"
    """"test" for a set without lesions, which is never tested on: all but the validation subjects are trained on."""
    channel: int | None = None
    """Which channel of colour pictures is read; None: they must be grey."""
    bids_suffix: str = "FLAIR"
    bids_entity: str | None = None
    """Which images of a BIDS folder of new scans are meant."""
    presets = PRESETS

    def __init__(self, config: ConfigT, data_root: Path | None = None, runtime: DataRuntime | None = None) -> None:
        super().__init__(config, data_root, runtime)
        self._cache: SliceCache | None = None
        self._cases: list[Case] = []

    @abstractmethod
    def cases(self, root: Path) -> list[Case]:
        """Find the cases below `root` (exists) in any order, without reading images.

        Raises DataError saying what was looked for, and where. A case with neither a mask nor `lesion_free` may be
        returned: `unmatched` says what becomes of it.
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
        return read_case(case, self._root(), self.channel)

    def load(self) -> Splits:
        """Return the set's own split. Raises DataError where it has none, or where a part of it is empty."""
        cache = self.prepared()
        self._needs_split(cache)
        splits = Splits(
            train=cache.split(("train", Content.HEALTHY), ("train", Content.HEALTHY), truth=False),
            validation=cache.split(("validation", Content.HEALTHY), ("validation", Content.HEALTHY), truth=False),
            test=cache.split(self._first_tested(), ("test", Content.LESION), truth=True),
        )
        splits.check()
        return splits

    def load_healthy(self) -> tuple[Split, Split]:
        """Return the lesion-free slices of training and validation subjects, those of `load`.

        Tests on any number of sets, this one among them, then share one training, and no test subject is seen.
        """
        cache = self.prepared()
        self._needs_split(cache)
        train = cache.split(("train", Content.HEALTHY), (self.last_trained, Content.HEALTHY), truth=False)
        validation = cache.split(("validation", Content.HEALTHY), ("validation", Content.HEALTHY), truth=False)
        for name, split in (("training", train), ("validation", validation)):
            if not len(split):
                raise DataError(f"No slice free of lesions is left for {name}: add data, or train on another set.")
        return train, validation

    def load_test(self) -> Split:
        """Return all kept slices of all subjects, with their truth."""
        last = ("rest", Content.LESION if self.config.test_slices == "lesion" else Content.NEAR)
        first = self._first_tested() if self.config.test_slices == "lesion" else ("validation", Content.HEALTHY)
        return self.prepared().split(first, last, truth=True)

    def scans(self, split: Split) -> Sequence[ScanView]:
        """Return the scans of a split of this set; each is read when it is asked."""
        root, cache = self._root(), self.prepared()
        sized = {case["source"] for case in cache.cases if case["facts"]["spacing_mm"]}
        cases = {_relative(refs_of(case.image)[0], root): case for case in self.cases(root)}

        def read(source: str) -> tuple[Scan, Units]:
            return self.read(cases[source]), self.units(cases[source])

        return views(split, cache.placements(), read, sized)

    def preparation(self) -> Preparation:
        """Say how slices are made of scans."""
        return new_scans.preparation(self.config, self.info.version, self.modality)

    def find_scans(self, paths: Sequence[Path]) -> Sequence[NewScan]:
        """Find NIfTI, pictures, DICOM series and BIDS images. Raises DataError where a path holds none."""
        return new_scans.find(paths, self.bids_suffix, self.bids_entity)

    def prepare_scan(self, scan: NewScan, force: bool = False) -> PreparedScan:
        """Read a new scan and cut it as those of the set. Raises DataError."""
        reader = new_scans.Reader(self.modality, self.info.modality, self.channel, self.units)
        return reader.prepared(scan, self.config, force)

    def traits(self, split: Split) -> Sequence[Traits]:
        """What some scans of a split are like, at even distances among its scans; they are read for it."""
        root, sources = self._root(), sorted({source.rpartition("[")[0] for source in split.sources})
        cases = {_relative(refs_of(case.image)[0], root): case for case in self.cases(root)}
        taken = [cases[source] for source in sources[:: -(-len(sources) // TRAITED) or 1]]
        return [traits_of(self.read(case), self.units(case)) for case in taken]

    def inspect(self) -> Findings:
        """Say what is in the folder and what a run would use; all scans are read and prepared."""
        cache = self.prepared(strict=False)
        problems = [Problem(file, why, skipped=True) for file, why in cache.skipped]
        try:
            self._check_run()
        except DataError as error:
            problems.append(Problem(str(self._root()), str(error), skipped=False))
        tested = (
            (Content.LESION,)
            if self.config.test_slices == "lesion"
            else (Content.HEALTHY, Content.NEAR, Content.LESION)
        )
        has_split = self._has_split(cache)
        cases = cache.cases if has_split else [case | {"role": "test"} for case in cache.cases]
        found = facts(cases, self.config.size, tested, len(cache.skipped)) | strata_facts(self._cases)
        if not has_split:
            found["to run"] = "only tested on: name a set to train on with --train-on"
        elif len({case["subject"] for case in cases if case["role"] == "validation"}) < LEAST["validation"]:
            found["to run"] = "validation images are of one subject: add another, or name a set with --train-on"
        return Findings({"release": self.release(self._root()), "modality": self.info.modality, **found}, problems)

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
            skipped.tell(self._cache, self.runtime)
        if strict:
            skipped.refuse(self._cache, self.config)
        return self._cache

    def _prepare(self) -> SliceCache:
        root = self._root()
        found = self.cases(root)
        cases = self._cases = [skipped.judged(case, self.config) for case in found]
        check_cases(cases)
        check_healthy([b for a, b in zip(found, cases, strict=True) if skipped.called_healthy(a, b)], cases, root)
        if beside := unread(cases, root):
            self.runtime.notify(f"{self._name}: images that are not read, beside those that are: {some_names(beside)}")
        self._check_scales({self.units(case) for case in cases})
        unknown = [case for case in cases if case.lesion is None and not case.lesion_free]
        role = split_subjects([case for case in cases if case.lesion or case.lesion_free], self.config, self.own_split)
        role = dict.fromkeys((case.subject for case in unknown), "train") | role  # to be listed as skipped
        subjects = {case.subject for case in cases}
        if left := len(subjects - role.keys()):
            limit = f"data.max_subjects={self.config.max_subjects}"
            self.runtime.notify(f"{self._name}: {len(subjects) - left} of {len(subjects)} subjects are used ({limit})")
        used = [case for case in cases if case.subject in role]
        files = {part: [refs_of(getattr(case, part)) for case in used] for part in PARTS}
        hashes = content_hashes((ref for part in files.values() for refs in part for ref in refs), root, self.runtime)
        jobs = [self._job(case, role[case.subject], root, hashes) for case in used]
        jobs.sort(key=lambda job: (order_of(self.config.split_seed, job.subject), job.source))
        key = key_of([slice_cache.VERSION, [(job.key, job.role) for job in jobs]])[:16]
        make = partial(_prepare_case, type(self), self.config, root)
        folder = self._cache_root() / f"{type(self).__name__.lower()}-{key}"
        return SliceCache.get(folder, jobs, self.config.size, make, self.runtime)

    def _check_scales(self, units: set[Units]) -> None:
        """Raise DataError where a setting was given of a scale that no image has."""
        for name, unit in SCALES.items():
            if unit not in units and getattr(self.config, name) != type(self.config).model_fields[name].default:
                raise DataError(f"data.{name} means nothing here: {WHY[unit]}. Leave it out.")

    def _job(self, case: Case, role: str, root: Path, hashes: Mapping[FileRef, str]) -> Job:
        """The key holds all that decides the pixels; roles are in the key of the whole cache."""
        fields = PreprocessingConfig.model_fields
        content = {
            "code": preprocessing.VERSION,
            "adapter": [type(self).__module__, type(self).__name__, self.info.version],
            "config": self.config.model_dump(mode="json", include=set(fields)),
            "extra": self.config.model_dump(mode="json", exclude={*fields, *ScanConfig.model_fields, "name"}),
            "case": [case.subject, case.session, case.lesion_free, case.spacing_mm],
            "labels": [sorted(case.labels.lesion), sorted(case.labels.ignore), sorted(case.labels.background)],
            "others": [case.labels.others, case.shows_lesion],
            "threshold": case.labels.threshold,
            "files": {
                part: [[_relative(ref, root), hashes[ref]] for ref in refs_of(getattr(case, part))] for part in PARTS
            },
        }
        source = _relative(refs_of(case.image)[0], root)
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

    def _first_tested(self) -> tuple[str, Content]:
        return ("test", Content.LESION if self.config.test_slices == "lesion" else Content.HEALTHY)

    def _has_split(self, cache: SliceCache) -> bool:
        return self.own_split and _count_subjects(cache) >= MIN_SUBJECTS and _can_train(cache)

    def _needs_split(self, cache: SliceCache) -> None:
        if self._has_split(cache):
            return
        why = f"it has {counted(_count_subjects(cache), 'usable subject')}"
        if not self.own_split:
            why = "it is only tested on"
        elif not _can_train(cache):
            why += ", none with a healthy slice to train on"
        raise DataError(
            f"{self._name}: a set needs {MIN_SUBJECTS} subjects and healthy slices for a split of its own, but {why}: "
            "test on it with a detector trained on another set (--train-on)."
        )

    @property
    def _name(self) -> str:
        return self.name or type(self).__name__.lower()


def _count_subjects(cache: SliceCache) -> int:
    return len({case["subject"] for case in cache.cases})


def _can_train(cache: SliceCache) -> bool:
    """Whether any subject that is not tested on has a healthy slice."""
    return any(case[CONTENTS][Content.HEALTHY] for case in cache.cases if case["role"] != "test")


def _prepare_case(cls: type[ScanDataset[ConfigT]], config: ConfigT, root: Path, case: Case) -> Prepared:
    """Read and prepare one case, in a worker process."""
    skipped.check_known(case)
    dataset = cls(config, root)
    try:
        return prepare(dataset.read(case), config, dataset.units(case))
    except CaseError as error:
        raise CaseError(error.file.removeprefix(f"{root}{os.sep}"), skipped.reason(case, error)) from error


def _relative(ref: FileRef, root: Path) -> str:
    base = root if root.is_dir() else root.parent
    return str(FileRef(Path(os.path.relpath(ref.path, base)), ref.member))
