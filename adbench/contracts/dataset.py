"""The dataset contract: three splits of single-channel images, and where they come from.

A dataset is a plugin (entry-point group `adbench.datasets`): a subclass of `Dataset` with a frozen `Config`, an `info`
card, and one verb, `load`, which reads the data as distributed and returns `Splits`. Arrays may be memory-mapped.
Training and validation are healthy; overlap between splits is an error (`Splits.check`). A set that is trained on
healthy images of another one gives its test images by `load_test`, and the other its healthy ones by `load_healthy`.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from adbench.config.options import Progress, Silent
from adbench.contracts.scans import NewScan, Preparation, PreparedScan, ScanView, Traits
from adbench.contracts.splits import Split, Splits
from adbench.errors import DataError, counted


class DatasetConfig(BaseModel):
    """Base of every dataset's configuration: frozen, unknown keys forbidden."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


SEEN_IN_IMAGES = frozenset({"unmatched"})
"""Fields of any dataset that decide only which images there are, which their fingerprint tells: no part of an identity,
so that results do not hang on what was said of images without a mask where there were none."""


@dataclass(frozen=True)
class Reported:
    """A number that a publication prints for a method on a dataset."""

    method: str
    """As the publication names it."""
    metric: str
    """Key of a metric, or `s_per_100_slices`."""
    value: float
    source: str
    """The publication."""
    place: str
    """Its table or section."""
    registered: str = ""
    """The method's name here; empty where it is not the same method."""
    differs: str = ""
    """In what its data or rules differ from this adapter's, in a phrase."""


@dataclass(frozen=True)
class DatasetInfo:
    """What a user must know before using a dataset."""

    summary: str
    licence: str
    citation: str
    modality: str
    access: str
    """How to get the data; "none needed" for generated data."""
    version: str
    """Version of the adapter's rules: raise it when the same files would give other pixels or splits."""
    spacing_mm: float | None = None
    synthetic: str = ""
    """What of it a program made: "lesions", say, or "images and lesions"; empty where all is real."""
    reported: Sequence[Reported] = ()
    """Published results."""
    releases: str = ""
    """Those that are read."""
    counts: str = ""
    """Subjects, sessions, images, as published."""
    unconfirmed: str = ""
    """What of all this was not seen in the data themselves."""
    pictures: str = ""
    """Notice under which pictures of its images may be published; empty: they may not be."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with one file, and what follows."""

    file: str
    what: str
    skipped: bool
    """True: the case is left out, counted and listed; False: nothing can be run until it is mended."""


WITH_DIGITS = re.compile(r"\S*\d\S*")
"""Numbers, and most names of files, in which problems that are alike differ."""


@dataclass(frozen=True)
class ProblemsAlike:
    """Problems that differ in numbers and names alone."""

    what: str
    """Of the first of them, with what mends it."""
    files: int
    first: str
    skipped: bool


@dataclass(frozen=True)
class Findings:
    """What was found in the data folder: the answer of `adbench data check`."""

    facts: Mapping[str, str]
    """In the order to show them: release, subjects, slices, lesions by size, spacing, intensities, splits and so on."""
    problems: Sequence[Problem] = ()

    def alike(self) -> list[ProblemsAlike]:
        """The problems by what is wrong, those to mend first, then by their number."""
        groups: dict[tuple[bool, str], list[Problem]] = {}
        for problem in self.problems:
            groups.setdefault((problem.skipped, WITH_DIGITS.sub("", problem.what)), []).append(problem)
        ordered = sorted(groups.values(), key=lambda group: (group[0].skipped, -len(group)))
        return [ProblemsAlike(group[0].what, len(group), group[0].file, group[0].skipped) for group in ordered]


def split_facts(splits: Splits) -> dict[str, str]:
    """What `inspect` says of any set: the size of its images, and how many there are of how many subjects."""
    height, width = splits.test.images.shape[2:]
    sizes = {
        f"{name} images": f"{len(split)} of {counted(len(set(split.subjects)), 'subject')}"
        for name, split in splits.items()
    }
    return {"image size": f"{height} x {width}", **sizes}


@dataclass(frozen=True)
class DataRuntime:
    """Where a dataset keeps what it prepares, and to whom it reports; the harness fills it."""

    cache: Path | None = None
    """Folder for prepared data; None: a temporary one."""
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    verify: bool = False
    """Read all files again, whatever is remembered of them."""
    progress: Progress = Silent().progress
    """Called as progress(what, done, total)."""
    notify: Callable[[str], None] = Silent().message
    """Called with one sentence that the user should see, for example of skipped cases."""


ConfigT = TypeVar("ConfigT", bound=DatasetConfig)


class Dataset(ABC, Generic[ConfigT]):
    """One benchmark dataset. `Config` fields are options of `--set data.<field>=<value>`."""

    Config: ClassVar[type[DatasetConfig]] = DatasetConfig
    info: ClassVar[DatasetInfo]
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Preset name -> config values; a preset that is not named here leaves the defaults."""
    has_patients_of: ClassVar[Collection[str]] = ()
    """Registered names of sets whose patients this one has too, under the same subjects as far as they are known: those
    that are trained on there are left out of the test images. Of other sets a subject in both is an error."""
    name: str = ""
    """What messages, records and pages call the set: a name that its config gives, else the registered one, which the
    harness fills in."""

    def __init__(self, config: ConfigT, data_root: Path | None = None, runtime: DataRuntime | None = None) -> None:
        """`data_root` is the folder as downloaded (`--data-root` or ADBENCH_DATA); None where none was given."""
        self.config = config
        self.data_root = data_root
        self.runtime = runtime or DataRuntime()

    @abstractmethod
    def load(self) -> Splits:
        """Read the data. Raises DataError saying what was looked for, and where."""

    def load_healthy(self) -> tuple[Split, Split]:
        """Return healthy training and validation images, for tests on another set (`--train-on`)."""
        splits = self.load()
        return splits.train, splits.validation

    def load_test(self) -> Split:
        """Return the test images for a detector that was trained on another set; here those of `load`."""
        return self.load().test

    def scans(self, split: Split) -> Sequence[ScanView]:
        """Return the scans that the images of `split`, one of this set's, are slices of; none for sets of pictures."""
        return ()

    def preparation(self) -> Preparation:
        """Say how images are made of scans. Raises DataError where a new scan cannot be made images of."""
        raise DataError(
            f"A model is used on scans that are prepared as in training, but {self.name} does not prepare new ones: "
            "train on a dataset of scans, such as folder."
        )

    def find_scans(self, paths: Sequence[Path]) -> Sequence[NewScan]:
        """Find the scans that a user named: files, or folders. Raises DataError where a path holds none."""
        self.preparation()
        return ()

    def prepare_scan(self, scan: NewScan, force: bool = False) -> PreparedScan:
        """Read a scan that `find_scans` found and make images of it exactly as of those that are trained on.

        Needs no data root. Raises DataError where it cannot be read, or cannot be of this modality; the latter is a
        caution with `force`.
        """
        self.preparation()
        raise NotImplementedError  # one that says how it prepares scans must do it

    def traits(self, split: Split) -> Sequence[Traits]:
        """What some of the scans behind a split are like, in the words of `PreparedScan.traits`."""
        return ()

    def inspect(self) -> Findings:
        """Say what is in the data folder and what a run would use. Raises DataError where nothing can be read."""
        return Findings(split_facts(self.load()))
