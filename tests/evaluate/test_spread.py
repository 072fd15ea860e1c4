"""Means and deviations of several runs."""

import io
from typing import Any

import pytest
from rich.console import Console

from vadfast.evaluate.spread import print_spreads, rates, spread, spreads, spreads_json


def report(
    micro: float, *, macro: float | None = 0.5, tbdc: float | None = None, method: str = "adl"
) -> dict[str, Any]:
    regions = {"rbdc": 0.25, "tbdc": tbdc}
    spatial = {"pixel_level": 0.6, "dual_pixel": 0.5, "per_pixel": 0.9, "regions": regions}
    return {
        "subject": {"path": f"runs/{method}", "method": method},
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


def test_runs_of_different_methods_stand_side_by_side_and_have_no_mean() -> None:
    seeds, methods = [report(0.9), report(0.8)], [report(0.9), report(0.8, method="std")]
    for reports, alike in ((seeds, True), (methods, False)):
        console = Console(width=100, record=True, file=io.StringIO())
        print_spreads(console, reports)
        text = console.export_text()
        assert "90.00" in text
        assert "80.00" in text
        assert ("85.00" in text) == ("mean" in text) == alike
        found = spreads_json(reports)
        assert found["runs"] == reports
        assert (found["mean"].get("micro_minmax") == pytest.approx(0.85)) == alike
        assert bool(found["deviation"]) == alike
