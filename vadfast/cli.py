"""The command line: ``vadfast NAME ...`` is ``python -m vadfast.NAME ...``; here is what all commands share.

A command is one typed function. ``run_command`` makes a process of it: every error becomes one sentence on stderr and an exit code;
a traceback appears only with ``--debug``. 0 is done, 1 something failed, 2 bad usage, 3 the accuracy gate, 4 a build, 130 Ctrl-C.
"""

import errno
import functools
import gc
import importlib
import logging
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from vadfast.errors import UsageError, VadfastError, first_line, plain, without_logins

COMMANDS = ("train", "evaluate", "compile", "score", "ablate", "features", "doctor", "demo")

# Talk and progress go to stderr, results to stdout: a script can pipe one and a person still reads the other.
talk = Console(stderr=True, highlight=False, soft_wrap=True)

# What typer finds wrong with a command line; it has no name of its own for all of it.
_WrongUsage: type[Exception] = typer.BadParameter.__bases__[0]

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


def check_writable(option: str, file: Path | None) -> None:
    """Raises UsageError where ``file`` of ``option`` could not be written, before the minutes of work; None and stdout (-) always can."""
    if file is None or file == Path("-"):
        return
    if not takes_files(file.absolute().parent) or file.is_dir():
        raise UsageError(
            f"{option}: must be a file that can be written, got {file}; name another, such as report{file.suffix or '.html'}"
        )


def check_writable_folder(option: str, folder: Path) -> None:
    """Raises UsageError where files could not be written into ``folder`` of ``option``, which may be new; makes nothing."""
    if not takes_files(folder.absolute()):
        raise UsageError(
            f"{option}: must be a folder that can be written to, new or not, got {folder}; name another"
        )


def takes_files(folder: Path) -> bool:
    """Whether files can be written into ``folder``, or into what it would be made in; leaves nothing there."""
    try:
        # A file without a name: what os.access says of root is no proof.
        with tempfile.TemporaryFile(dir=nearest_folder(folder)):
            return True
    except OSError:
        return False


def nearest_folder(folder: Path) -> Path:
    """Returns ``folder``, which is absolute, or the nearest above it that there is: where it would be made."""
    return next(place for place in (folder, *folder.parents) if place.exists())


def check_bundle(bundle: Path) -> None:
    """Raises UsageError where ``bundle`` cannot be meant: nothing is there, or a training run. Whether it is whole, opening it says."""
    if not bundle.exists():
        raise UsageError(
            f"{bundle}: must be a bundle written by vadfast.compile (a folder or NAME.vad.zip), got nothing; check the path"
        )
    if (bundle / "run.toml").is_file():
        raise UsageError(
            f"{bundle}: must be a bundle, got a training run; make a bundle of it: python -m vadfast.compile {bundle} --out NAME.vad"
        )


@contextmanager
def starting(words: str, json_file: Path | None = None) -> Iterator[None]:
    """Shows at once what the first seconds go by with, the imports of the block; to a script that reads ``--json -`` nothing."""
    gc.disable()
    try:
        if json_file == Path("-"):
            yield
        elif talk.is_terminal:
            with talk.status(f"{words} ..."):
                yield
        else:
            talk.print(f"{words} ...", markup=False)
            yield
    finally:
        # What was imported stays. Looking through it for garbage takes a fifth of loading PyTorch, and of every export after it.
        gc.enable()
        gc.freeze()


def run_command(
    function: Callable[..., Any], *, name: str, arguments: list[str] | None = None
) -> NoReturn:
    """Runs ``function`` as the command ``name`` and exits the process with its code.

    SIGTERM, by which systemd, docker and CI stop a process, ends it with 143, and what it had left in temporary folders goes.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    code = exit_code_of(function, name=name, arguments=arguments)
    # Python looks through everything for garbage once more when it ends, which takes 1.5 s with PyTorch loaded. What is frozen it skips.
    gc.freeze()
    sys.exit(code)


def exit_code_of(
    function: Callable[..., Any], *, name: str, arguments: list[str] | None = None
) -> int:
    """Runs ``function`` as the command ``name``; returns 0, the error's exit code, or 130 after Ctrl-C.

    With ``--debug`` an error other than of usage is raised instead.
    """
    app = typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.command()(_interruptible(function))
    try:
        with _spoken_log():
            code = app(args=arguments, prog_name=f"vadfast {name}", standalone_mode=False)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except _WrongUsage as error:
        _say_error(f"{name}: {_decapitalised(error)}; see --help")
        return UsageError.exit_code
    except typer.Abort:  # Ctrl-C before the command began
        return 130
    except Exception as error:
        if _debug:
            raise
        _say_error(_sentence(error, name))
        return error.exit_code if isinstance(error, VadfastError) else 1
    return code if isinstance(code, int) else 0


def _say_error(sentence: str) -> None:
    from rich.markup import escape

    talk.print(f"[bold red]error:[/] {escape(without_logins(sentence))}")


def _decapitalised(error: Exception) -> str:
    """What typer says of a command line, as a part of a sentence."""
    words = plain(error.format_message() if hasattr(error, "format_message") else str(error))
    return (words[:1].lower() + words[1:]).rstrip(".")


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


def _sentence(error: Exception, name: str) -> str:
    if isinstance(error, VadfastError):
        return str(error)
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return (
                f"the disk is full while writing {error.filename or 'the results'} ({error.strerror}); free some space and run "
                "again (nothing half-written was left)"
            )
        return f"{error.strerror or error}{where}; run again with --debug for the place in the code"
    return (
        f"{name}: a fault of vadfast itself ({type(error).__name__}: {first_line(error)}); please report it, with what the same "
        "command prints with --debug"
    )


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
