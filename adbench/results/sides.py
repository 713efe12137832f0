"""What is compared with what: methods, files of records or folders of records, paired where both measured alike."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adbench.config.nested import flat
from adbench.errors import RecordError
from adbench.results import formats
from adbench.results.columns import canonical
from adbench.results.record import Record, read_record, read_records

Side = list[tuple[Path, Record]]
"""(folder, record) of each seed."""


@dataclass(frozen=True)
class Key:
    """What two sides must have in common."""

    dataset: str
    images: str
    """Fingerprint, region, and the images trained on."""
    protocol: str
    method: str = ""
    """Where folders are compared: a method with itself."""


@dataclass(frozen=True)
class Pair:
    """Two sides of one comparison."""

    dataset: str
    """And by which of several rules on it."""
    a: Side
    b: Side

    @property
    def methods(self) -> tuple[str, str]:
        return self.a[0][1].detector.name, self.b[0][1].detector.name

    @property
    def of_one(self) -> bool:
        """Whether both are runs of one method."""
        return len(set(self.methods)) == 1

    @property
    def names(self) -> tuple[str, str]:
        """What tells the two apart."""
        return ("a", "b") if self.of_one else self.methods


@dataclass(frozen=True)
class Pairs:
    """All that can be compared, and on which methods and datasets only one has records."""

    pairs: list[Pair]
    only_a: list[str]
    only_b: list[str]
    folders: bool
    """Whether each method is compared with itself in another folder."""


def pairs(a: str, b: str, out: Path, against: Path, datasets: Sequence[str] = ()) -> Pairs:
    """Pair the records of two sides, each a method (below `out` or `against`), a record's file or a folder.

    Raises RecordError where there is nothing to compare, or a side has several settings for one place.
    """
    if a == b and out.resolve() == against.resolve():
        raise RecordError(f"A comparison needs two sides, but got {a} alone: name another method, or --against DIR.")
    folders = is_folder(a) or is_folder(b)
    ours, theirs = (
        {key: of for key, of in _sides(*each, folders).items() if not datasets or key.dataset in datasets}
        for each in ((a, out), (b, against))
    )
    if is_folder(a) != is_folder(b):  # one method of the folder
        methods = {key.method for key in (theirs if is_folder(a) else ours)}
        ours, theirs = ({key: of for key, of in side.items() if key.method in methods} for side in (ours, theirs))
    keys = [key for key in ours if key in theirs]
    paired = [
        Pair(_label(key, keys), *sides) for key in keys for sides in _alike(ours[key], theirs[key], (a, b), folders)
    ]
    if not paired:
        where = " and ".join(sorted({name if is_folder(name) else str(at) for name, at in ((a, out), (b, against))}))
        raise RecordError(
            f"A comparison needs records of both on the same images by the same rules, but {a} and {b} have none in "
            f"{where}. Run 'adbench table' to see what there is."
        )
    only_a, only_b = (
        [_place(key) for key in mine if key not in other] for mine, other in ((ours, theirs), (theirs, ours))
    )
    return Pairs(paired, only_a, only_b, folders)


def is_folder(name: str) -> bool:
    """Whether a side is a folder of records."""
    return (Path(name) / "records").is_dir()


def _sides(name: str, out: Path, folders: bool) -> dict[Key, Side]:
    """The records of a method, of a file, or of all methods of a folder, by what they can be compared on."""
    if name.endswith(".json"):
        chosen, out = [read_record(Path(name))], _folder_of(Path(name))
    elif is_folder(name):
        out = Path(name)
        chosen = read_records(out)
    else:
        chosen = [record for record in read_records(out) if record.detector.name == name]
    sides: dict[Key, Side] = {}
    for record in chosen:
        if record.status == "ok":
            of, method = record.dataset, record.detector.name if folders else ""
            images = canonical([of.fingerprint, of.region, of.train_on.fingerprint if of.train_on else ""])
            sides.setdefault(Key(of.name, images, canonical(record.protocol), method), []).append((out, record))
    return sides


def _folder_of(record: Path) -> Path:
    """The folder of results that a record lies in."""
    return record.parents[3] if len(record.parents) > 3 else record.resolve().parents[3]


def _alike(a: Side, b: Side, names: tuple[str, str], folders: bool) -> list[tuple[Side, Side]]:
    """Of one setting each; of folders with several settings of a method, those that both have."""
    ours, theirs = _by_settings(a), _by_settings(b)
    if len(ours) == len(theirs) == 1:
        return [(a, b)]
    if folders and (common := [settings for settings in ours if settings in theirs]):
        return [(ours[settings], theirs[settings]) for settings in common]
    name, side = (names[0], a) if len(ours) > 1 else (names[1], b)
    files = ", ".join(str(folder / record.path) for folder, record in side)
    raise RecordError(f"{name} has several settings on {a[0][1].dataset.name}: name one of {files} instead.")


def _by_settings(side: Side) -> dict[str, Side]:
    by_settings: dict[str, Side] = {}
    for folder, record in side:
        by_settings.setdefault(record.config_hash, []).append((folder, record))
    return by_settings


def _label(key: Key, keys: Sequence[Key]) -> str:
    rules, *others = (flat(json.loads(each.protocol)) for each in (key, *(k for k in keys if k.dataset == key.dataset)))
    differing = {name: value for name, value in rules.items() if any(each.get(name) != value for each in others)}
    return ", ".join(filter(None, [key.dataset, formats.settings(differing) if differing else ""]))


def _place(key: Key) -> str:
    return f"{key.method} on {key.dataset}" if key.method else key.dataset
