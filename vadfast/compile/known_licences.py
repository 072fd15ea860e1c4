"""Licences that no metadata of a wheel say, each with its source: of shared libraries that wheels carry, and of a few packages.

What is not here is unknown, and a bill of materials says so. Licences are SPDX expressions. Releases change theirs seldom, but do:
an entry holds for those of 2024 and later.
"""

from fnmatch import fnmatchcase
from typing import NamedTuple


class Known(NamedTuple):
    """A licence, and the page that says so."""

    licence: str
    source: str


_FREEDESKTOP = "https://gitlab.freedesktop.org"
_GCC_RUNTIME = Known(
    "GPL-3.0-or-later WITH GCC-exception-3.1",
    "https://www.gnu.org/licenses/gcc-exception-3.1.html",
)
_NETTLE = Known(
    "LGPL-3.0-or-later OR GPL-2.0-or-later",
    "https://www.lysator.liu.se/~nisse/nettle/nettle.html#Copyright",
)
_OPENSSL = Known("Apache-2.0", "https://openssl-library.org/source/license/")
_WEBP = Known("BSD-3-Clause", "https://chromium.googlesource.com/webm/libwebp/+/HEAD/COPYING")

# By the name of the file in small letters, without "lib" before and versions behind; a * stands for any end.
_LIBRARIES = {
    "aom": Known("BSD-2-Clause", "https://aomedia.googlesource.com/aom/+/HEAD/LICENSE"),
    "asound": Known(
        "LGPL-2.1-or-later", "https://github.com/alsa-project/alsa-lib/blob/master/COPYING"
    ),
    "avif": Known("BSD-2-Clause", "https://github.com/AOMediaCodec/libavif/blob/main/LICENSE"),
    "brotli*": Known("MIT", "https://github.com/google/brotli/blob/master/LICENSE"),
    "bz2": Known("bzip2-1.0.6", "https://sourceware.org/bzip2/"),
    "crypto": _OPENSSL,
    "dav1d": Known("BSD-2-Clause", "https://code.videolan.org/videolan/dav1d/-/blob/master/COPYING"),
    "drm": Known("MIT", f"{_FREEDESKTOP}/mesa/drm/-/blob/main/xf86drm.c"),
    "freetype": Known("FTL OR GPL-2.0-or-later", "https://freetype.org/license.html"),
    "gcc_s*": _GCC_RUNTIME,
    "gfortran": _GCC_RUNTIME,
    "gmp": Known("LGPL-3.0-or-later OR GPL-2.0-or-later", "https://gmplib.org/manual/Copying"),
    "gnutls": Known("LGPL-2.1-or-later", "https://gitlab.com/gnutls/gnutls/-/blob/master/LICENSE"),
    "gomp": _GCC_RUNTIME,
    "harfbuzz": Known(
        "MIT-Modern-Variant", "https://github.com/harfbuzz/harfbuzz/blob/main/COPYING"
    ),
    "hogweed": _NETTLE,
    "hwloc": Known("BSD-3-Clause", "https://github.com/open-mpi/hwloc/blob/master/COPYING"),
    "iomp5": Known(
        "Apache-2.0 WITH LLVM-exception",
        "https://github.com/llvm/llvm-project/blob/main/openmp/LICENSE.TXT",
    ),
    "jpeg": Known(
        "IJG AND BSD-3-Clause AND Zlib",
        "https://github.com/libjpeg-turbo/libjpeg-turbo/blob/main/LICENSE.md",
    ),
    "lcms2": Known("MIT", "https://github.com/mm2/Little-CMS/blob/master/LICENSE"),
    "lzma": Known("0BSD", "https://github.com/tukaani-project/xz/blob/master/COPYING"),
    "mp3lame": Known("LGPL-2.0-or-later", "https://lame.sourceforge.io/license.txt"),
    "nettle": _NETTLE,
    "opencore-amr*": Known(
        "Apache-2.0", "https://sourceforge.net/p/opencore-amr/code/ci/master/tree/LICENSE"
    ),
    "openblas*": Known(
        "BSD-3-Clause", "https://github.com/OpenMathLib/OpenBLAS/blob/develop/LICENSE"
    ),
    "openjp2": Known("BSD-2-Clause", "https://github.com/uclouvain/openjpeg/blob/master/LICENSE"),
    "opus": Known("BSD-3-Clause", "https://gitlab.xiph.org/xiph/opus/-/blob/main/COPYING"),
    "png16": Known("libpng-2.0", "http://www.libpng.org/pub/png/src/libpng-LICENSE.txt"),
    "quadmath": Known(
        "LGPL-2.1-or-later",
        "https://gcc.gnu.org/git/?p=gcc.git;a=blob;f=libquadmath/quadmath.h",
    ),
    "scipy_openblas*": Known(
        "BSD-3-Clause", "https://github.com/OpenMathLib/OpenBLAS/blob/develop/LICENSE"
    ),
    "sharpyuv": _WEBP,
    "ssl": _OPENSSL,
    "stdc++": _GCC_RUNTIME,
    "svtav1enc": Known(
        "BSD-3-Clause-Clear", "https://gitlab.com/AOMediaCodec/SVT-AV1/-/blob/master/LICENSE.md"
    ),
    "tbb*": Known("Apache-2.0", "https://github.com/uxlfoundation/oneTBB/blob/master/LICENSE.txt"),
    "tiff": Known("libtiff", "https://gitlab.com/libtiff/libtiff/-/blob/master/LICENSE.md"),
    "unistring": Known(
        "LGPL-3.0-or-later OR GPL-2.0-or-later", "https://www.gnu.org/software/libunistring/"
    ),
    "vpl": Known("MIT", "https://github.com/intel/libvpl/blob/main/LICENSE"),
    "vpx": Known("BSD-3-Clause", "https://chromium.googlesource.com/webm/libvpx/+/HEAD/LICENSE"),
    "webp*": _WEBP,
    "x264": Known(
        "GPL-2.0-or-later", "https://code.videolan.org/videolan/x264/-/blob/master/COPYING"
    ),
    "x265": Known("GPL-2.0-or-later", "https://bitbucket.org/multicoreware/x265_git/src/master/COPYING"),
    "xau": Known("MIT-open-group", f"{_FREEDESKTOP}/xorg/lib/libxau/-/blob/master/COPYING"),
    "xcb*": Known("X11", f"{_FREEDESKTOP}/xorg/lib/libxcb/-/blob/master/COPYING"),
    "z": Known("Zlib", "https://zlib.net/zlib_license.html"),
    "zstd": Known("BSD-3-Clause OR GPL-2.0-only", "https://github.com/facebook/zstd"),
}  # fmt: skip

