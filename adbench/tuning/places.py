"""Where studies are kept: by default an SQLite file below the cache folder, else what a URL names.

PostgreSQL and other databases are named as SQLAlchemy does, a journal file as `journal:///folder/file.log`. What goes
wrong on the way there becomes one kind of error.

A database knows by a heartbeat that the process of a trial has died on another machine. A journal file does not: such
a trial counts as under way until `adbench tune` is run again on the machine that its process died on.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError

from adbench.config.urls import shown, shown_text
from adbench.errors import AdbenchError, TuningError
from adbench.storage.leases import Lease

HEARTBEAT_S, GRACE_S = 30, 120
JOURNAL = "journal:"
BUSY_S = 60.0
"""How long a process waits for an SQLite file that others write to."""
OTHERS = 3
"""How often other processes may make the tables of a database at the moment in which this one does."""

TryAgain = Callable[[optuna.Study, FrozenTrial], None]


class _JournalError(Exception):
    """A journal file cannot be read or written, or holds something else."""


class _Journal(JournalFileBackend):
    """A journal file that says what is wrong with it in one kind of error."""

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        try:
            for entry in super().read_logs(log_number_from):
                if not isinstance(entry, dict) or "op_code" not in entry:
                    raise _JournalError(f"it holds {str(entry)[:40]!r}, which is no entry of a journal")
                yield entry
        except (OSError, ValueError) as error:
            raise _JournalError(str(error)) from error

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        try:
            Path(self._file_path).stat()  # an entry in a new file would stand without those before it
            super().append_logs(logs)
        except OSError as error:
            raise _JournalError(str(error)) from error


def default_storage(cache_folder: Path) -> str:
    """URL of the SQLite file with all studies below the cache folder."""
    return f"sqlite:///{(cache_folder / 'tuning' / 'studies.db').absolute()}"


@contextmanager
def reaching(url: str, opening: bool = False) -> Iterator[None]:
    """Turn what a storage that cannot be reached raises into a TuningError; when `opening`, a wrong URL too."""
    try:
        yield
    except AdbenchError:
        raise
    except Exception as error:
        cause = _storage_fault(error, (ImportError, OSError, ValueError) if opening else ())
        if cause is None:
            raise
        text = " ".join(str(getattr(cause, "orig", None) or cause).replace(url, shown(url)).split())
        raise TuningError(
            f"A study needs a storage that can be reached, but {shown(url)} cannot ({shown_text(text)}). Give another "
            "with --storage: sqlite:///FILE, postgresql://USER@HOST/NAME (install psycopg for it), or journal:///FILE."
        ) from error


def _storage_fault(error: BaseException | None, others: tuple[type[Exception], ...]) -> BaseException | None:
    """What the storage said, where an error or one that led to it came from there; else None.

    Optuna meets a storage that is gone once more while it handles that, so the fault may lie deep.
    """
    while error is not None:
        if isinstance(error, (SQLAlchemyError, _JournalError, *others)):
            return error
        error = error.__cause__ or error.__context__
    return None


def open_storage(url: str, try_again: TryAgain) -> BaseStorage:
    """Open a storage, making the file of a local one. Raises TuningError where it cannot be reached.

    `try_again` gets each trial whose process has not been heard of for long, as databases know by its heartbeat.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    with reaching(url, opening=True):
        file = local_file(url)
        if file is None:
            for _ in range(OTHERS):
                with suppress(IntegrityError, ProgrammingError):  # another process has just made the same tables
                    return _database(url, {"pool_pre_ping": True}, try_again)
            return _database(url, {"pool_pre_ping": True}, try_again)
        file.parent.mkdir(parents=True, exist_ok=True)
        if url.startswith(JOURNAL):
            return JournalStorage(_Journal(str(file), lock_obj=JournalFileOpenLock(str(file))))
        with Lease(Path(f"{file}.lease")):  # two processes that made the tables at once would be in each other's way
            return _database(url, {"connect_args": {"timeout": BUSY_S}}, try_again)


def local_file(url: str) -> Path | None:
    """The file of an SQLite or journal storage; None for a database elsewhere. Raises TuningError for one in memory."""
    if url.startswith(JOURNAL):
        return Path(url.removeprefix(JOURNAL).removeprefix("//"))
    place = make_url(url)
    if place.get_backend_name() != "sqlite":
        return None
    if not place.database or ":memory:" in place.database or "mode=memory" in url:
        raise TuningError(f"Studies outlast a command, but {url} is in memory. Name a file: --storage sqlite:///FILE.")
    return Path(place.database)


def _database(url: str, engine: dict[str, Any], try_again: TryAgain) -> RDBStorage:
    return RDBStorage(
        url,
        engine_kwargs=engine,
        heartbeat_interval=HEARTBEAT_S,
        grace_period=GRACE_S,
        heartbeat_stale_trial_callback=try_again,
    )
