"""Options that several commands share, and flags that take several values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from os.path import expanduser
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from adbench.config.options import MAX_SEED, AskedPrecision
from adbench.config.presets import PRESETS
from adbench.devices.backends import BACKENDS

SEVERAL = ("--method", "--dataset", "--metric", "--set")
"""Options that take several values after one flag."""

Records = Annotated[Path, typer.Option(help="Folder with the records.")]
RecordName = Annotated[
    str,
    typer.Argument(help="File of a record, method@dataset, or the beginning of its hash.", show_default=False),
]
Seed = Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of training and scoring.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Setting of the method, data.KEY or protocol.KEY."),
]
DataRoot = Annotated[Path | None, typer.Option(envvar="ADBENCH_DATA", help="Folder with the data as downloaded.")]
Preset = Annotated[str, typer.Option(help=f"Size of the run: {', '.join(PRESETS)}.")]
TrainOn = Annotated[
    str | None, typer.Option(help="Dataset whose healthy images to train on; by default each dataset's own.")
]
Cache = Annotated[
    Path | None,
    typer.Option(envvar="ADBENCH_CACHE", help="Folder for trained parts, checkpoints and prepared data."),
]
Depot = Annotated[
    str | None, typer.Option("--parts", metavar="URL", help="Where to look for trained parts before training them.")
]
VerifyData = Annotated[bool, typer.Option("--verify-data", help="Read all files again, whatever is remembered.")]
PrecisionChoice = Annotated[AskedPrecision, typer.Option(help="auto takes bf16 where it is measured to be faster.")]
ModelPrecision = Annotated[
    AskedPrecision, typer.Option(help="auto takes that of the model's thresholds on such a device, else float32.")
]


def _device(name: str) -> str:
    if name not in DEVICES and not re.fullmatch(rf"({'|'.join(BACKENDS)}):\d+", name):
        raise typer.BadParameter(f"{name!r} is not one of {', '.join(DEVICES)}, or one by its number such as cuda:1.")
    return name


def _devices(names: str) -> str:
    return ",".join(map(_device, re.split(r"\s*,\s*", names)))


DEVICES = ("auto", *BACKENDS)
_METAVAR = f"<{'|'.join(DEVICES)}>"
Device = Annotated[str, typer.Option(parser=_device, metavar=_METAVAR, help="Where to run, such as cuda:1.")]
Devices = Annotated[
    str,
    typer.Option(
        parser=_devices,
        metavar=_METAVAR,
        help="Where to run; of several (cuda:0,cuda:1) all score, the first trains.",
    ),
]


class SeveralCommand(TyperCommand):
    """A command whose options may be followed by several values."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, repeat_flags(args))


def at_home(args: Sequence[str]) -> list[str]:
    """Put the home folder for `~` in values that the shell has left alone: `--out=~/x`."""
    return [re.sub(r"^(--?[\w-]+=)?(~(?:/.*)?)$", lambda m: (m[1] or "") + expanduser(m[2]), arg) for arg in args]


def repeat_flags(args: Sequence[str]) -> list[str]:
    """Give each value its own flag: `--method a b` becomes `--method a --method b`.

    Positional arguments come before such an option: a bare word after it can only be a further value.
    """
    result: list[str] = []
    flag, waiting = "", False
    for arg in args:
        if arg.startswith("-"):
            name, equals, _ = arg.partition("=")
            flag, waiting = (name if name in SEVERAL else ""), not equals
        elif flag and not waiting:
            result.append(flag)
        else:
            waiting = False
        result.append(arg)
    return result


def split_names(given: Sequence[str]) -> list[str]:
    """Split comma lists and drop repetitions."""
    return list(dict.fromkeys(name.strip() for part in given for name in part.split(",") if name.strip()))
