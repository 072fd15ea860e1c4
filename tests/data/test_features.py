"""Features on disk: every published layout, pooling and spreading, and files that are not what they should be."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.made_features import N_FEATURES, film, write_listed, write_packed
from vadfast.data.bags import load_features, stack_bags
from vadfast.data.feature_files import read_features
from vadfast.data.segments import boundaries, pool_segments, spread
from vadfast.data.video_lists import read_annotation, read_lists
from vadfast.errors import SourceError, UsageError

FUZZED = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


# ---------------------------------------------------------------------------------------- segments


@given(n=st.integers(1, 300), n_segments=st.integers(1, 40))
@settings(max_examples=50, deadline=None)
def test_every_segment_has_its_snippets_and_an_empty_one_that_at_its_start(
    n: int, n_segments: int
) -> None:
    snippets = np.arange(n, dtype=np.float32)[:, None]
    pooled = pool_segments(snippets, n_segments)[:, 0]
    edges = np.round(np.linspace(0, n, n_segments + 1)).astype(int)
    for value, first, last in zip(pooled, edges[:-1], edges[1:], strict=True):
        wanted = np.arange(first, last).mean() if last > first else min(first, n - 1)
        assert value == pytest.approx(wanted)
    # Of N snippets in N segments, each is its own.
    assert np.array_equal(pool_segments(snippets, n)[:, 0], snippets[:, 0])


@given(n_frames=st.integers(1, 5000), n_segments=st.integers(1, 40))
@settings(max_examples=50, deadline=None)
def test_every_frame_has_the_score_of_its_segment(n_frames: int, n_segments: int) -> None:
    frames = spread(np.arange(n_segments), n_frames)
    assert len(frames) == n_frames
    assert frames[-1] == n_segments - 1 or n_frames < n_segments
    edges = boundaries(n_frames, n_segments)
    for segment in range(n_segments):
        assert (frames[edges[segment] : edges[segment + 1]] == segment).all()


def test_the_tail_belongs_to_the_last_segment() -> None:
    # ekosman's len // 32 would leave 31 frames without a score, seominseok's 16-frame steps 15.
    assert (spread(np.arange(32), 32 * 10 + 31)[-10:] == 31).all()


# ------------------------------------------------------------------------------------------ layouts


def test_listed_features_in_all_their_forms(tmp_path: Path) -> None:
    write_listed(tmp_path)
    found = load_features(tmp_path)
    assert (found.n_features, found.kind) == (N_FEATURES, "ucf-crime")  # by its lists
    assert found.label_source == "Temporal_Anomaly_Annotation_for_Testing_Videos.txt"
    assert [(v.name, v.abnormal) for v in found.train] == [
        ("Abuse001_x264", True),
        ("Normal_Videos001_x264", False),
    ]
    arson, normal = found.test
    assert arson.spans == [(400, 559)]  # 1-based 401 to 560
    assert normal.spans == []
    # A C3D file is segments already: it does not say how long its film is.
    assert [v.read().n_frames for v in found.train] == [None, 40 * 16]
    assert [v.read().n_frames for v in found.test] == [50 * 16, 477]
    assert arson.read().features.shape == (50, N_FEATURES)
    assert arson.read().features[0, :6].mean() == pytest.approx(1.1, abs=0.1)  # the mean of crops
    stack = stack_bags(found.test, n_segments=32, n_features=N_FEATURES, name="test")
    assert stack.bags.shape == (2, 32, N_FEATURES)
    assert stack.n_frames == (800, 477)


def test_plain_lists_name_any_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, part in (("a", "train_normal"), ("b", "train_abnormal"), ("c", "test_abnormal")):
        (tmp_path / "x").mkdir(exist_ok=True)
        np.save(tmp_path / "x" / f"{name}.npy", film(rng, 4, "abnormal" in part))
        (tmp_path / f"{part}.txt").write_text(f"films/{name}.mp4 120\n\n")
    found = load_features(tmp_path)
    assert [(v.name, v.abnormal, v.spans) for v in (*found.train, *found.test)] == [
        ("a", False, []),
        ("b", True, None),
        ("c", True, None),
    ]


def test_packed_features(tmp_path: Path) -> None:
    write_packed(tmp_path, n=3)
    found = load_features(tmp_path)
    assert len(found.train) == len(found.test) == 6
    assert (found.kind, load_features(tmp_path, "ucf-crime").kind) == ("features", "ucf-crime")
    assert [v.abnormal for v in found.test] == [False] * 3 + [True] * 3
    assert found.test[0].read().n_frames == 20 * 5  # snippets by the length of the others'
    assert found.test[3].spans == [(50, 62)]
    np.testing.assert_array_equal(
        found.train[4].read().features, np.load(tmp_path / "train_anomalous.npy")[1].astype("f4")
    )


def test_32_rows_are_snippets_only_where_the_data_set_shows_it(tmp_path: Path) -> None:
    """Pooled files [32, C] do not say how long their film is: 32 x 16 frames would be a wrong length, and wrong AUC over frames."""
    rng = np.random.default_rng(0)
    (tmp_path / "x").mkdir()
    for name, part in (("a", "train_normal"), ("b", "test_normal"), ("c", "test_abnormal")):
        np.save(tmp_path / "x" / f"{name}.npy", film(rng, 32, "abnormal" in part))
        (tmp_path / f"{part}.txt").write_text(f"{name}.mp4\n")
    assert [v.read().n_frames for v in load_features(tmp_path).test] == [None, None]
    np.save(tmp_path / "x" / "a.npy", film(rng, 33, False))  # who pools leaves no 33 rows
    found = load_features(tmp_path)
    assert [v.read().n_frames for v in (*found.train, *found.test)] == [33 * 16, 32 * 16, 32 * 16]
    np.savez(tmp_path / "x" / "b.npz", features=film(rng, 32, False), n_frames=900)
    (tmp_path / "x" / "b.npy").unlink()
    assert load_features(tmp_path).test[0].read().n_frames == 900
    np.save(tmp_path / "crops.npy", np.ones((32, 10, 4)))  # RTFM's, never pooled
    assert read_features(tmp_path / "crops.npy").n_frames == 32 * 16


def test_two_feature_files_of_one_film_are_refused_by_name(tmp_path: Path) -> None:
    write_listed(tmp_path)
    (tmp_path / "flow").mkdir()
    np.save(tmp_path / "flow" / "Normal_Videos001_x264.npy", np.ones((4, 7)))
    (tmp_path / "flow" / "notes.txt").write_text("of nobody")
    (tmp_path / "features" / "notes.txt").write_text("of nobody")
    words = "train film Normal_Videos001_x264 must have one feature file, has 2: .*features/Normal_Videos001_x264.npy and flow/"
    with pytest.raises(SourceError, match=words):
        load_features(tmp_path)


def test_real_packed_features(real_data: Path) -> None:
    root = real_data / "ucf_crime_x3d"
    if not root.is_dir():
        pytest.skip("no ucf_crime_x3d in the real data")
    found = load_features(root)
    assert (len(found.train), len(found.test), found.n_features) == (240, 116, 2048)
    first = next(v for v in found.test if v.name == "Abuse028_x264")
    assert first.spans == [(164, 239)]
    assert first.read().n_frames == 1412
    assert all(v.read().features.shape == (32, 2048) for v in found.test[:3])


# ---------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", "1 2 3\n4 5\n", "as many numbers on every line"),
        ("a.txt", "", "no line at all"),
        ("a.txt", "1 2\n3 x\n", "cannot be read"),
        ("a.txt", "1 nan\n", "finite numbers"),
        ("a.npy", np.zeros((3, 0), np.float32), "an empty bag"),
        ("a.npy", np.zeros((0, 4), np.float32), "an empty bag"),
        ("a.npy", np.zeros(4, np.float32), "must hold numbers"),
        ("a.npy", np.array([["a", "b"]]), "must hold numbers"),
        ("a.npy", np.array([{"a": 1}], object), "cannot be read"),
        ("a.npy", np.full((2, 2), np.inf), "finite numbers"),
        ("a.npz", {"x": np.zeros((2, 2))}, "must hold an array 'features'"),
        ("a.npz", {"features": np.zeros((2, 2)), "n_frames": np.zeros(2)}, "n_frames must be"),
        ("a.csv", "1,2", "must be a feature file"),
    ],
)
def test_a_feature_file_that_is_none(
    tmp_path: Path, name: str, content: object, words: str
) -> None:
    path = tmp_path / name
    if isinstance(content, str):
        path.write_text(content)
    elif isinstance(content, dict):
        np.savez(path, **content)
    else:
        np.save(path, content)
    with pytest.raises(SourceError, match=words):
        read_features(path)


@FUZZED
@given(cut=st.integers(0, 400), flip=st.integers(0, 400), suffix=st.sampled_from(["npy", "npz"]))
def test_damaged_arrays_are_said_or_read(tmp_path: Path, cut: int, flip: int, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    values = np.ones((3, 4), np.float32)
    np.save(path, values) if suffix == "npy" else np.savez(path, features=values)
    data = bytearray(path.read_bytes())
    data[flip % len(data)] ^= 0x55
    path.write_bytes(bytes(data[: len(data) - cut % len(data)]))
    _reads_or_says(lambda: read_features(path))


@FUZZED
@given(text=st.text(max_size=60) | st.binary(max_size=60))
def test_any_text_is_read_or_said(tmp_path: Path, text: str | bytes) -> None:
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    for name, read in (
        ("features.txt", lambda: read_features(tmp_path / "features.txt")),
        ("annotation.txt", lambda: read_annotation(tmp_path / "annotation.txt")),
        ("train_normal.txt", lambda: read_lists(tmp_path)),
    ):
        (tmp_path / name).write_bytes(data)
        _reads_or_says(read)


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 200)
    | st.floats(allow_nan=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@FUZZED
@given(
    value=_JSON,
    key=st.sampled_from(
        ["split", "label", "n_snippets", "n_frames", "intervals", "frames_per_segment", ""]
    ),
)
def test_any_index_is_read_or_said(tmp_path: Path, value: object, key: str) -> None:
    root = tmp_path / "packed"
    if not root.exists():
        write_packed(root, n=2)
        (root / "whole.json").write_bytes((root / "index.json").read_bytes())
    index = json.loads((root / "whole.json").read_text())
    if key:
        index["test_anomalous-1"][key] = value
    else:
        index = value
    (root / "index.json").write_text(json.dumps(index))
    _reads_or_says(lambda: load_features(root))


def _reads_or_says(read: Callable[[], object]) -> None:
    """A value or a sentence of ours: nothing else may come out of a file."""
    with contextlib.suppress(SourceError, UsageError):
        read()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a.mp4 Abuse 5", "must be 'name class first last"),
        ("a.mp4 Abuse x y", "must be 'name class first last"),
        ("a.mp4 Abuse 9 5", "two 1-based frames in order"),
        ("a.mp4 Abuse 0 5", "two 1-based frames in order"),
        ("a.mp4 Abuse -1 -1\na.avi Abuse 1 2", "annotated twice"),
    ],
)
def test_an_annotation_that_is_none(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "annotation.txt"
    path.write_text(line)
    with pytest.raises(SourceError, match=words):
        read_annotation(path)


def test_what_does_not_belong_together_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="must be a folder of features"):
        load_features(tmp_path / "absent")
    with pytest.raises(UsageError, match=r"must hold index\.json, or feature files and lists"):
        load_features(tmp_path)
    (tmp_path / "train_normal.txt").write_text("a\n")
    with pytest.raises(SourceError, match="must have one feature file, has none; extract"):
        load_features(tmp_path)
    (tmp_path / "train_abnormal.txt").write_text("a\n")
    with pytest.raises(SourceError, match="a is listed twice"):
        load_features(tmp_path)


def test_packed_arrays_that_do_not_fit_their_index_are_said(tmp_path: Path) -> None:
    write_packed(tmp_path, n=2)
    np.save(tmp_path / "test_normal.npy", np.zeros((3, 8, 12), np.float16))
    with pytest.raises(SourceError, match=r"must be numbers \[2, N, C\] like index.json"):
        load_features(tmp_path)
    (tmp_path / "test_normal.npy").unlink()
    with pytest.raises(SourceError, match="must be the array of 2 films, cannot be read"):
        load_features(tmp_path)


def test_films_of_another_width_are_said(tmp_path: Path) -> None:
    write_listed(tmp_path)
    np.save(tmp_path / "features" / "Normal_Videos001_x264.npy", np.ones((4, 7)))
    found = load_features(tmp_path)
    with pytest.raises(SourceError, match="must have features of 12 numbers like the model, has 7"):
        stack_bags(found.train, n_segments=4, n_features=12, name="test")
