"""The native core as a build: one header that is C, a choice about CUDA that is said, kernels that do not spill, and the right module."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from vadfast_kernels import BackendError, _native

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "csrc"
# cmake and ninja of the environment that the tests run in, before the system's.
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


def _run(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    # subprocess looks for the program itself in the PATH of this process.
    found = shutil.which(program, path=PATH)
    assert found is not None, f"{program} is needed"
    return subprocess.run(
        [found, *arguments], capture_output=True, text=True, env=os.environ | {"PATH": PATH}
    )


def _configure(build: Path, *options: str) -> str:
    done = _run("cmake", "-S", SOURCES, "-B", build, "-G", "Ninja", *options)
    return done.stdout + done.stderr


def _build(build: Path, target: str = "all") -> str:
    done = _run("cmake", "--build", build, "--target", target)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "compiler", [["gcc", "-std=c99"], ["gcc", "-std=c11"], ["g++", "-x", "c++", "-std=c++11"]]
)
def test_the_header_is_c(compiler: list[str], tmp_path: Path) -> None:
    source = tmp_path / "empty.c"
    source.write_text("#include <vadfast.h>\nint main(void) { return 0; }\n")
    flags = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", "-I", SOURCES / "include"]
    subprocess.run([*compiler, *flags, source], check=True)


def test_the_c_program_of_the_documentation_runs(tmp_path: Path) -> None:
    example = (ROOT / "docs" / "native.md").read_text().split("```c\n")[1].split("```")[0]
    (tmp_path / "camera.c").write_text(example)
    _configure(tmp_path / "build", "-DVADFAST_CUDA=OFF")
    assert "CMake Warning" not in _build(tmp_path / "build", "vadfast")
    # The command that stands there, with the folders of here.
    build, program = tmp_path / "build", tmp_path / "camera"
    flags = ["-std=c99", "-Wall", "-Werror", f"-I{SOURCES / 'include'}", tmp_path / "camera.c"]
    library = [f"-L{build}", "-lvadfast", f"-Wl,-rpath,{build}", "-o", program]
    subprocess.run(["cc", *flags, *library], check=True)
    done = subprocess.run([program], capture_output=True, text=True, check=True)
    shown = _run("nm", "-D", "--defined-only", build / "libvadfast.so").stdout.split()[2::3]
    assert shown
    assert all(name.startswith("vad_") for name in shown)
    said = [line.split(maxsplit=1)[1] for line in done.stdout.splitlines()]
    windows = ["a window"] * 2
    assert said == ["warming"] * 4 + [*windows, "an event starts", *windows, "it ends"]


def test_without_nvcc_it_builds_the_cpu_part_and_says_so(tmp_path: Path) -> None:
    said = _configure(tmp_path / "build", "-DVADFAST_CUDA=AUTO", "-DNVCC=OFF")
    assert "built without CUDA" in said
    assert (tmp_path / "build" / "build.ninja").exists()


def test_cuda_that_was_asked_for_and_is_impossible_stops_with_the_reason(tmp_path: Path) -> None:
    said = _configure(tmp_path / "build", "-DVADFAST_CUDA=ON", "-DNVCC=OFF")
    assert "VADFAST_CUDA=ON needs nvcc" in said.replace("\n", " ")
    assert not (tmp_path / "build" / "build.ninja").exists()


@pytest.mark.timeout(600)
def test_no_cuda_kernel_spills_on_any_architecture(tmp_path: Path) -> None:
    # CI sets VADFAST_CUDA=ON, so that this fails there without nvcc: the CUDA code is compiled in every run of it.
    wanted = os.environ.get("VADFAST_CUDA", "AUTO")
    said = _configure(tmp_path / "build", f"-DVADFAST_CUDA={wanted}", "-DVADFAST_PTXAS=ON")
    if wanted != "ON" and "built without CUDA" in said:
        pytest.skip(f"no nvcc here, and VADFAST_CUDA={wanted}")
    said = _build(tmp_path / "build", "vadfast_core")
    # ptxas says of each kernel and architecture: its name and target, then its stack and spills, then its registers.
    kernels = re.findall(
        r"Compiling entry function '(\w+)' for '(sm_\d+)'.*?(\d+) bytes spill stores, (\d+) bytes spill loads",
        said,
        flags=re.DOTALL,
    )
    targets = {target for _, target, _, _ in kernels}
    assert targets == {"sm_75", "sm_80", "sm_87", "sm_89", "sm_90", "sm_100", "sm_120"}
    spilling = [kernel for kernel in kernels if kernel[2:] != ("0", "0")]
    assert not spilling


@pytest.mark.timeout(600)
@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_the_core_is_clean_under(sanitizer: str, tmp_path: Path) -> None:
    options = ("-DVADFAST_CUDA=OFF", "-DVADFAST_TESTS=ON", f"-DVADFAST_SANITIZE={sanitizer}")
    _configure(tmp_path, *options)
    _build(tmp_path)
    done = _run("ctest", "--test-dir", tmp_path, "--output-on-failure")
    assert done.returncode == 0, done.stdout


def test_it_says_what_it_was_built_of() -> None:
    from vadfast import __version__

    info = _native.module().build_info()
    assert info["version"] == __version__
    assert "-ffp-contract=off" in info["flags"]
    # A module of a wheel was not built from a checkout.
    assert info["commit"] is None or re.fullmatch(r"[0-9a-f]{40}", info["commit"])
    assert info["dirty"] in ((None,) if info["commit"] is None else (True, False))
    assert info["cuda"] is None or "90-real" in info["cuda"]["architectures"]


def test_it_says_which_commit_it_was_built_of(tmp_path: Path) -> None:
    def git(*arguments: str | Path) -> str:
        name = ("-c", "user.name=test", "-c", "user.email=test@localhost")
        done = _run("git", *name, "-C", tmp_path, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def said() -> str:
        where = (f"-DSOURCE={tmp_path / 'csrc'}", f"-DTO={tmp_path / 'commit.h'}")
        done = _run("cmake", *where, "-P", SOURCES / "commit.cmake")
        assert done.returncode == 0, done.stderr
        return (tmp_path / "commit.h").read_text().replace("\\", "")

    (tmp_path / "csrc").mkdir()
    (tmp_path / "csrc" / "one.cpp").write_text("int one;")
    assert said() == '#define VADFAST_COMMIT_JSON ""commit": null, "dirty": null"\n'
    git("init", "-q")
    git("add", "csrc")
    git("commit", "-qm", "one")
    head = git("rev-parse", "HEAD")
    assert said() == f'#define VADFAST_COMMIT_JSON ""commit": "{head}", "dirty": false"\n'
    (tmp_path / "other").write_text("not compiled")
    assert '"dirty": false' in said()
    (tmp_path / "csrc" / "one.cpp").write_text("int two;")
    assert '"dirty": true' in said()


def test_a_module_of_another_python_is_not_loaded_and_the_reason_is_said(tmp_path: Path) -> None:
    """In a process of its own, where the only module has another Python's tag."""
    real = Path(_native.module().__file__)
    other = real.name.replace(sys.implementation.cache_tag, "cpython-27")
    assert other != real.name
    shutil.copy(real, tmp_path / other)
    program = f"""
import sys
import vadfast_kernels
from vadfast_kernels import BackendError, _native
# An editable installation finds what is in the checkout, whatever the package's path.
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder)]
vadfast_kernels.__path__[:] = [{str(tmp_path)!r}]
try:
    _native.module()
except BackendError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT / "kernels",
    )
    assert "cannot be imported" in done.stdout
    assert "install again: pip install ." in done.stdout


def test_a_module_of_another_abi_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_native, "_ABI_VERSION", _native._ABI_VERSION + 1)
    _native._load.cache_clear()
    try:
        with pytest.raises(BackendError, match=r"must have ABI 2, got 1; install again"):
            _native.module()
    finally:
        _native._load.cache_clear()


def test_importing_the_package_loads_neither_torch_nor_the_module() -> None:
    code = "import sys, vadfast_kernels; print([m for m in ('torch', 'vadfast_kernels._C') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"
