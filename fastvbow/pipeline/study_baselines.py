"""The comparison's other side: runs of baselines, stored as cells of the study beside those of the route.

``lda-variational`` runs on the very counts of each setting of the comparison; with SIFT alone these two are the
reference paper's method. All others group the photographs themselves or their pooled vectors.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from fastvbow.errors import MissingExtraError, UsageError
from fastvbow.events import Event, Listener
from fastvbow.executors import one_thread_each
from fastvbow.groups.baselines.variational import variational_topics
from fastvbow.pipeline.baselines import BASELINES, run_baseline
from fastvbow.pipeline.stage import no_numerical_warnings
from fastvbow.pipeline.study_cells import Stopped, Stopwatch, Worded, described
from fastvbow.pipeline.study_plan import REVISION, Photographs, Setting
from fastvbow.pipeline.study_scores import label_scores, mixture_scores
from fastvbow.pipeline.study_store import Cell
from fastvbow.project import STAGES, fingerprint_of

__all__ = ["VARIATIONAL", "baseline_cell", "baseline_key", "chosen_baselines", "variational_cell"]

VARIATIONAL = "lda-variational"
_LOOKS_AT = {"kmeans-embeddings": "cnn", "pca-embeddings": "cnn", VARIATIONAL: ""}


def chosen_baselines(asked: Sequence[str], features: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Those that can run.

    Parameters
    ----------
    asked : sequence of str
        Names; "all" alone stands for all that can run here.
    features : sequence of str
        Kinds that there are.

    Returns
    -------
    names : list of str
        Sorted.
    left_out : dict of str to str
        Of "all", those that cannot, and why.

    Raises
    ------
    UsageError
        There is no such baseline, or it looks at features that there are not.
    MissingExtraError
        One that was named wants a package that is not installed.
    """
    if strangers := sorted({*asked} - {*BASELINES, "all"}):
        raise UsageError(f"--baselines takes all, none or {', '.join(BASELINES)}, not {strangers[0]}")
    names, left_out = sorted({*asked} - {"all"}) if "all" not in asked else sorted(BASELINES), dict[str, str]()
    for name in list(names):
        problem: Exception | None = None
        if name.startswith("vae") and find_spec("torch") is None:
            problem = MissingExtraError(f"the baseline {name}", "PyTorch", "vae")
        elif (kind := _LOOKS_AT.get(name, "")) and kind not in features:
            problem = UsageError(f"the baseline {name} looks at the CNN's vectors: add cnn to --features")
        if problem is not None and "all" not in asked:
            raise problem
        if problem is not None:
            names.remove(name)
            left_out[name] = str(problem)
    return names, left_out


def parameters_for(name: str, n_images: int) -> dict[str, int | float]:
    """A baseline's defaults, with no more principal components than so few photographs have."""
    known = dict(BASELINES[name])
    if "components" in known:
        known["components"] = min(known["components"], max(1, n_images - 1))
    return known


def baseline_key(
    name: str, setting: Setting, n_groups: int, photographs: Photographs, extracted: dict[str, Any]
) -> str:
    """The name of a run's result: equal where all that it depends on is.

    Parameters
    ----------
    name : str
    setting : Setting
        Of the comparison. Its features count where they are looked at: all of it for ``lda-variational``.
    n_groups : int
    photographs : Photographs
    extracted : dict
        The parameters of the extraction.
    """
    parameters = parameters_for(name, len(photographs.ids))
    known = [REVISION, STAGES["extract"], name, parameters, photographs.digest, n_groups, setting.seed]
    if name == VARIATIONAL:
        of_sift = {**extracted.get("sift", {}), "keypoints": setting.keypoints}
        kinds = {kind: of_sift if kind == "sift" else extracted[kind] for kind in setting.features}
        known += [STAGES["vocabulary"], STAGES["encode"], kinds, *setting]
    elif kind := _LOOKS_AT.get(name, ""):
        known.append(extracted[kind])
    return fingerprint_of(known)


def baseline_cell(
    project: Path,
    name: str,
    seed: int,
    photographs: Photographs,
    cache: Path,
    stop: threading.Event,
    listener: Listener,
) -> Cell:
    """Run a baseline that looks at the photographs or their vectors.

    Parameters
    ----------
    project : Path
    name : str
        Not ``lda-variational``.
    seed : int
    photographs : Photographs
    cache : Path
        Small pictures and learned vectors, for other seeds.
    stop : threading.Event
        Ends it where it next tells of its progress.
    listener : Listener
        Hears of warnings.

    Raises
    ------
    Stopped
        `stop` was set.
    """

    def tell(event: Event) -> None:
        if stop.is_set():
            raise Stopped
        if event.kind == "warning":
            listener(event)

    n_groups = len(photographs.label_names)
    how = parameters_for(name, len(photographs.ids))
    found = run_baseline(project, name, n_groups, seed=seed, parameters=how, cache=cache, jobs=1, listener=tell)
    if found.image_ids != photographs.ids:
        raise RuntimeError(f"the rows of {name} are not those of the study")
    curves = {
        "training loss": found.train_loss,
        "held-out loss": found.held_out_loss,
        "explained variance": found.explained_variance,
    }
    setting = Setting("comparison", tuple(filter(None, [_LOOKS_AT.get(name, "")])), 0, 0, seed)
    return Cell(
        described(setting, name, n_groups),
        {"learning": round(found.seconds, 3), "reading": round(found.seconds_reading, 3)},
        {**_scores(found.groups, photographs), **found.quality},
        [],
        found.groups,
        curves={key: np.asarray(values).tolist() for key, values in curves.items() if values is not None},
    )


def variational_cell(worded: Worded, photographs: Photographs) -> Cell:
    """Run variational LDA on the counts of a setting that has all photographs.

    Parameters
    ----------
    worded : Worded
    photographs : Photographs
    """
    watch, n_topics = Stopwatch(worded.seconds), len(photographs.label_names)
    max_iter = int(BASELINES[VARIATIONAL]["max_iter"])
    with one_thread_each(), no_numerical_warnings(), watch.step("topics"):
        found = variational_topics(
            photographs.ids, worded.learned.counts, n_topics, seed=worded.setting.seed, max_iter=max_iter
        )
    of_theta, per_label = mixture_scores(found.theta, photographs.labels, photographs.label_names)
    return Cell(
        described(worded.setting, VARIATIONAL, n_topics),
        watch.seconds,
        {**_scores(found.groups, photographs), **of_theta},
        [{"share": "all", **row} for row in per_label],
        found.groups,
        found.theta.astype(np.float32),
    )


def _scores(groups: np.ndarray, photographs: Photographs) -> dict[str, float]:
    n_groups = float(len(np.unique(groups)))
    return {"n_images": float(len(groups)), "n_groups": n_groups, **label_scores(photographs.labels, groups)}
