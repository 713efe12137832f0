"""The plan of a detector: made in one place, so that whoever asks for it gets the same one, or the same error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from adbench.contracts.detector import Detector, DetectorConfig, Images, Runtime
from adbench.contracts.plan import Plan
from adbench.contracts.registry import LoadedPlugin
from adbench.errors import AdbenchError, PluginError


def plan_of(
    plugin: LoadedPlugin[Detector[Any]], config: DetectorConfig, runtime: Runtime, healthy: Images, validation: Images
) -> Plan:
    """Return what a detector of this config says that `fit` and `score` will do with these images.

    The detector that is asked is made for the question: one that is fitted later has not been asked anything.

    Raises:
        AdbenchError: what the detector raised, as where it does not suit the images, with the method's name before it.
        PluginError: it cannot be made, its plan breaks, or is none.
    """
    with named(plugin):
        plan = plugin.cls(config, runtime).plan(healthy, validation)
        if not isinstance(plan, Plan):
            raise TypeError(f"plan() returned {type(plan).__name__} and no Plan")
        plan = replace(plan, parts=tuple(plan.parts), passes=dict(plan.passes))
        for part in plan.parts:
            part.spec.key  # noqa: B018  # a spec that cannot be hashed is found here
        counts = [*plan.passes.values(), plan.image_passes, *(part.steps for part in plan.parts)]
        if not all(isinstance(n, int) and n >= 0 for n in counts):
            raise TypeError(f"passes and steps must be whole numbers from 0 on, got {counts}")
        return plan


@contextmanager
def named(plugin: LoadedPlugin[Detector[Any]]) -> Iterator[None]:
    """Name the method in whatever its plan raises within the block. Raises as `plan_of`."""
    entry = plugin.entry
    try:
        yield
    except AdbenchError as error:
        error.args = (f"{entry.name}: {error}",)
        raise
    except (Exception, SystemExit) as error:  # a stranger's code may raise anything
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        raise PluginError(
            f"A method must say what it will do before it does it, but {entry.name} of {entry.distribution} "
            f"{entry.version} cannot plan ({cause}). Repair {entry.distribution}, or leave {entry.name} out."
        ) from error
