"""Extractors: published sizes, weights that are another's or no weights, and a film that becomes a file."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vadfast.cli import exit_code_of
from vadfast.data import synthetic
from vadfast.data.feature_files import read_features
from vadfast.features import extractors
from vadfast.features.__main__ import command
from vadfast.features.extractors import EXTRACTORS, load_network


@pytest.mark.parametrize(
    ("name", "parameters", "head", "published"),
    [
        ("c3d", 61_214_464, (4096 + 1) * 4096 + (4096 + 1) * 101, 78.41e6),
        ("i3d", 12_287_264, 0, 12.29e6),
        ("i3d-resnet50", 27_223_872, (2048 + 1) * 400, 28.04e6),
    ],
)
def test_the_published_sizes(name: str, parameters: int, head: int, published: float) -> None:
    """With the classifier that the publication counts; all shapes without a number being computed."""
    chosen = EXTRACTORS[name]
    with torch.device("meta"):
        network = chosen.network().eval()
        features = network(torch.zeros(2, 3, 16, chosen.crop_px, chosen.crop_px))
    count = sum(p.numel() for p in network.parameters())
    assert count == parameters
    assert count + head == pytest.approx(published, rel=5e-4)
    assert features.shape == (2, chosen.n_features)


def test_same_padding_is_tensorflows() -> None:
    from vadfast.features.i3d import _pad_same

    # ceil(size / stride) outputs; the odd zero at the end.
    x = _pad_same(torch.ones(1, 1, 16, 224, 7), (7, 7, 3), (2, 2, 2))
    assert x.shape[2:] == (16 + 5, 224 + 5, 7 + 2)
    assert x[0, 0, 2, 2, 1] == 1
    assert x[0, 0, :2].sum() == 0
    assert x[0, 0, -3:].sum() == 0


def test_frames_are_prepared_as_the_network_was_trained() -> None:
    frame = np.zeros((240, 320, 3), np.uint8)
    frame[..., 0] = 200  # red
    c3d = EXTRACTORS["c3d"].prepare(frame)
    assert c3d.shape == (112, 112, 3)
    assert c3d[0, 0].tolist() == [0, 0, 200]  # blue first
    i3d = EXTRACTORS["i3d"].prepare(frame)
    assert i3d.shape == (224, 224, 3)
    snippet = torch.from_numpy(np.stack([i3d] * 16))[None]
    found = EXTRACTORS["i3d"].normalise(snippet)
    assert found.shape == (1, 3, 16, 224, 224)
    assert found[0, :, 0, 0, 0].tolist() == pytest.approx([200 / 127.5 - 1, -1, -1])
    tall = EXTRACTORS["i3d"].prepare(np.zeros((500, 300, 3), np.uint8))
    assert tall.shape == (224, 224, 3)


class Tiny(nn.Module):
    """Mean colour and its change: a network that a test can check by head."""

    unused = ("head.",)

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=(3, 4))  # [B, 3, 16]
        return torch.cat([mean.mean(dim=2) * self.gain, mean[..., -1:].mean(dim=1)], dim=1)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An extractor of four features under the name of I3D, and its weights."""
    small = dataclasses.replace(
        EXTRACTORS["i3d"], network=Tiny, n_features=4, crop_px=8, resize_px=8
    )
    monkeypatch.setitem(extractors.EXTRACTORS, "i3d", small)
    path = tmp_path / "tiny.pt"
    torch.save({"state_dict": {"module.gain": torch.ones(3), "module.head.w": torch.ones(1)}}, path)
    return path


def _run(*arguments: object) -> int:
    return exit_code_of(command, name="features", arguments=[str(a) for a in arguments])


def test_a_film_becomes_a_file_that_sta_reads(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    levels = [0] * 16 + [100] * 16 + [200] * 20
    film = tmp_path / "film.mp4"
    images = [np.full((32, 48, 3), level, np.uint8) for level in levels]
    synthetic.write_frames(film, iter(images), 25)
    short = tmp_path / "short.mp4"
    synthetic.write_frames(short, iter(images[16:20]), 25)
    out = tmp_path / "features"
    arguments = [film, short, "--weights", tiny, "--out", out, "--batch", 2]
    assert _run(*arguments) == 0
    found = read_features(out / "film.npy")
    # Three whole snippets; the four frames after them are left out.
    assert found.n_frames == 48
    np.testing.assert_allclose(found.features[:, 0], np.array([0, 100, 200]) / 127.5 - 1, atol=0.05)
    # A film shorter than a snippet is filled up with its last frame.
    np.testing.assert_allclose(np.load(out / "short.npy")[0], 100 / 127.5 - 1, atol=0.05)
    stamp = (out / "film.npy").stat().st_mtime_ns
    capsys.readouterr()
    assert _run(*arguments) == 0
    assert "is there already" in capsys.readouterr().err
    assert (out / "film.npy").stat().st_mtime_ns == stamp


def test_weights_that_are_not_there_are_named_with_their_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = tmp_path / "film.mp4"
    film.write_bytes(b"")
    for weights in ([], ["--weights", tmp_path / "absent.pt"]):
        assert _run(film, "--extractor", "c3d", *weights, "--out", tmp_path) == 2
        talk = " ".join(capsys.readouterr().err.split())
        assert "c3d.pickle, linked from github.com/DavideA/c3d-pytorch" in talk
        assert "features that others published can be used" in talk
    for arguments, words in (
        ([film, "--extractor", "resnet"], "--extractor must be one of c3d, i3d, i3d-resnet50"),
        ([film, tmp_path / "a" / "film.mp4"], "names must differ, film is there 2 times"),
        ([tmp_path / "absent.mp4"], "no such file or folder"),
    ):
        assert _run(*arguments, "--out", tmp_path) == 2
        assert words in " ".join(capsys.readouterr().err.split())


class _Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit(9)",)


def test_a_file_that_is_no_weights_is_said_and_runs_no_code(tiny: Path, tmp_path: Path) -> None:
    from vadfast.errors import VadfastError

    harmful, other, plain = (tmp_path / f"{name}.pt" for name in ("harmful", "other", "plain"))
    torch.save({"gain": _Harmful()}, harmful)
    torch.save({"gains": torch.ones(3)}, other)
    torch.save([1, 2], plain)
    (tmp_path / "cut.pt").write_bytes(tiny.read_bytes()[:50])
    (tmp_path / "cut.safetensors").write_bytes(b"x" * 20)
    for path, words in (
        (harmful, "cannot be read"),
        (other, "must hold the weights of i3d"),
        (plain, "must hold tensors by name, holds list"),
        (tmp_path / "cut.pt", "cannot be read"),
        (tmp_path / "cut.safetensors", "cannot be read"),
    ):
        with pytest.raises(VadfastError, match=words):
            load_network("i3d", path)
    save_file({"gain": torch.full((3,), 2.0)}, tmp_path / "good.safetensors")
    network = load_network("i3d", tmp_path / "good.safetensors")
    assert network.gain.tolist() == [2, 2, 2]
