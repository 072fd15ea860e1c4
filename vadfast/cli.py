"""The command line: ``vadfast NAME ...`` is ``python -m vadfast.NAME ...``; here is what all commands share.

A command is one typed function. ``run_command`` makes a process of it: an error that vadfast raises on purpose becomes one
sentence on stderr and its exit code; a traceback appears only with ``--debug``.
"""

import errno
import functools
import importlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from vadfast.errors import UsageError, VadfastError

COMMANDS = ("train", "evaluate", "compile", "score", "ablate", "features", "doctor", "demo")

# Talk and progress go to stderr, results to stdout: a script can pipe one and a person still reads the other.
talk = Console(stderr=True, highlight=False, soft_wrap=True)

_debug = False


def _set_debug(value: bool) -> bool:
    global _debug
    _debug = _debug or value
    return value


Debug = Annotated[
    bool,
    typer.Option(
        "--debug", help="Show the traceback of an error.", callback=_set_debug, is_eager=True
    ),
]
JsonFile = Annotated[
    Path | None,
    typer.Option("--json", help="Write the results as JSON to this file ('-': standard output)."),
]


TrustKeys = Annotated[
    list[Path] | None,
    typer.Option(
        "--trust",
        metavar="KEY.pub",
        help="Public key whose bundles are opened, beside this machine's.",
    ),
]
AllowUnsigned = Annotated[
    bool,
    typer.Option("--allow-unsigned", help="Open bundles that nobody signed, or an unknown key."),
]


def check_writable(option: str, file: Path) -> None:
    """Raises UsageError where ``file`` of ``option`` could not be written; before the minutes of work."""
    folder = next(parent for parent in file.absolute().parents if parent.exists())
    if file.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UsageError(
            f"{option}: must be a file that can be written, got {file}; name another, such as report{file.suffix or '.html'}"
        )


def run_command(
    function: Callable[..., Any], *, name: str, arguments: list[str] | None = None
) -> NoReturn:
    """Runs ``function`` as the command ``name`` and exits the process with its code.

    SIGTERM, by which systemd, docker and CI stop a process, ends it with 143, and what it had left in temporary folders goes.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(exit_code_of(function, name=name, arguments=arguments))


def exit_code_of(
    function: Callable[..., Any], *, name: str, arguments: list[str] | None = None
) -> int:
    """Runs ``function`` as the command ``name``; returns 0, the error's exit code, or 130 after Ctrl-C."""
    app = typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.command()(_interruptible(function))
    try:
        with _spoken_log():
            app(args=arguments, prog_name=f"vadfast {name}")
    # The ordinary end; click's own usage errors arrive so too, already printed.
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except (VadfastError, OSError) as error:
        if _debug:
            raise
        talk.print(f"[bold red]error:[/] {_sentence(error)}", markup=True)
        return error.exit_code if isinstance(error, VadfastError) else 1
    return 0


def _interruptible(function: Callable[..., Any]) -> Callable[..., Any]:
    """Typer would end Ctrl-C with "Aborted!"; this says what happened, and ends with the shell's code for it."""

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except KeyboardInterrupt:
            talk.print("stopped by Ctrl-C")
            raise typer.Exit(130) from None

    return call


class _TalkHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        from rich.markup import escape

        talk.print(escape(record.getMessage()))


@contextmanager
def _spoken_log() -> Iterator[None]:
    """Shows what the library logs (which engine was chosen, and why not another) to the person at the command line."""
    logger, handler = logging.getLogger("vadfast"), _TalkHandler()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _sentence(error: BaseException) -> str:
    from rich.markup import escape

    if isinstance(error, OSError) and not isinstance(error, VadfastError):
        where = f": {error.filename}" if error.filename else ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return escape(
                f"the disk is full while writing {error.filename or 'the results'} ({error.strerror}); free some space and run "
                "again (nothing half-written was left)"
            )
        return escape(
            f"{error.strerror or error}{where and ':'}{where}; run again with --debug for the place in the code"
        )
    return escape(str(error))


def main() -> NoReturn:
    """``vadfast NAME ...``: hands the rest of the line to ``python -m vadfast.NAME``."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        talk.print(f"usage: vadfast {{{'|'.join(COMMANDS)}}} ...   (each has --help)")
        sys.exit(0 if len(sys.argv) > 1 else 2)
    name = sys.argv[1]
    if name not in COMMANDS:
        error = UsageError(
            f"vadfast: the command must be one of {', '.join(COMMANDS)}, got {name!r}; see vadfast --help"
        )
        talk.print(f"[bold red]error:[/] {error}")
        sys.exit(error.exit_code)
    module = importlib.import_module(f"vadfast.{name}.__main__")
    run_command(module.command, name=name, arguments=sys.argv[2:])
