"""A method's options as they are given: a row of the paper's tables, then flags, then ``--set NAME=VALUE``; later ones win."""

import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from vadfast.errors import UsageError
from vadfast.methods import model_module
from vadfast.train.config import RunConfig


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


def refuse_unread(config: RunConfig, ablation: str) -> None:
    """Raises UsageError where something was given that the run would never look at."""
    options = config.options
    if config.mask_folder is not None and getattr(options, "attention", None) != "mask":
        raise UsageError(
            f"--mask-folder: is read by --method adl with --attention mask alone, got {config.mask_folder} for another run; "
            "add --attention mask, or leave it out"
        )
    # A row that leaves the flow loss out is compared with others, which the flow is for.
    row = model_module(config.method).ABLATIONS.get(ablation, {})
    compared = config.method != "adl" or "flow_weight" in row
    if not compared and options.flow != "none" and options.flow_weight == 0:
        raise UsageError(
            f"--flow: must be none where the flow loss has no weight, got {options.flow}; give --flow-weight a value, "
            "or leave it out"
        )


def _setting(text: str) -> tuple[str, Any]:
    """NAME=VALUE, the value as in run.toml; a bare word is a string."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise UsageError(f"--set must be NAME=VALUE, as n_prototypes=20, got {text!r}")
    try:
        return name, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name, value
