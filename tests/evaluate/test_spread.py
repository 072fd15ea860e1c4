"""Means and deviations of several runs."""

from typing import Any

import pytest

from vadfast.evaluate.spread import rates, spread, spreads


def report(micro: float, *, macro: float | None = 0.5, tbdc: float | None = None) -> dict[str, Any]:
    regions = {"rbdc": 0.25, "tbdc": tbdc}
    spatial = {"pixel_level": 0.6, "dual_pixel": 0.5, "per_pixel": 0.9, "regions": regions}
    return {
        "auc": {"micro_minmax": micro, "macro": macro},
        "eer": 0.1,
        "ap": 0.8,
        "spatial": spatial,
    }


def test_deviation_is_that_of_a_sample() -> None:
    found = spread([0.94, 0.95, 0.99])
    assert (found.mean, found.deviation) == (pytest.approx(0.96), pytest.approx(0.0264575))
    assert found.percent == "96.00 ± 2.65"
    assert spread([0.9]).percent == "90.00"


def test_only_what_every_run_has_is_averaged() -> None:
    found = spreads([report(0.9), report(0.8, macro=None)])
    assert found["micro_minmax"].mean == pytest.approx(0.85)
    assert "macro" not in found
    assert "tbdc" not in found
    assert found["rbdc"].mean == 0.25
    assert rates(report(0.9, tbdc=0.4))["tbdc"] == 0.4
    assert "rbdc" not in rates(report(0.9) | {"spatial": None})
