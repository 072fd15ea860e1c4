"""The build's entry point: what is declared is in pyproject.toml, and native sources and flags in csrc/CMakeLists.txt, which this calls.

VADFAST_NATIVE=0 makes a package without the compiled module; VADFAST_CUDA=ON or OFF decides about CUDA, which otherwise is built where
nvcc is.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent


class BuildNative(build_ext):
    """Builds vadfast_kernels._C with CMake, into the place where setuptools wants it."""

    def build_extension(self, ext: Extension) -> None:
        """Raises SystemExit with CMake's own words above it."""
        import pybind11

        folder = Path(self.get_ext_fullpath(ext.name)).resolve().parent
        # Not setuptools' own folder, which an editable install deletes: the next build takes what has not changed from here.
        build = ROOT / "build" / f"csrc-{sys.implementation.cache_tag}"
        configure = [
            "cmake", "-S", ROOT / "csrc", "-B", build, "-G", "Ninja",
            "-DVADFAST_PYTHON=ON",
            f"-DVADFAST_MODULE_DIR={folder}",
            f"-DVADFAST_CUDA={os.environ.get('VADFAST_CUDA', 'AUTO')}",
            f"-DPython_EXECUTABLE={sys.executable}",
            # pip builds in another folder each time, and CMake remembers where these were the last time.
            f"-DCMAKE_MAKE_PROGRAM={shutil.which('ninja')}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
        ]  # fmt: skip
        for command in (configure, ["cmake", "--build", build, "--target", "_C"]):
            if subprocess.run(command).returncode != 0:
                raise SystemExit(
                    "vadfast_kernels._C: could not be built, CMake says why above; it needs a C++17 "
                    "compiler; VADFAST_CUDA=OFF builds it without CUDA, VADFAST_NATIVE=0 leaves it out"
                )


# What a source distribution must hold.
sources = [str(f.relative_to(ROOT)) for f in sorted((ROOT / "csrc").rglob("*")) if f.is_file()]
native = os.environ.get("VADFAST_NATIVE", "1") != "0"
setup(
    ext_modules=[Extension("vadfast_kernels._C", sources=[], depends=sources)] if native else [],
    cmdclass={"build_ext": BuildNative},
)
