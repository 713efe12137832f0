"""Cases prepared in several processes, a file each, so that little is lost when a run is killed."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError

from adbench.contracts.dataset import DataRuntime
from adbench.errors import DataError
from adbench.storage.files import write_atomic
from adbench_datasets.imaging.files import CaseError
from adbench_datasets.imaging.slice_jobs import CONTENTS, MASKS, PLACEMENT, Job, Make, writing

MAX_WORKERS = 6
"""Each needs about 260 MB for a scan of 240 x 240 x 155: so preparing stays below 2 GiB."""
CASES_PER_WORKER = 16
"""A process takes a second or more to start: not worth it for fewer."""


def prepare_all(jobs: Sequence[Job], shards: Path, make: Make, runtime: DataRuntime) -> dict[str, tuple[str, str]]:
    """Make a file of each case that has none. Returns key -> (file, reason) for those that cannot be used."""
    todo = [job for job in jobs if not whole(shards / f"{job.key}.npz")]
    what, done = "prepare scans", len(jobs) - len(todo)
    runtime.progress(what, done, len(jobs))
    workers = min(runtime.workers, MAX_WORKERS, -(-len(todo) // CASES_PER_WORKER))
    why: dict[str, tuple[str, str]] = {}
    try:
        with (
            joblib.parallel_config(backend="loky", inner_max_num_threads=1) if workers > 1 else joblib.parallel_config()
        ):
            pool = joblib.Parallel(n_jobs=max(workers, 1), return_as="generator_unordered", pre_dispatch="2*n_jobs")
            for key, reason in pool(joblib.delayed(make_shard)(make, job.case, job.key, shards) for job in todo):
                done += 1
                runtime.progress(what, done, len(jobs))
                if reason:
                    why[key] = reason
    except TerminatedWorkerError as error:
        raise DataError(
            "Scans are prepared in several processes, but one was ended, most likely for lack of memory. Run it again "
            "with fewer workers; what is done is kept."
        ) from error
    finally:
        if workers > 1:
            get_reusable_executor().shutdown(wait=True)  # else idle processes keep their memory for minutes
    return why


def usable(case: Any, make: Make) -> bool:
    try:
        make(case)
    except DataError:
        return False
    return True


def make_shard(make: Make, case: Any, key: str, shards: Path) -> tuple[str, tuple[str, str] | None]:
    """Prepare one case and write its file; return its key and, where it cannot be used, the file and the reason."""
    try:
        made = make(case)
    except CaseError as error:
        return key, (error.file, error.what)
    except DataError as error:
        return key, ("", str(error))
    meta = {
        PLACEMENT: made.placement.model_dump(mode="json"),
        "hashes": made.hashes,
        "hash": made.scan_hash,
        "facts": made.facts,
    }
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {name: np.packbits(getattr(made, name), axis=-1) for name in MASKS}
    arrays[CONTENTS] = made.contents
    note = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    np.savez(buffer, images=made.images, meta=note, **arrays)
    with writing(shards):
        write_atomic(shards / f"{key}.npz", buffer.getvalue())
    return key, None


def whole(shard: Path) -> bool:
    try:
        with zipfile.ZipFile(shard) as file:
            return file.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False
