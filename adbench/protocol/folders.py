"""The folders of a run: known to be writable before it begins, and a cell for one process at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from adbench.config.options import Reporter, RunOptions
from adbench.errors import AdbenchError
from adbench.protocol.cell import Cell
from adbench.results.record import write_text
from adbench.storage.files import writing
from adbench.storage.leases import Lease
from adbench.storage.store import PROBE_BYTES, ArtifactStore


def check_writable(options: RunOptions) -> None:
    """Raise AdbenchError where results or parts cannot be written, before hours are spent; leave nothing then."""
    store = ArtifactStore.below(options.cache)
    folders = (options.out, store.root)
    made = [path for folder in folders for path in (folder, *folder.parents) if not os.path.lexists(path)]
    probe = options.out / ".adbench-probe"
    try:
        write_text(probe, " " * PROBE_BYTES)
        probe.unlink(missing_ok=True)
        store.check_writable()
    except AdbenchError:
        for path in sorted(made, reverse=True):  # the deepest first
            with suppress(OSError):
                path.rmdir()
        raise


@contextmanager
def only_one(cell: Cell, reporter: Reporter, writes: bool = False) -> Iterator[None]:
    """Hold the lease of this cell; a second run of the same cell says that it waits.

    writes: what is written of it has a lease of its own: where one run was held up and taken for gone, both end.
    """
    folder = cell.options.cache / "cells"
    name = f"{cell.data.name}-{cell.method}-{cell.config_hash}-seed{cell.options.seed}{'.record' if writes else ''}"
    with writing("What is cached", folder):
        folder.mkdir(parents=True, exist_ok=True)
        lease = Lease(folder / f"{name}.lease")
        waits = f"{cell.method}: another process runs this very cell: waiting for its record"
        lease.acquire(lambda: reporter.message(waits))
    with lease:
        yield
