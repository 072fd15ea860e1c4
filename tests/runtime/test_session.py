"""Scoring a source: right to the frame, faults after the good frames, no thread left behind."""

import signal
import threading
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tiny_bundle import CELL, H, T, W, manifest_values, reference
from vadfast.errors import BackendError, EngineMismatch, SourceError
from vadfast.runtime.bundle import open_bundle
from vadfast.runtime.engine import Outputs
from vadfast.runtime.manifest import InputSpec, Manifest
from vadfast.runtime.score import run_chain
from vadfast.runtime.selftest import check_golden
from vadfast.runtime.session import RawScore, raw_scores, score_source
from vadfast.runtime.source import Frame

SPEC = InputSpec(n_frames=T, height=H, width=W)


@dataclass
class MadeSource:
    """``n`` frames of the model's size (nothing is resampled), then ``fault`` is raised."""

    n: int
    fault: BaseException | None = None
    delay_s: float = 0.0
    name: str = "made"
    path: Path = Path("made")
    fps: float | None = 10.0
    n_read: int = 0
    made: list[np.ndarray] = field(default_factory=list)

    @property
    def n_frames(self) -> int | None:
        return self.n

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self.n):
            time.sleep(self.delay_s)
            self.n_read += 1
            yield Frame(image(index), index, index / 10)
        if self.fault is not None:
            raise self.fault


def image(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (H, W, 3), np.uint8)


@dataclass
class HandEngine:
    """The tiny bundle's model in NumPy."""

    batch: int = 1
    backend: str = "hand"
    precision: str = "fp32"
    delay_s: float = 0.0
    n_calls: int = 0
    fail_at: int | None = None
    value: float | None = None
    heat: float | None = None  # of one cell of the last map

    def __call__(self, frames: np.ndarray) -> Outputs:
        assert frames.shape == (self.batch, T, H, W, 3)
        self.n_calls += 1
        if self.n_calls == self.fail_at:
            raise BackendError("the engine broke")
        time.sleep(self.delay_s)
        components, heatmap = reference(frames)
        if self.value is not None:
            components[:] = self.value
        if self.heat is not None:
            heatmap[-1, 0, 1] = self.heat
        return Outputs(components, heatmap)

    def close(self) -> None:
        pass


def _readers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("read ")]


@pytest.fixture(autouse=True)
def no_reader_is_left() -> Iterator[None]:
    yield
    assert _readers() == []


