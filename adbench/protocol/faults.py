"""Faults of a detector, told from those of the user's input."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from adbench.config.options import Reporter
from adbench.errors import AdbenchError, ScoreError, TrainingError
from adbench.protocol.cell import Cell


class DetectorError(Exception):
    """A fault of a detector, in one line."""


@contextmanager
def faults(cell: Cell, reporter: Reporter) -> Iterator[None]:
    """Turn whatever a detector raises into a DetectorError. A fault of the user's input stays what it is."""
    try:
        yield
    except (DetectorError, ScoreError, TrainingError) as error:
        reason = str(error)
    except AdbenchError:
        raise
    except (torch.OutOfMemoryError, MemoryError) as error:
        batch = f"protocol.batch_size={cell.protocol.batch_size}"
        reason = f"out of memory on {cell.device} ({error}): lower {batch}, or the method's own batch size"
    except (Exception, SystemExit) as error:
        reporter.message(traceback.format_exc())
        reason = f"{type(error).__name__}: {error}"
    else:
        return
    raise DetectorError(" ".join(reason.split()))
