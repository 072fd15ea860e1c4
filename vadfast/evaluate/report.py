"""The numbers of an evaluation as a table for people and as JSON for scripts.

Both carry the source of the labels: two label sets exist for Avenue alone, and they differ by more
than many methods do.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

import vadfast
from vadfast.data.datasets import Dataset
from vadfast.evaluate.assessment import Assessment
from vadfast.evaluate.protocols import Evaluation, VideoScores
from vadfast.evaluate.spatial import SpatialMetrics
from vadfast.evaluate.subject import Subject

HEADLINE = "micro_minmax"  # EER and AP of the JSON are of this one, as in the papers
MEANING = {
    "micro_minmax": "min-max of a video",
    "micro_raw": "raw: one threshold",
    "causal": "calibrated, past only",
    "micro_globalminmax": "min-max of the set",
    "macro": "mean AUC of videos",
    "macro_pad": "all videos, padded",
}
# Avenue is labelled twice; how many of its 15,324 test frames are abnormal says which one a number is of.
AVENUE_LABELS = {
    True: "Avenue by its pixel masks (3,712 abnormal frames), as HF2VAD and anomalib; the frame-prediction papers "
    "use avenue.mat (3,867)",
    False: "Avenue by listed events (3,867 abnormal frames), as the frame-prediction papers; HF2VAD and anomalib use "
    "the pixel masks (3,712)",
}


def print_report(console: Console, assessment: Assessment) -> None:
    """Prints the table of protocols, of places, and of videos, and what the numbers rest on."""
    subject, videos, result = assessment.subject, assessment.videos, assessment.result
    tables: list[RenderableType] = [_protocols(subject, result), Text()]
    if assessment.spatial is not None:
        tables += [_places(assessment.spatial), Text()]
    console.print(Group(*tables, _videos(subject, videos, result), Text()))
    for line in _notes(assessment):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def to_json(assessment: Assessment) -> dict[str, Any]:
    """Returns the report with the stable keys; rates are fractions, null where none exists."""
    subject, dataset = assessment.subject, assessment.dataset
    videos, result = assessment.videos, assessment.result
    headline = result.pooled[HEADLINE]
    return {
        "auc": {name: metrics.auc for name, metrics in result.pooled.items()}
        | {"macro": result.macro, "macro_pad": result.macro_pad},
        "eer": headline.eer,
        "ap": headline.ap,
        "labels": label_source(dataset),
        "videos": [
            {
                "name": video.name,
                "n_frames": video.n_frames,
                "auc": result.video_auc[video.name],
                "first_scored_frame": video.first_frame,
                "n_scores": len(video.labels),
                "n_abnormal": int(video.labels.sum()),
            }
            for video in videos
        ],
        "pooled": {
            name: {"auc": m.auc, "eer": m.eer, "ap": m.ap, "gap": m.gap}
            for name, m in result.pooled.items()
        },
        "macro_skipped": list(result.skipped),
        "spatial": None if assessment.spatial is None else asdict(assessment.spatial),
        "speed": asdict(assessment.speed) | {"cameras": assessment.speed.cameras},
        "n_scores": result.n_scores,
        "n_abnormal": result.n_abnormal,
        "dataset": dataset.kind,
        "subject": {
            "path": str(subject.path),
            "kind": subject.kind,
            "method": subject.method,
            "scored_by": list(subject.paper_chain.weights),
            "checkpoint_sha256": subject.checkpoint_sha256,
            "backend": subject.engine.backend,
            "precision": subject.engine.precision,
        },
        "vadfast_version": vadfast.__version__,
    }


def dump(document: dict[str, Any]) -> str:
    """Returns JSON text that every parser reads: no NaN, no infinity."""
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def label_source(dataset: Dataset) -> str:
    """Where the labels come from, in words."""
    return dataset.label_source or "given by the data set"


def percent(fraction: float) -> str:
    """A rate with two decimals of a percent; the column or caption says the unit."""
    return f"{100 * fraction:.2f}"


def _protocols(subject: Subject, result: Evaluation) -> Table:
    table = Table(title=escape(subject.words), title_justify="left", title_style="bold")
    table.add_column("protocol", no_wrap=True)
    for name in ("AUC %", "EER %", "AP %", "gap"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("what it is", style="dim")
    for name, m in result.pooled.items():
        gap = f"{m.gap:.3f}{gap_unit(subject, name)}"
        style = "bold" if name == HEADLINE else ""
        table.add_row(
            name, percent(m.auc), percent(m.eer), percent(m.ap), gap, MEANING[name], style=style
        )
    macro = "none" if result.macro is None else percent(result.macro)
    table.add_row("macro", macro, "", "", "", MEANING["macro"])
    table.add_row("macro_pad", percent(result.macro_pad), "", "", "", MEANING["macro_pad"])
    if "causal" not in result.pooled:
        table.add_row("causal", "none", "", "", "", "needs a bundle", style="dim")
    return table


def _places(spatial: SpatialMetrics) -> Table:
    n = len(spatial.videos)
    table = Table(
        title=f"where in the frame ({n} videos with masks)",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("metric", no_wrap=True)
    table.add_column("%", justify="right", no_wrap=True)
    table.add_column("what it is", style="dim")
    regions = spatial.regions
    found = f"of {regions.n_regions} regions, IoU 0.1, to 1 false one a frame"
    table.add_row(
        "pixel level",
        percent(spatial.pixel_level),
        f"AUC, 40 % of a frame's pixels found; EER {percent(spatial.pixel_level_eer)} %",
    )
    table.add_row("dual pixel", percent(spatial.dual_pixel), "and 10 % of those flagged are true")
    table.add_row("per pixel", percent(spatial.per_pixel), "AUC of all pixels; flatters")
    table.add_row("RBDC", percent(regions.rbdc), found)
    if regions.tbdc is None:
        table.add_row("TBDC", "none", "needs tracks: testing/tracks/<video>.csv, docs/data.md")
    else:
        table.add_row("TBDC", percent(regions.tbdc), f"of {regions.n_tracks} tracks")
    return table


def gap_unit(subject: Subject, name: str) -> str:
    """The unit of a pooled score, with a space before it; empty for a number without one."""
    if name == "causal":
        return " sigma"
    units = {component.unit for component in subject.components} - {"1"}
    return f" {units.pop()}" if name == "micro_raw" and len(units) == 1 else ""


def _videos(subject: Subject, videos: Sequence[VideoScores], result: Evaluation) -> Table:
    table = Table(
        title="videos (means of normal / abnormal frames)",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("name", overflow="fold")
    for name in ("frames", "abnormal", "AUC %"):
        table.add_column(name, justify="right", no_wrap=True)
    for component in subject.components:
        unit = "" if component.unit == "1" else f", {component.unit}"
        table.add_column(f"{component.name}{unit}", justify="right", no_wrap=True)
    for video in videos:
        value = result.video_auc[video.name]
        cells: list[RenderableType] = [
            escape(video.name),
            str(len(video.labels)),
            str(int(video.labels.sum())),
            Text("one class", style="dim") if value is None else percent(value),
        ]
        for column in video.components.T:
            normal, abnormal = (_mean(column[video.labels == label]) for label in (0, 1))
            cells.append(f"{normal} / {abnormal}")
        table.add_row(*cells)
    return table


def _mean(values: NDArray[np.float32]) -> str:
    return f"{values.mean():.2f}" if len(values) else "-"


def _notes(assessment: Assessment) -> list[str]:
    dataset, result, speed = assessment.dataset, assessment.result, assessment.speed
    window, videos = assessment.subject.input.n_frames, assessment.videos
    by_masks = label_source(dataset).endswith("pixel masks")
    notes = [
        f"labels: {label_source(dataset)}; 1 = abnormal, "
        + ("where a frame's mask has a pixel" if by_masks else "as listed frame by frame"),
        f"frames: {result.n_scores} scored, {result.n_abnormal} abnormal "
        f"({result.n_abnormal / result.n_scores:.0%}, the AP of a coin toss); "
        f"the first {window - 1} of each of {len(videos)} videos carry no score",
    ]
    if dataset.kind == "avenue":
        notes.append(f"labels: {AVENUE_LABELS[by_masks]}")
    notes.append(
        f"speed: {speed.frames_per_s:.1f} frames/s with decoding ({speed.cameras} cameras of 25 "
        f"frames/s); the engine took {speed.p50_ms:.1f} ms (p50), {speed.p99_ms:.1f} ms (p99) a "
        f"batch of {speed.batch}"
        + (f"; teachers took {speed.teachers} ms a frame" if speed.teachers else "")
    )
    if result.skipped:
        notes.append(
            f"macro: leaves out {', '.join(result.skipped)}: they are of one class throughout"
        )
    if result.macro is None:
        notes.append("macro: does not exist here, as no video has both normal and abnormal frames")
    return notes
