"""How many cameras fit: the arithmetic by hand, and what no change of a cost may do."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vadfast.doctor.capacity import RATES, Costs, Fit, Memory, advice, fit, rates_of

MS = st.floats(0.01, 500)
COSTS = st.builds(Costs, MS, MS, MS, MS)
PLACE = st.fixed_dictionaries(
    {"n_cpus": st.integers(1, 64), "utilisation": st.floats(0.05, 1.0)},
)
RATE = st.sampled_from(RATES)
MB = st.floats(1, 500)
MEMORY = st.builds(Memory, st.floats(0, 1e5), MB, MB)
AMPLE = Memory(1e9, 300, 50)


def _loads(costs: Costs, found: Fit, n: int, n_cpus: int) -> tuple[float, float]:
    """Seconds a second: of the engine, and of one CPU."""
    scored, sent = n * found.rate / 1e3, n * found.sent / 1e3
    engine = scored * costs.engine_ms
    cpu = scored * (costs.engine_cpu_ms + costs.prepare_cpu_ms) + sent * costs.decode_cpu_ms
    return engine, cpu / n_cpus


def test_by_hand() -> None:
    at = {"n_cpus": 4, "utilisation": 0.7}
    # 10 ms of the engine at 5 frames/s are 5 % of it, and 20 ms CPU 2.5 % of four; decoding 25 x 2 ms is 1.25 %.
    assert fit(Costs(10, 20, 2, 0), AMPLE, rate=5, sent=25, **at) == Fit(5, 25, 14, "engine")
    # Decoding 25 x 8 ms is 5 % of four CPUs, the engine's threads 0.25 %, so 13 fit and 14 do not.
    assert fit(Costs(1, 2, 8, 0), AMPLE, rate=5, sent=25, **at) == Fit(5, 25, 13, "decode")
    assert fit(Costs(1, 2, 8, 0), AMPLE, rate=5, sent=5, **at).cameras == 56
    # A GPU: hardly any CPU time, yet one call at a time.
    assert fit(Costs(50, 0.1, 0.1, 0.1), AMPLE, rate=25, sent=25, **at) == Fit(25, 25, 0, "engine")
    assert fit(Costs(1, 2, 3, 40), AMPLE, rate=25, sent=25, **at).bottleneck == "prepare"


@given(COSTS, MEMORY, RATE, PLACE)
def test_they_fit_and_one_more_does_not(
    costs: Costs,
    memory: Memory,
    rate: float,
    place: dict,  # type: ignore[type-arg]
) -> None:
    found = fit(costs, memory, rate=rate, sent=25, **place)
    limit = place["utilisation"]

    def loads(n: int) -> tuple[float, float]:
        mb = memory.engine_mb + n * memory.camera_mb
        # Even without a camera an engine may be too large.
        held = mb / max(memory.available_mb, 1e-9)
        return max(_loads(costs, found, n, place["n_cpus"])), held

    if found.cameras:
        assert max(loads(found.cameras)) <= limit * (1 + 1e-6)
    time, held = loads(found.cameras + 1)
    assert (held if found.bottleneck == "memory" else time) > limit * (1 - 1e-6)


@given(COSTS, MEMORY, RATE, PLACE, st.sampled_from(Costs.__slots__), st.floats(1, 10))
def test_a_higher_cost_never_brings_a_camera(
    costs: Costs,
    memory: Memory,
    rate: float,
    place: dict,  # type: ignore[type-arg]
    name: str,
    factor: float,
) -> None:
    dearer = replace(costs, **{name: getattr(costs, name) * factor})
    before = fit(costs, memory, rate=rate, sent=25, **place)
    assert fit(dearer, memory, rate=rate, sent=25, **place).cameras <= before.cameras


@given(COSTS, MEMORY, PLACE)
def test_a_higher_rate_never_brings_a_camera(costs: Costs, memory: Memory, place: dict) -> None:  # type: ignore[type-arg]
    every = [fit(costs, memory, rate=rate, sent=25, **place).cameras for rate in RATES]
    alone = [fit(costs, memory, rate=rate, sent=rate, **place).cameras for rate in RATES]
    assert every == sorted(every, reverse=True)
    assert alone == sorted(alone, reverse=True)
    assert all(a >= b for a, b in zip(alone, every, strict=True))


@given(COSTS, MEMORY, RATE, PLACE, st.integers(1, 8), st.floats(0.05, 1.0))
def test_more_machine_never_takes_a_camera(
    costs: Costs,
    memory: Memory,
    rate: float,
    place: dict,  # type: ignore[type-arg]
    more: int,
    utilisation: float,
) -> None:
    before = fit(costs, memory, rate=rate, sent=25, **place)
    roomier = replace(memory, available_mb=memory.available_mb * more)
    larger = {
        "n_cpus": place["n_cpus"] + more,
        "utilisation": max(utilisation, place["utilisation"]),
    }
    assert fit(costs, roomier, rate=rate, sent=25, **larger).cameras >= before.cameras


@pytest.mark.parametrize(
    "wrong",
    [{"rate": 0}, {"rate": 26}, {"n_cpus": 0}, {"utilisation": 0}, {"utilisation": 1.1}],
)
def test_impossible_numbers_are_refused(wrong: dict[str, float]) -> None:
    right = {"rate": 5, "sent": 25, "n_cpus": 2, "utilisation": 0.7}
    with pytest.raises(ValueError, match="must have 0 < rate <= sent"):
        fit(Costs(1, 1, 1, 1), AMPLE, **{**right, **wrong})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="milliseconds must be finite"):
        Costs(0, 1, 1, 1)
    with pytest.raises(ValueError, match="milliseconds must be finite"):
        Costs(1, float("nan"), 1, 1)


def test_a_slow_camera_is_asked_about_its_own_rate() -> None:
    assert rates_of(25) == RATES
    assert rates_of(15) == (1, 2, 5, 10)
    assert rates_of(0.5) == (0.5,)


def _advice(costs: Costs, memory: Memory = AMPLE, **more: object) -> str:
    at = {"n_cpus": 2, "utilisation": 0.7}
    every = [fit(costs, memory, rate=rate, sent=25, **at) for rate in RATES]  # type: ignore[arg-type]
    alone = [fit(costs, memory, rate=rate, sent=rate, **at) for rate in RATES]  # type: ignore[arg-type]
    return advice(every, alone, **more)  # type: ignore[arg-type]


def test_the_advice_follows_the_bottleneck_with_its_numbers() -> None:
    engine = _advice(Costs(50, 100, 0.5, 0.1), more=["take a machine with bf16"])
    assert engine.startswith("at 25 frames/s 0 cameras fit and the engine is the bottleneck")
    assert "let the cameras send fewer frames a second (at 10: 1 cameras)" in engine
    assert "vadfast.ablate --grid" in engine
    assert engine.endswith("or take a machine with bf16")
    decode = _advice(Costs(1, 2, 20, 0.1))
    assert "at 25 frames/s 2 cameras fit and decoding is the bottleneck" in decode
    assert "(at 10: 6 cameras, not 2)" in decode
    assert "preparing frames (resizing, teachers) is the bottleneck" in _advice(Costs(1, 1, 1, 90))
    memory = _advice(Costs(1, 1, 1, 1), Memory(1000, 600, 40))
    assert memory.startswith("at 25 frames/s 2 cameras fit and memory is the bottleneck")


def test_memory_keeps_cameras_out_and_is_named_where_it_is_less_than_the_time() -> None:
    at = {"rate": 5, "sent": 25, "n_cpus": 4, "utilisation": 0.7}
    costs = Costs(10, 20, 2, 0)  # 14 cameras, by the engine
    # 0.7 x 1000 MB less 300 are 400, so 10 of 40 MB.
    assert fit(costs, Memory(1000, 300, 40), **at) == Fit(5, 25, 10, "memory")
    assert fit(costs, Memory(1000, 300, 28.5), **at) == Fit(5, 25, 14, "engine"), "room for 14.04"
    assert fit(costs, Memory(400, 300, 40), **at) == Fit(5, 25, 0, "memory"), "not even the engine"
    with pytest.raises(ValueError, match="megabytes must be finite"):
        Memory(1000, 300, 0)
    with pytest.raises(ValueError, match="megabytes must be finite"):
        Memory(float("inf"), 300, 40)
