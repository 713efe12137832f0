"""Names of plugins -> classes, by entry points alone: first-party plugins register as a stranger's would.

Listing reads package metadata and imports no plugin (and never torch); a plugin is imported when it is
loaded.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from functools import cache
from importlib.machinery import PathFinder
from importlib.metadata import Distribution, EntryPoint, entry_points
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from adbench.contracts.family import FAMILIES, KNOWLEDGE
from adbench.errors import PluginError, UnknownPluginError, suggestion

if TYPE_CHECKING:
    from adbench.contracts.dataset import Dataset
    from adbench.contracts.detector import Detector

DETECTORS = "adbench.detectors"
DATASETS = "adbench.datasets"
NOUNS = {DETECTORS: "detector", DATASETS: "dataset"}
OWN_SETS = " A set of your own runs as --dataset folder --set data.name=NAME (docs/own-data.md)."
"""Said where a dataset is unknown: its name may be one that pages and records have from `data.name`."""


T = TypeVar("T")


@dataclass(frozen=True)
class PluginEntry:
    """One registered name, as the metadata of its distribution gives it."""

    name: str
    distribution: str
    version: str
    target: str
    """`module:Class`."""


@dataclass(frozen=True)
class LoadedPlugin(Generic[T]):
    """A plugin's class and where it comes from."""

    cls: type[T]
    entry: PluginEntry


def names(group: str) -> list[PluginEntry]:
    """All plugins of a group, by name, without importing them.

    Raises:
        PluginError: two distributions register the same name.
    """
    return list(_names(group, tuple((folder, _changed(folder)) for folder in sys.path)))


def _changed(folder: str) -> int:
    """When something was installed into a folder or removed, in ns; 0 where there is none."""
    try:
        return os.stat(folder or ".").st_mtime_ns
    except OSError:
        return 0


@cache
def _names(group: str, path: tuple[tuple[str, int], ...]) -> list[PluginEntry]:
    """As `names`; metadata of all distributions are read once for each state of the folders of the path."""
    by_name: dict[str, PluginEntry] = {}
    for point in entry_points(group=group):
        entry = _entry(point)
        # A distribution that is seen twice (installed, and again on PYTHONPATH) is the same plugin: the first
        # on the path is kept, as Python's import keeps it.
        first = by_name.setdefault(entry.name, entry)
        if _canonical(first.distribution) != _canonical(entry.distribution):
            raise PluginError(
                f"Every {NOUNS[group]} needs a name of its own, but {entry.name!r} is registered by both "
                f"{first.distribution} and {entry.distribution}. Uninstall one of them."
            )
    return sorted(by_name.values(), key=lambda entry: entry.name)


def _entry(point: EntryPoint) -> PluginEntry:
    """Copy an entry point; what an interrupted install leaves behind may have no name or version."""
    name, version = _identity(point.dist)
    return PluginEntry(name=point.name, distribution=name, version=version, target=point.value)


def _identity(dist: Distribution | None) -> tuple[str, str]:
    fields = dict(dist.metadata.items()) if dist else {}  # type: ignore[attr-defined]
    return fields.get("Name", "unknown"), fields.get("Version", "unknown")


def _canonical(distribution: str) -> str:
    """The name by which the index compares distributions (PEP 503)."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def find(group: str, name: str) -> PluginEntry:
    """Return the entry of a name, without importing the plugin.

    Raises:
        UnknownPluginError: nothing is registered under the name.
        PluginError: two distributions register the same name.
    """
    known = {entry.name: entry for entry in names(group)}
    if name not in known:
        hint = suggestion(name, known) or "."
        own = OWN_SETS if group == DATASETS else ""
        raise UnknownPluginError(f"no {NOUNS[group]} {name!r}{hint} Run 'adbench list' to see all {len(known)}.{own}")
    return known[name]


def problem(entry: PluginEntry) -> str | None:
    """Say what is wrong with a plugin as far as that shows without importing it, else None."""
    module = entry.target.partition(":")[0].strip()
    top, *rest = module.split(".")
    try:
        spec, name = find_spec(top), top
        for part in rest:
            # find_spec("a.b") would import a, the path finder only looks. Namespace packages may have finders
            # of their own, so nothing is said about what is inside.
            if spec is None or spec.origin is None:
                break
            name = f"{name}.{part}"
            spec = PathFinder.find_spec(name, spec.submodule_search_locations or [])
    except (ImportError, ValueError):
        spec = None
    return None if spec else f"module {module!r} is not found"


def load_detector(name: str) -> LoadedPlugin[Detector[Any]]:
    """Import the detector registered under `name`.

    Raises:
        UnknownPluginError: nothing is registered under the name.
        PluginError: the plugin cannot be imported, or is no detector.
    """
    entry = find(DETECTORS, name)
    from adbench.contracts.detector import Detector

    return _load(DETECTORS, entry, Detector)


def load_dataset(name: str) -> LoadedPlugin[Dataset[Any]]:
    """Import the dataset registered under `name`; raises as `load_detector` does."""
    entry = find(DATASETS, name)
    from adbench.contracts.dataset import Dataset

    return _load(DATASETS, entry, Dataset)


def _load(group: str, entry: PluginEntry, base: type[Any]) -> LoadedPlugin[Any]:
    owner = f"{NOUNS[group]} {entry.name!r} of {entry.distribution} {entry.version}"
    try:
        cls = EntryPoint(entry.name, entry.target, group).load()
    except (Exception, SystemExit) as error:  # a stranger's module may raise anything, or be a script
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        raise PluginError(
            f"The {owner} cannot be loaded from {entry.target} ({cause}). Repair or uninstall {entry.distribution}."
        ) from error
    fault = _fault(cls, base)
    if fault:
        raise PluginError(f"The {owner} must be a complete {base.__name__} of adbench, but {fault}.")
    return LoadedPlugin(cls=cls, entry=entry)


def _fault(cls: Any, base: type) -> str | None:
    """Say how a loaded object breaks its contract, else None."""
    if not (isinstance(cls, type) and issubclass(cls, base)):
        return f"{cls!r} is none"
    missing = getattr(cls, "__abstractmethods__", None)
    if missing:
        return f"{cls.__name__} does not define {', '.join(sorted(missing))}"
    if not hasattr(cls, "info"):
        return f"{cls.__name__} has no `info`"
    for field, known in (("family", (None, *FAMILIES)), ("knowledge", KNOWLEDGE)):  # a dataset has neither
        if getattr(cls, field, known[0]) not in known:
            return f"its {field} is {getattr(cls, field)!r}, not one of {', '.join(filter(None, known))}"
    return None