@pytest.mark.parametrize("batch", [1, 2, 4, 7])
@pytest.mark.parametrize("n", [T, T + 1, T + 5, 23])
def test_each_score_belongs_to_the_last_frame_of_its_window(batch: int, n: int) -> None:
    scores = list(raw_scores(HandEngine(batch), SPEC, MadeSource(n)))
    assert [score.frame for score in scores] == list(range(T - 1, n))
    for score in scores:
        window = np.stack([image(i) for i in range(score.frame - T + 1, score.frame + 1)])
        components, heatmap = reference(window[None])
        assert np.array_equal(score.components, components[0])
        assert np.array_equal(score.heatmap, heatmap[0])
        assert score.time_s == score.frame / 10
        assert score.heatmap.shape == (H // CELL, W // CELL)


def test_a_last_batch_is_padded_not_dropped_and_called_once() -> None:
    engine = HandEngine(batch=4)
    assert len(list(raw_scores(engine, SPEC, MadeSource(T + 5)))) == 6
    assert engine.n_calls == 2


@pytest.mark.parametrize("n", [0, 1, T - 1])
def test_a_video_shorter_than_a_window_is_one_clear_sentence(n: int) -> None:
    with pytest.raises(
        SourceError, match=rf"made: must have at least 5 frames .*, got {n}; give a longer video"
    ):
        next(raw_scores(HandEngine(), SPEC, MadeSource(n)))


@pytest.mark.parametrize("batch", [1, 3])
def test_the_sources_fault_comes_after_every_good_frame(batch: int) -> None:
    fault = SourceError("frame 8 is broken")
    scores: list[RawScore] = []
    with pytest.raises(SourceError) as caught:
        scores.extend(raw_scores(HandEngine(batch), SPEC, MadeSource(8, fault)))
    assert caught.value is fault
    # list.extend keeps what was yielded before the exception
    assert [score.frame for score in scores] == [4, 5, 6, 7]


def test_a_fault_before_the_first_window_is_the_fault_not_the_length() -> None:
    with pytest.raises(SourceError, match="broken"):
        list(raw_scores(HandEngine(), SPEC, MadeSource(2, SourceError("broken"))))


def test_the_engines_failure_ends_the_reader() -> None:
    with pytest.raises(BackendError, match="the engine broke"):
        list(raw_scores(HandEngine(fail_at=3), SPEC, MadeSource(1_000)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_never_passed_on(value: float) -> None:
    with pytest.raises(BackendError, match=r"must be finite, got .* at frame 4"):
        list(raw_scores(HandEngine(value=value), SPEC, MadeSource(10)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_heat_map_that_is_not_finite_is_never_passed_on(bundle: Path, value: float) -> None:
    with pytest.raises(
        BackendError,
        match=r"^hand fp32: the heat map must be finite, 1 of its 24 values are not at frame 4;",
    ):
        list(raw_scores(HandEngine(heat=value), SPEC, MadeSource(10)))
    opened = open_bundle(bundle)
    with pytest.raises(
        EngineMismatch, match="hand fp32: the heat map of the golden windows must be finite"
    ):
        check_golden(opened, HandEngine(heat=value), opened.manifest.artefacts[0])


def test_what_fills_up_a_batch_may_be_anything() -> None:
    """The last call has one window of two; what the engine says of the other is nobody's."""
    scores = raw_scores(HandEngine(batch=2, heat=np.nan), SPEC, MadeSource(T))
    assert [score.frame for score in scores] == [T - 1]


@pytest.mark.parametrize("n_taken", [0, 1, 5])
def test_closing_early_ends_the_reader_which_reads_no_further_than_its_buffers(
    n_taken: int,
) -> None:
    source = MadeSource(1_000)
    scores = raw_scores(HandEngine(batch=2), SPEC, source)
    for _ in range(n_taken):
        next(scores)
    time.sleep(0.05)
    scores.close()  # type: ignore[attr-defined]
    assert _readers() == []
    assert source.n_read <= T - 1 + n_taken + 2 + 3 * 2 + 1


def test_the_reader_waits_for_the_engine() -> None:
    source = MadeSource(1_000)
    scores = raw_scores(HandEngine(), SPEC, source)
    next(scores)
    time.sleep(0.2)
    assert source.n_read <= T - 1 + 1 + 3 + 1
    scores.close()  # type: ignore[attr-defined]


def test_decoding_and_inference_overlap() -> None:
    start = time.perf_counter()
    list(raw_scores(HandEngine(delay_s=0.02), SPEC, MadeSource(T + 24, delay_s=0.02)))
    seconds = time.perf_counter() - start
    # One after the other: 29 * 0.02 + 25 * 0.02 = 1.08 s. Overlapped: 0.6 s.
    assert seconds < 0.9


def test_ctrl_c_while_waiting_for_a_slow_source_ends_everything() -> None:
    timer = threading.Timer(0.2, signal.raise_signal, [signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        list(raw_scores(HandEngine(), SPEC, MadeSource(1_000, delay_s=0.01)))
    timer.join()


def test_memory_does_not_grow_with_the_length() -> None:
    def peak_bytes(n: int) -> int:
        tracemalloc.start()
        for _ in raw_scores(HandEngine(batch=2), SPEC, MadeSource(n)):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak_bytes(20)  # imports
    assert peak_bytes(1_000) < 1.3 * peak_bytes(100)


def test_the_score_is_the_causal_chain_of_the_components() -> None:
    values: dict[str, Any] = {**manifest_values(), "files": {}}
    manifest = Manifest.model_validate(values)
    scored = list(score_source(HandEngine(batch=3), manifest, MadeSource(17)))
    components = np.stack([frame.components for frame in scored])
    expected = run_chain(
        manifest.causal_chain, manifest.components, components, manifest.calibration
    )
    assert [frame.score for frame in scored] == expected.tolist()
    assert [frame.frame for frame in scored] == list(range(T - 1, 17))
