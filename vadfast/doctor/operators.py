"""The table of operators: which backends of each can run on this machine, which ``auto`` takes, and why not another."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from vadfast.doctor import contract
from vadfast.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

_SHAPE = re.compile(r"[1-9]\d{0,9}(x[1-9]\d{0,9})*")


def operators(
    device: str, dtype: str | None = None, operator: str = "", shapes: Sequence[str] = ()
) -> dict[str, list[dict[str, Any]]]:
    """Returns for each operator the verdict on each of its backends.

    Args:
        device: where the tensors would be.
        dtype: of the tensors; None: float32, and uint8 where a call takes it. Of a named operator the first has it, whatever it takes.
        operator: this one alone; empty: all.
        shapes: of its first arguments, each like ``1x8x97x97``; the others are those of a typical call.

    Raises:
        UsageError: there is no such operator, or its arguments do not have such shapes.
    """
    import torch
    from vadfast_kernels import ops

    known = ops.operators()
    if operator and operator not in known:
        raise UsageError(f"--operator: must be one of {', '.join(known)}, got {operator!r}")
    if shapes and not operator:
        raise UsageError("--shape: needs --operator, whose arguments it is of, got none; name one")
    found = {}
    for name in [operator] if operator else known:
        arguments = ops.sample(name, torch.device(device), getattr(torch, dtype or "float32"))
        if operator and dtype:
            arguments = (arguments[0].to(getattr(torch, dtype)), *arguments[1:])
        arguments = _shaped(name, arguments, shapes)
        found[name] = _verdicts(name, arguments)
    return found


def _verdicts(operator: str, arguments: "Sequence[Any]") -> list[dict[str, Any]]:
    from vadfast_kernels import ops

    # A call that raises before any backend is asked runs on none.
    wrong = contract.refusal(operator, [x for x in arguments if not isinstance(x, int)])
    return [
        {
            "backend": v.backend,
            "can_run": not (wrong or v.reason),
            "reason": wrong or v.reason,
            "chosen": v.chosen and not wrong,
        }
        for v in ops.explain(operator, *arguments)
    ]


def _shaped(
    operator: str, arguments: "Sequence[Tensor]", shapes: Sequence[str]
) -> "tuple[Tensor, ...]":
    """``arguments``, the first of them in other sizes."""
    n_tensors = sum(not isinstance(x, int) for x in arguments)  # they come first
    if len(shapes) > n_tensors:
        raise UsageError(
            f"--shape: must come at most {n_tensors} times for {operator}, came {len(shapes)} times"
        )
    given = []
    for text, like in zip(shapes, arguments, strict=False):
        sizes = [int(n) for n in text.split("x")] if _SHAPE.fullmatch(text) else []
        if len(sizes) != like.dim():
            usual = "x".join(map(str, like.shape))
            raise UsageError(
                f"--shape: must be {like.dim()} sizes above 0 as in {usual}, got {text!r}"
            )
        given.append(like.new_empty((1,)).expand(sizes))  # the sizes, and no memory
    return (*given, *arguments[len(given) :])


def device_of(asked: str) -> str:
    """Returns where the tensors of ``--device`` would be. Raises UsageError where that is not here, or torch is not."""
    try:
        import torch
    except ImportError as error:
        raise UsageError(
            f"doctor: the table of operators needs torch, which cannot be imported ({error}); to examine a bundle name it: "
            "python -m vadfast.doctor NAME.vad"
        ) from error

    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(asked).type
    except RuntimeError as error:
        raise UsageError(f"--device: must be auto, cpu or cuda, got {asked!r}") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            f"--device: must be on this machine, got {asked!r} and torch finds no GPU; use cpu"
        )
    return asked


def operator_table(found: dict[str, list[dict[str, Any]]], words: str) -> Table:
    """Returns the verdicts as a table; ``words`` say on what."""
    table = Table(title=f"operators, {words}", title_justify="left")
    for column in ("operator", "backend", "verdict"):
        table.add_column(column, overflow="fold")
    for name, verdicts in found.items():
        for i, verdict in enumerate(verdicts):
            said = "would run" if verdict["chosen"] else "can run, by name"
            table.add_row("" if i else name, verdict["backend"], verdict["reason"] or said)
    return table
