"""The video of a compile run: normal video to calibrate on, which training never saw, and labelled films for the AUC of the gate."""

from pathlib import Path
from typing import TYPE_CHECKING

from vadfast.cli import talk
from vadfast.compile.windows import Tail
from vadfast.data.datasets import Dataset, Video, load_dataset
from vadfast.errors import UsageError

if TYPE_CHECKING:
    from vadfast.models.registry import TrainedModel


def own_dataset(model: "TrainedModel") -> Dataset | None:
    """Returns what the model was trained on; None where it is not here."""
    if model.data is None or not model.data.root.exists():
        return None
    return load_dataset(model.data.root, model.data.kind)


def normal_video(
    model: "TrainedModel", own: Dataset | None, given: Path | None
) -> tuple[tuple[Tail, ...], str]:
    """Returns the normal video that calibration scores, and what it is in words: ``given``, else what training held out of ``own``.

    Raises:
        UsageError: there is none, or ``given`` holds no film.
    """
    if given is not None:
        try:
            dataset = load_dataset(given)
        except UsageError as error:
            raise UsageError(str(error).replace("--data", "--calibrate", 1)) from error
        if model.data is not None and given.resolve().is_relative_to(model.data.root):
            talk.print(
                f"calibration: {given} lies in what the run was trained on, where its errors are smallest: alerts will come too often; "
                "give video that it has not seen",
                markup=False,
            )
        kind = "the folder" if given.is_dir() else "the film"
        return tuple(Tail(video.source, 0) for video in dataset.train), f"{kind} {given.name}"
    if model.data is None:
        raise UsageError(
            f"--calibrate: {model.method} was trained elsewhere; give normal video of the scene, which it was not trained on, by --calibrate DIR"
        )
    if own is None:
        raise UsageError(
            f"--calibrate: the run was trained on {model.data.root}, which is not here; give normal video of the scene "
            "by --calibrate DIR"
        )
    from vadfast.data.holdout import held_out

    parts = held_out(own, model.data.holdout)
    if not parts:
        raise UsageError(
            f"--calibrate: the run held out {model.data.holdout:.0%} of {own.root.name}, which is less than one window "
            "of any video; give normal video of the scene by --calibrate DIR"
        )
    return (
        tuple(Tail(video.source, first) for video, first in parts),
        f"{own.root.name}: the last {model.data.holdout:.0%} of its training videos, never trained on",
    )


def labelled_video(own: Dataset | None, given: Path | None) -> tuple[tuple[Video, ...], str | None]:
    """Returns the labelled films of ``given``, else of ``own``, and where their labels come from; none and None where there are none.

    Raises:
        UsageError: ``given`` has none.
    """
    dataset = load_dataset(given) if given is not None else own
    videos = (
        ()
        if dataset is None
        else tuple(video for video in dataset.test if video.labels is not None)
    )
    if videos and dataset is not None:
        return videos, f"labels from {dataset.label_source}"
    if given is not None:
        raise UsageError(
            f"--data: {given} must hold test videos with labels, got none; leave it out for a gate without AUC"
        )
    talk.print(
        "gate: no labelled video, so score errors are checked but no AUC; --data DIR would give it"
    )
    return (), None
