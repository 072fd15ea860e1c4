"""The gate on the page of a compile run: what was found about each candidate, and what is allowed."""

import math
from dataclasses import dataclass
from typing import Any

from vadfast.compile.evidence import Name


@dataclass(frozen=True, slots=True)
class GateTable:
    """A column a criterion, a row a candidate; a cell is what was found and what is allowed."""

    columns: list[str]
    rows: list[dict[str, Any]]


def gate_table(gate: dict[str, Any], auc_resolution: float) -> GateTable:
    """Returns the table of ``gate``, as ``--json`` has it; an AUC is never judged finer than ``auc_resolution``."""
    candidates = gate["candidates"]
    components = list(dict.fromkeys(name for c in candidates for name in c["bounds"]))
    protocols = list(dict.fromkeys(name for c in candidates for name in c["delta_auc"]))
    columns = [
        *(f"{name}: {what}" for name in components for what in ("error", "correlation")),
        *(f"ΔAUC {protocol}" for protocol in protocols),
        "heat map: error",
        "alerts: without a partner",
    ]
    rows = []
    for c in candidates:
        bounds = gate["bounds"][c["precision"]]
        cells = []
        for name in components:
            cells += [
                _cell(c["score_error"].get(name), "{:.2g}", "≤", c["bounds"][name]),
                _cell(c["correlation"].get(name), "{:.6f}", "≥", bounds["correlation"]),
            ]
        auc = max(bounds["auc"], auc_resolution)
        cells += [_cell(c["delta_auc"].get(p), "{:+.4f}", "±", auc) for p in protocols]
        cells.append(_cell(c["heatmap_error"], "{:.2g}", "≤", bounds["heatmap"]))
        n_alerts, n_alone = c["alerts"]
        # What is not finite raises nothing that could be counted.
        counted = "-" if c["heatmap_error"] is None else f"{n_alone} of {n_alerts}"
        cells.append((counted, f"≤ {math.ceil(bounds['alerts'] * n_alerts)}"))
        rows.append(
            {
                "name": words((c["backend"], c["precision"], c["batch"])),
                "cells": cells,
                "verdict": "passed" if c["passed"] else "; ".join(c["faults"]),
            }
        )
    return GateTable(columns, rows)


def _cell(found: float | None, form: str, sign: str, allowed: float) -> tuple[str, str]:
    return "-" if found is None else form.format(found), f"{sign} {allowed:.4g}"


def words(name: Name) -> str:
    """Returns what a candidate is called on the page.

    >>> words(("openvino", "fp32", 4))
    'openvino fp32 batch 4'
    """
    backend, precision, batch = name
    return f"{backend} {precision}" + (f" batch {batch}" if batch > 1 else "")
