"""A method's options as they are given: a row of the paper's tables, then flags, then ``--set NAME=VALUE``; later ones win."""

import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from vadfast.errors import UsageError
from vadfast.methods import model_module


def method_options(
    method: str, ablation: str, flags: Mapping[str, Any], settings: Sequence[str]
) -> dict[str, Any]:
    """Returns the options that were given, to be checked against the method's own by ``RunConfig``.

    Raises:
        UsageError: there is no such row, or a setting is not NAME=VALUE.
    """
    rows: Mapping[str, Mapping[str, Any]] = model_module(method).ABLATIONS
    if ablation and ablation not in rows:
        raise UsageError(
            f"--ablation must be a row of {method}'s tables ({', '.join(rows) or 'it has none'}), got {ablation!r}"
        )
    given = {name: value for name, value in flags.items() if value is not None}
    return {**rows.get(ablation, {}), **given, **dict(_setting(text) for text in settings)}


def _setting(text: str) -> tuple[str, Any]:
    """NAME=VALUE, the value as in run.toml; a bare word is a string."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise UsageError(f"--set must be NAME=VALUE, as n_prototypes=20, got {text!r}")
    try:
        return name, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name, value
