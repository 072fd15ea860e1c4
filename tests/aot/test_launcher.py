"""The launcher, against a driver that writes down every call and the bytes of every argument."""

import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from vadfast_kernels.launcher import LaunchError, Pack

pytestmark = pytest.mark.e2e  # one compile for all of them

NAME = "criss_cross_fwd L9 D8 C16 fp16"
POINTERS = 7
FIRST_POINTER = 0x7F12_3456_7890


def _entry(pack: Path, name: str = NAME, architecture: int = 90) -> dict[str, Any]:
    kernels = json.loads((pack / "manifest.json").read_text())["kernels"]
    return next(k for k in kernels if (k["name"], k["architecture"]) == (name, architecture))


def _arguments(entry: dict[str, Any]) -> list[int]:
    """Pointers that need 64 bits, and the recorded launch's integers."""
    names = [a["name"] for a in entry["arguments"]]
    assert [a["type"][0] for a in entry["arguments"]].count("*") == POINTERS
    return [entry["scalars"].get(n, FIRST_POINTER + 16 * i) for i, n in enumerate(names)]


def _changed(pack: Path, tmp_path: Path, **changes: object) -> Path:
    """A copy of the pack whose kernels say something else."""
    folder = tmp_path / "changed"
    shutil.copytree(pack, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    for kernel in manifest["kernels"]:
        kernel.update(changes)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_a_launch_passes_every_argument_as_the_kernel_reads_it(pack: Path, stub: Any) -> None:
    entry = _entry(pack)
    arguments = _arguments(entry)
    n_integers = len(arguments) - POINTERS
    stub.set(sizes=(8,) * POINTERS + (4,) * n_integers + (8, 8))
    Pack(pack, library=stub.path)[NAME](*arguments, grid=(3, 5, 2), stream=0x7FFF_0000_0010)
    opened, (_, symbol, launch, *passed) = stub.log()[:3], stub.log()[3:]
    assert opened == ["cuInit 0", "cuDeviceGet 0", "cuCtxSetCurrent context"]
    assert symbol == f"cuModuleGetFunction module {entry['symbol']}"
    block = 32 * entry["n_warps"]
    assert launch == (
        f"cuLaunchKernel function grid 3 5 2 block {block} 1 1 shared {entry['shared_bytes']} stream 0x7fff00000010 extra 0"
    )
    expected = [struct.pack("<Q", p).hex() for p in arguments[:POINTERS]]
    expected += [struct.pack("<i", i).hex() for i in arguments[POINTERS:]]
    assert passed == [f"argument {bytes_}" for bytes_ in (*expected, "00" * 8, "00" * 8)]


def test_without_a_grid_the_recorded_one_is_launched_and_a_kernel_is_loaded_once(
    pack: Path, stub: Any
) -> None:
    entry, kernels = _entry(pack), Pack(pack, library=stub.path)
    for _ in range(2):
        kernels[NAME](*_arguments(entry))
    launches = [line for line in stub.log() if line.startswith("cuLaunchKernel")]
    assert len(launches) == 2
    assert f"grid {' '.join(map(str, entry['grid']))} block" in launches[0]
    assert sum(line.startswith("cuModuleLoadData") for line in stub.log()) == 1


def test_the_recorded_grid_is_for_the_recorded_sizes(pack: Path, stub: Any) -> None:
    """Left out with other sizes, it would compute a part of the result and say nothing."""
    arguments, kernel = _arguments(_entry(pack)), Pack(pack, library=stub.path)[NAME]
    arguments[POINTERS] = 32
    with pytest.raises(LaunchError, match=r"^L must be 9 where no grid is given, got 32: give a"):
        kernel(*arguments)
    with pytest.raises(LaunchError, match=r"^grid must be 3 numbers of blocks, got \(1, 2\)$"):
        kernel(*arguments, grid=(1, 2))  # type: ignore[arg-type]
    kernel(*arguments, grid=(2, 18, 1))
    assert sum(line.startswith("cuLaunchKernel") for line in stub.log()) == 1


@pytest.mark.parametrize(("shared_bytes", "asks"), [(48 * 1024, False), (48 * 1024 + 1, True)])
def test_more_than_48_kib_of_shared_memory_is_asked_for(
    pack: Path, stub: Any, tmp_path: Path, shared_bytes: int, asks: bool
) -> None:
    folder = _changed(pack, tmp_path, shared_bytes=shared_bytes)
    Pack(folder, library=stub.path)[NAME](*_arguments(_entry(folder)))
    assert (f"cuFuncSetAttribute function 8 {shared_bytes}" in stub.log()) is asks
    assert f" shared {shared_bytes} " in stub.log()[-1]


def test_floats_are_passed_in_single_precision(pack: Path, stub: Any, tmp_path: Path) -> None:
    argument = {"name": "scale", "type": "fp32", "multiple_of": 1}
    folder = _changed(pack, tmp_path, arguments=[argument], hidden_pointers=0)
    stub.set(sizes=(4,))
    Pack(folder, library=stub.path)[NAME](0.1)
    assert stub.log()[-1] == f"argument {struct.pack('<f', 0.1).hex()}"


def test_each_device_gets_the_cubin_of_its_architecture(pack: Path, stub: Any) -> None:
    for capability in (80, 90):
        stub.set(capability=capability)
        kernels = Pack(pack, library=stub.path)
        assert kernels.capability == capability
        other = _entry(pack, architecture=170 - capability)
        assert other["sha256"] != _entry(pack, architecture=capability)["sha256"]
        kernels[NAME](*_arguments(_entry(pack, architecture=capability)))


@pytest.mark.parametrize(
    ("at", "value", "sentence"),
    [
        (0, FIRST_POINTER + 8, "y_ptr must be a multiple of 16 as when it was compiled"),
        (0, -16, "y_ptr must fit into \\*fp32, got -16"),
        (0, 1.0, "y_ptr must be an integer, got 1.0"),
        (POINTERS, True, "L must be an integer, got True"),
        (POINTERS, 2**31, "L must fit into i32, got 2147483648"),
    ],
)
def test_a_wrong_argument_is_one_sentence_and_no_launch(
    pack: Path, stub: Any, at: int, value: Any, sentence: str
) -> None:
    arguments = _arguments(_entry(pack))
    arguments[at] = value
    with pytest.raises(LaunchError, match=f"^{sentence}"):
        Pack(pack, library=stub.path)[NAME](*arguments)
    assert not any(line.startswith("cuLaunchKernel") for line in stub.log())


@pytest.mark.parametrize("n", [-1, 1])
def test_a_wrong_number_of_arguments_is_refused(pack: Path, stub: Any, n: int) -> None:
    arguments = _arguments(_entry(pack))
    wrong = arguments[:-1] if n < 0 else [*arguments, 0]
    sentence = rf"takes {len(arguments)} arguments \(y_ptr, state_ptr, .*\), got {len(wrong)}$"
    with pytest.raises(LaunchError, match=sentence):
        Pack(pack, library=stub.path)[NAME](*wrong)


def test_another_architecture_is_refused_with_those_that_are_there(pack: Path, stub: Any) -> None:
    stub.set(capability=75)
    with pytest.raises(LaunchError, match=r"sm_75, this GPU, and has sm_80, sm_90: .*--arch 75$"):
        Pack(pack, library=stub.path)


def test_a_damaged_cubin_is_not_loaded(pack: Path, stub: Any, tmp_path: Path) -> None:
    folder = _changed(pack, tmp_path)
    file = folder / _entry(folder)["file"]
    damaged = bytearray(file.read_bytes())
    damaged[-1] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(LaunchError, match="is not the file that was packed"):
        Pack(folder, library=stub.path)[NAME]
    file.unlink()
    with pytest.raises(LaunchError, match="is not the file that was packed"):
        Pack(folder, library=stub.path)[NAME]
    assert not any(line.startswith("cuModuleLoadData") for line in stub.log())


def test_an_unknown_kernel_and_an_unknown_format_are_refused(
    pack: Path, stub: Any, tmp_path: Path
) -> None:
    with pytest.raises(LaunchError, match=r"^no kernel 'nothing' for sm_90"):
        Pack(pack, library=stub.path)["nothing"]
    (tmp_path / "manifest.json").write_text('{"format": 2, "kernels": []}')
    with pytest.raises(LaunchError, match="must be of format 1, got 2"):
        Pack(tmp_path, library=stub.path)
    with pytest.raises(LaunchError, match=r"must hold a manifest.json"):
        Pack(tmp_path / "absent", library=stub.path)


def test_a_missing_driver_is_one_sentence(pack: Path) -> None:
    with pytest.raises(LaunchError, match=r"^libabsent.so.1 is needed, the NVIDIA driver's"):
        Pack(pack, library="libabsent.so.1")


@pytest.mark.parametrize(
    "call",
    [
        "cuInit", "cuDeviceGet", "cuDeviceGetAttribute", "cuDevicePrimaryCtxRetain", "cuCtxSetCurrent", "cuModuleLoadData",
        "cuModuleGetFunction", "cuLaunchKernel",
    ],
)  # fmt: skip
def test_every_error_of_the_driver_is_raised(pack: Path, stub: Any, call: str) -> None:
    stub.set(fail=call)
    with pytest.raises(LaunchError, match=rf"^{call} failed: CUDA_ERROR_STUB \(700\)$"):
        Pack(pack, library=stub.path)[NAME](*_arguments(_entry(pack)))


def test_the_folder_runs_alone(pack: Path, stub: Any) -> None:
    """In a process that has this folder only: no torch, no Triton, no NumPy, and none of this package."""
    code = f"""
import sys
sys.modules.update(dict.fromkeys(("torch", "triton", "numpy", "vadfast_kernels")))
import launcher
launcher.Pack(".", library={stub.path!r})[{NAME!r}](*{_arguments(_entry(pack))!r})
print("launched")
"""
    command = [sys.executable, "-S", "-c", code]
    done = subprocess.run(command, cwd=pack, capture_output=True, text=True, check=False)
    assert done.stdout == "launched\n", done.stderr
