"""torch.compile's modes, so that the other suites compare with its best: the default, unless a row here says otherwise."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from bench.contest import Field, contest
from bench.contestants import CASES
from bench.device import compiled, device
from bench.operators import Operator, open_operator
from bench.shapes import CRISS_CROSS, PROTOTYPE, STA, VARIANCE, Shape
from bench.suites import test_operators

MODES = ("default", "reduce-overhead", "max-autotune")
# The peer that torch.compile is strongest on, of each operator at the shape of its largest share of a model's time.
MEASURED: dict[str, tuple[str, Shape]] = {
    "criss-cross attention": ("naive", CRISS_CROSS[1]),
    "sta attention": ("exact", STA[0]),
    "variance attention": ("eager", VARIANCE[0]),
    "prototype attention": ("bmm", PROTOTYPE[0]),
}


def _open(name: str) -> Field:
    provider, shape = MEASURED[name]
    whole = CASES[name].operator
    function = whole.providers[provider]
    operator = Operator(whole.inputs, {provider: function}, whole.cost)
    # What "reduce-overhead" adds are CUDA graphs.
    absent = () if device().type == "cuda" else ("reduce-overhead",)
    variants = {provider: function} | {
        mode: compiled(function, mode) for mode in MODES if mode not in absent
    }
    field = open_operator(
        operator,
        shape,
        backward=False,
        factory=partial(test_operators.call_of, name),
        variants=variants,
    )
    field.refused.update(dict.fromkeys(absent, "CUDA graphs over the default: nothing on a CPU"))
    return field


def _case(name: str, *, long: bool) -> Callable[..., None]:
    provider, shape = MEASURED[name]

    def open_(_: ExitStack) -> Field:
        return _open(name)

    return contest(
        case=f"modes of torch.compile, {name}, {shape.name}, forward",
        shape=shape.words,
        reference=provider,
        providers=(provider, *MODES),
        device=lambda: device().type,
        long=long,
    )(open_)


for _name in MEASURED:
    globals()[f"test_{_name}".replace(" ", "_").replace("-", "_")] = _case(
        _name, long=_name != "criss-cross attention"
    )