# Packages whose metadata name a family, such as "BSD License", or another licence than their project has.
_PACKAGES = {
    "cycler": Known("BSD-3-Clause", "https://github.com/matplotlib/cycler/blob/main/LICENSE"),
    "jinja2": Known("BSD-3-Clause", "https://github.com/pallets/jinja/blob/main/LICENSE.txt"),
    "kiwisolver": Known("BSD-3-Clause", "https://github.com/nucleic/kiwi/blob/main/LICENSE"),
    "mnn": Known("Apache-2.0", "https://github.com/alibaba/MNN/blob/master/LICENSE.txt"),
    "mpmath": Known("BSD-3-Clause", "https://github.com/mpmath/mpmath/blob/master/LICENSE"),
    "numpy": Known("BSD-3-Clause", "https://github.com/numpy/numpy/blob/main/LICENSE.txt"),
    "openvino-telemetry": Known(
        "Apache-2.0", "https://github.com/openvinotoolkit/telemetry/blob/master/LICENSE"
    ),
    "safetensors": Known(
        "Apache-2.0", "https://github.com/huggingface/safetensors/blob/main/LICENSE"
    ),
    "scipy": Known("BSD-3-Clause", "https://github.com/scipy/scipy/blob/main/LICENSE.txt"),
    "sympy": Known("BSD-3-Clause", "https://github.com/sympy/sympy/blob/master/LICENSE"),
}


def library_licence(stem: str) -> Known | None:
    """Returns the licence of the shared library ``stem``, such as x264; None where it is not known.

    >>> library_licence("webpmux").licence
    'BSD-3-Clause'
    """
    return next(
        (known for name, known in _LIBRARIES.items() if fnmatchcase(stem.lower(), name)), None
    )


def package_licence(name: str) -> Known | None:
    """Returns the licence of the package ``name`` (canonical) where its metadata do not settle it; None for all others."""
    return _PACKAGES.get(name)
