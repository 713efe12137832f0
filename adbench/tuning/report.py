"""A study as a page with figures: history, importance of each field, slices through the space, and the Pareto front."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from adbench.results import formats, markdown
from adbench.results.record import write_bytes, write_text
from adbench.tuning import places, studies, tuned
from adbench.tuning.objective import QUALITY

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 10
"""Trials of the table."""


def write_report(name: str, storage: str | None, cache: Path, out: Path) -> list[Path]:
    """Write `<study>.md` and its figures below `out` and return their paths, the page first.

    Raises:
        TuningError: there is no such study, or none of its trials is complete.
        RecordError: the folder cannot be written.
    """
    with places.reaching(url := storage or places.default_storage(cache)):
        study = studies.load_study(url, name)
        best = tuned.chosen(study, name)
        text, figures = page(study, best), list(_figures(study))
    paths = []
    for file, title, image in figures:
        path = out / f"{study.study_name}-{file}.png"
        write_bytes(path, image)
        paths.append(path)
        text += f"\n## {title}\n\n![{title}]({path.name})\n"
    write_text(out / f"{study.study_name}.md", text)
    return [out / f"{study.study_name}.md", *paths]


def page(study: optuna.Study, best: FrozenTrial) -> str:
    """The text of the page, without figures."""
    identity = study.user_attrs[studies.IDENTITY]
    objectives = identity["objectives"]
    facts = tuned.record(study, best)
    shown = {key: facts[key] for key in ("dataset", "fingerprint", "preset", "tier", "trials", "pruned", "seed")}
    shown |= {"time of all trials": formats.duration(facts["budget_s"]), "lesions": _lesions(facts["generator"])}
    shown |= {"failed": len(study.get_trials(deepcopy=False, states=(TrialState.FAIL,)))}
    rows = [[key, str(value)] for key, value in shown.items()]
    parts = [
        f"# Study {study.study_name}\n",
        f"Settings of `{identity['method']}`, tuned on synthetic lesions drawn on healthy validation images. No test "
        f"image and no test label was seen: the values below say which settings are better, not how good they are on "
        f"real lesions. Use them with `{tuned.command(study)}`.\n",
        markdown.table(["", ""], rows, left=2),
        f"\n## Best: trial {best.number}\n",
        markdown.table(["field", "value", "searched in"], _fields(best, identity), left=3),
        *_by_kind(best),
        "\n## Trials\n",
        markdown.table(["trial", "settings", *objectives, "s"], _rows(study), left=2),
        "",
    ]
    return "\n".join(parts)


def _lesions(generator: dict[str, Any]) -> str:
    area = f"{100 * generator['smallest']:g} to {100 * generator['largest']:g} % of the head"
    return f"{generator['images']}: {', '.join(generator['kinds'])}; {area}; seed {generator['seed']}"


def _fields(best: FrozenTrial, identity: dict[str, Any]) -> list[list[str]]:
    values = studies.values_of(best)
    return [
        [f"`{key}`", formats.short(value), _domain(identity["space"].get(key, ""))] for key, value in values.items()
    ]


def _domain(text: str) -> str:
    """`2 to 450, by the logarithm`, or the choices: of what the study keeps, `Integer(low=2, high=450, log=True)`."""
    given = dict(re.findall(r"(\w+)=(\(.*\)|[^,)]+)", text))
    if "values" in given:
        return given["values"].strip("(,)")
    return f"{given['low']} to {given['high']}" + (", by the logarithm" if given.get("log") == "True" else "")


def _by_kind(best: FrozenTrial) -> list[str]:
    by_kind = best.user_attrs.get(studies.BY_KIND, {})
    rows = [[kind, *(formats.number(values[name]) for name in QUALITY)] for kind, values in by_kind.items()]
    header = ["kind of lesion", *(metric.heading for metric in QUALITY.values())]
    return ["\n", markdown.table(header, rows, left=1)] if rows else []


def _rows(study: optuna.Study) -> list[list[str]]:
    """The best complete trials, in the first objective."""
    return [
        [
            str(trial.number),
            ", ".join(f"`{key}={formats.short(value)}`" for key, value in studies.values_of(trial).items()),
            *(formats.number(value, 4) for value in trial.values),
            formats.seconds(trial.duration.total_seconds() if trial.duration else None),
        ]
        for trial in studies.ranked(study.directions, studies.trials_of(study))[:SHOWN]
    ]


def _figures(study: optuna.Study) -> list[tuple[str, str, bytes]]:
    """(file, title, PNG) of each figure that the trials suffice for."""
    import matplotlib

    matplotlib.use("Agg")
    from optuna.visualization import matplotlib as draw

    identity = study.user_attrs[studies.IDENTITY]
    objectives, searched = identity["objectives"], sorted(identity["space"])
    drawn = [t for t in studies.complete(studies.trials_of(study)) if t.params.keys() >= set(searched)]
    wanted: list[tuple[str, str, Callable[[], Any]]] = []
    for i, name in enumerate(objectives):
        given: dict[str, Any] = {"target_name": name}
        if len(objectives) > 1:
            given["target"] = lambda t, i=i: t.values[i]
        wanted.append(
            (f"history-{name}", f"History of {name}", partial(draw.plot_optimization_history, study, **given))
        )
        if len(drawn) > 2:  # importance compares trials that drew all fields: with fewer there is nothing to say
            importance = partial(draw.plot_param_importances, study, params=searched, **given)
            wanted.append((f"importance-{name}", f"Importance for {name}", importance))
        wanted.append((f"slices-{name}", f"Slices of {name}", partial(draw.plot_slice, study, **given)))
    if len(objectives) > 1:
        wanted.append(("pareto", "Pareto front", partial(draw.plot_pareto_front, study, target_names=objectives)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [(file, title, _png(make)) for file, title, make in wanted]


def _png(draw: Callable[[], Any]) -> bytes:
    import matplotlib.pyplot as plt
    import numpy as np

    axes = draw()
    first = np.ravel(np.asarray(axes, dtype=object))[0]
    figure: Figure = first.figure
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    return buffer.getvalue()
