"""``python -m vadfast_kernels.aot``: compiles every Triton kernel for named GPU architectures on a machine that has none.

    python -m vadfast_kernels.aot --check                       exit 1 on a spill or too much shared memory
    python -m vadfast_kernels.aot -k criss_cross_fwd --arch 87  some of them
    python -m vadfast_kernels.aot --table docs/kernels.md       the table of all
    python -m vadfast_kernels.aot --out FOLDER                  cubins, manifest and launcher, for a machine without torch and Triton

``build.py`` says what is compiled, ``compiled.py`` compiles it, ``sass.py`` reads what came out, ``pack.py`` stores it, and
``launcher.py``, which needs nothing of all this, runs it.
"""

from collections.abc import Iterable, Iterator

from vadfast_kernels.aot.build import DTYPES, Build, recorded

__all__ = ["DTYPES", "Build", "builds", "distinct", "recorded"]


def distinct(builds: Iterable[Build]) -> Iterator[Build]:
    """Yields the first of those builds that are one kernel: shapes that Triton does not tell apart."""
    seen = set()
    for build in builds:
        if (key := build.specialisation()) not in seen:
            seen.add(key)
            yield build


def builds() -> Iterator[Build]:
    """Yields every kernel in every configuration that ``bench/shapes.py`` and the tests reach."""
    from vadfast_kernels.attention_loss.builds import builds as attention_loss
    from vadfast_kernels.attention_map.builds import builds as attention_map
    from vadfast_kernels.criss_cross_attention.builds import builds as criss_cross_attention
    from vadfast_kernels.patch_max_loss.builds import builds as patch_max_loss
    from vadfast_kernels.prototype_attention.builds import builds as prototype_attention
    from vadfast_kernels.sta_attention.builds import builds as sta_attention
    from vadfast_kernels.variance_attention.builds import builds as variance_attention

    yield from attention_loss()
    yield from attention_map()
    yield from criss_cross_attention()
    yield from patch_max_loss()
    yield from prototype_attention()
    yield from sta_attention()
    yield from variance_attention()
