"""Trains and evaluates what a table lacks, one process after the other; what is finished is never done again."""

import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rich.markup import escape

from vadfast.ablate.plan import Line, Plan, check_same
from vadfast.atomic import write_text
from vadfast.cli import talk
from vadfast.errors import UsageError, VadfastError
from vadfast.models.registry import CONFIG_FILE
from vadfast.train.checkpoint import CHECKPOINT_FILE

PLAN_FILE = "plan.json"
INTERRUPTED = 130


def keep_plan(plan: Plan) -> None:
    """Writes what all runs of the folder share; raises UsageError where it holds others."""
    path = plan.out / PLAN_FILE
    if path.is_file():
        try:
            check_same(plan.fixed, json.loads(path.read_text(encoding="utf-8")), plan.out)
        except (ValueError, AttributeError) as error:
            raise UsageError(
                f"{path}: must be the plan that an earlier table wrote, cannot be read ({error}); name another folder"
            ) from error
    else:
        write_text(path, json.dumps(plan.fixed, indent=2) + "\n")


def finish(plan: Plan, call: Callable[[list[str]], int]) -> bool:
    """Makes every report that is not there yet; returns False if Ctrl-C ended it.

    Args:
        plan: the table.
        call: runs a command and returns its exit code.

    Raises:
        VadfastError: a command failed.
    """
    wanted = [(line, seed) for seed in range(plan.seeds) for line in plan.lines]
    missing = [(line, seed) for line, seed in wanted if not plan.report(line, seed).is_file()]
    trained: set[Path] = set()
    started = time.monotonic()
    for done, (line, seed) in enumerate(missing):
        left = f"; about {_minutes((time.monotonic() - started) / done * (len(missing) - done))} left" if done else ""  # fmt: skip
        at = ", ".join([line.row, *(f"{name} {value}" for name, value in line.point)])
        number = len(wanted) - len(missing) + done + 1
        talk.print(f"[bold]run {number} of {len(wanted)}[/]: {escape(at)}, seed {seed}{left}")
        for command in _commands(plan, line, seed, trained):
            code = call(command)
            if code == INTERRUPTED:
                return False
            if code:
                said = shlex.join(["python", *command[1:]])
                raise VadfastError(
                    f"{said}: must end well, ended with exit code {code} and the words above; put that right and run the "
                    "table again, which goes on there"
                )
    return True


def reports(plan: Plan, line: Line) -> list[dict[str, Any]]:
    """The reports of a line, a seed each."""
    return [
        json.loads(plan.report(line, seed).read_text(encoding="utf-8"))
        for seed in range(plan.seeds)
    ]


def call_process(command: list[str]) -> int:
    """Runs a command whose talk is seen and whose tables are not: this table has their numbers."""
    try:
        # Ctrl-C reaches the command too, which writes its checkpoint before it ends.
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=sys.stderr) as process:
            try:
                return process.wait()
            except KeyboardInterrupt:
                process.wait()
                return INTERRUPTED
    except OSError as error:
        raise VadfastError(f"{command[0]}: cannot be started ({error.strerror})") from error


def _commands(plan: Plan, line: Line, seed: int, trained: set[Path]) -> Iterable[list[str]]:
    run = plan.run(line, seed)
    if run not in trained:
        if (run / CONFIG_FILE).exists() and not (run / CHECKPOINT_FILE).exists():
            shutil.rmtree(run)  # killed before its first checkpoint: there is nothing to go on from
        yield plan.train(line, seed)
        trained.add(run)
    if plan.compiled and not plan.bundle(line, seed).exists():
        yield plan.compile(line, seed)
    yield plan.evaluate(line, seed)


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
