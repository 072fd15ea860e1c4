"""What tests share: real data where it is at hand, a cache of their own, and Triton's interpreter where there is no GPU."""

import os
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from tests.tiny_bundle import make_bundle
from vadfast.runtime.zipped import pack

if not torch.cuda.is_available():
    # Before anything imports triton: afterwards it is ignored.
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["VADFAST_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    # Keys too: tests sign bundles, and trust no key of whoever runs them.
    os.environ["VADFAST_CONFIG"] = str(tmp_path_factory.mktemp("config"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data (``VADFAST_DATA``, else ``shared/data`` beside the checkout); skips where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("VADFAST_DATA", default))
    if not folder.is_dir():
        pytest.skip("no real data here: set VADFAST_DATA to a folder that holds it")
    return folder


@pytest.fixture(scope="session")
def ped2_root(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """UCSD Ped2, complete, unzipped once a session."""
    archive = real_data / "ped2_256.zip"
    if not archive.is_file():
        pytest.skip(f"no {archive.name} in the real data")
    folder = tmp_path_factory.mktemp("ped2")
    with zipfile.ZipFile(archive) as stored:
        stored.extractall(folder)
    return folder / "ped2"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle, for whoever only reads it."""
    return make_bundle(tmp_path_factory.mktemp("bundle") / "tiny.vad")


@pytest.fixture
def bundle(pristine: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(pristine, tmp_path / "tiny.vad"))


@pytest.fixture
def archive(pristine: Path, tmp_path: Path) -> Path:
    """It as one file."""
    pack(pristine, tmp_path / "tiny.vad.zip")
    return tmp_path / "tiny.vad.zip"
