"""What pybind11 says of an argument that is of another kind, in one sentence instead of twenty lines with whole arrays in them.

``speak`` is called once, when the module is loaded: each function of it, and each method, is put behind one that only acts on that error.
Which argument it was is found from the signature that pybind11 writes into it, whose annotations are Python's own.
"""

import ast
import collections.abc
import functools
import inspect
import re
import types
import typing
from collections.abc import Callable
from typing import Any

# What a call without a mistake in its kinds is not slowed by: nothing is looked at before pybind11 has refused.
_REFUSED = re.compile(
    r"\w+\(\): incompatible (?:function|constructor) arguments\..*?\n +1\. [\w.]*(\(.*?\))(?: -> [^\n]*)?\n",
    re.DOTALL,
)
_NAMES = {
    "typing": typing,
    "collections": collections,
    "typing_extensions": types.SimpleNamespace(
        Buffer=bytes
    ),  # pybind11's name of it before Python 3.12
}
_WORDS = {
    typing.SupportsInt: "int",
    typing.SupportsFloat: "float",
    type(None): "None",
    getattr(collections.abc, "Buffer", bytes): "bytes",
}


def speak(module: Any) -> None:
    """Puts every function and method of the compiled ``module`` behind one whose errors are sentences."""
    for name, found in list(vars(module).items()):
        if isinstance(found, type):
            _speak_class(found)
        elif isinstance(found, types.BuiltinFunctionType):
            setattr(module, name, _spoken(found, name, is_method=False))


def _speak_class(one: type) -> None:
    for name, found in list(vars(one).items()):
        if isinstance(found, types.FunctionType):  # it speaks already
            continue
        if name == "__init__":
            setattr(one, name, _spoken(getattr(one, name), one.__name__))
        elif not name.startswith("_") and callable(getattr(one, name)):
            setattr(one, name, _spoken(getattr(one, name), f"{one.__name__}.{name}"))


def _spoken(
    function: Callable[..., Any], name: str, *, is_method: bool = True
) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except TypeError as error:
            refused = _REFUSED.match(str(error))
            if refused is None:
                raise
            own = arguments[1:] if is_method else arguments
            sentence = _sentence(refused[1], own, options)
        raise TypeError(f"{name}: {sentence}")

    return call


def _sentence(signature: str, given: tuple[Any, ...], options: dict[str, Any]) -> str:
    """What is wrong with a call of ``signature``, as "(n: typing.SupportsInt, *, device: str = 'cpu')"."""
    # The type of `self` is the module's own, and no Python expression everywhere.
    own = re.sub(r"\(self: [\w.]+(, )?", "(", signature)
    tree = ast.parse(f"def call{own}: ...").body[0]
    assert isinstance(tree, ast.FunctionDef)
    in_order, by_name = tree.args.args, tree.args.kwonlyargs
    wanted = {a.arg: _hint(a.annotation) for a in (*in_order, *by_name)}
    needed = {a.arg for a in in_order[: len(in_order) - len(tree.args.defaults)]}
    needed |= {a.arg for a, d in zip(by_name, tree.args.kw_defaults, strict=True) if d is None}
    came = dict(zip((a.arg for a in in_order), given, strict=False)) | options
    takes = f"it takes {', '.join(wanted) or 'none'}"
    if len(given) > len(in_order):
        return f"must be given at most {len(in_order)} arguments without their names, got {len(given)}; {takes}"
    if unknown := [name for name in options if name not in wanted]:
        return f"has no argument {', '.join(unknown)}; {takes}"
    if missing := [name for name in wanted if name in needed and name not in came]:
        return f"{', '.join(missing)} must be given, got {', '.join(came) or 'nothing'}"
    for name, value in came.items():
        if not _fits(value, wanted[name]):
            return f"{name} must be {_words(wanted[name])}, got {_kind(value)}"
    # Of the right kind all of them: then it is a number that the core has no bits for.
    large = [n for n, x in came.items() if isinstance(x, int) and not 0 <= x < 2**31]
    return f"{', '.join(large or came)} must be of 32 bits, an address not negative, got {', '.join(str(came[n]) for n in large)}"


def _hint(annotation: ast.expr | None) -> Any:
    return object if annotation is None else eval(ast.unparse(annotation), dict(_NAMES))


def _fits(value: Any, hint: Any) -> bool:
    """Whether pybind11 takes ``value`` for ``hint``."""
    inner = typing.get_args(hint)
    origin = typing.get_origin(hint)
    if hint in (object, typing.Any):
        return True
    if origin in (typing.Union, types.UnionType):
        if typing.SupportsInt in inner:  # and SupportsIndex: a float is not cut off
            return hasattr(value, "__index__") or (
                hasattr(value, "__int__") and not _is_float(value)
            )
        return any(_fits(value, one) for one in inner)
    if origin is tuple:
        return (
            isinstance(value, tuple | list)
            and len(value) == len(inner)
            and all(map(_fits, value, inner))
        )
    if origin is not None:
        return isinstance(value, origin) and all(_fits(one, inner[0]) for one in value)
    return isinstance(value, hint) if inspect.isclass(hint) else True


def _is_float(value: Any) -> bool:
    return hasattr(value, "__float__") and not hasattr(value, "__index__")


def _words(hint: Any) -> str:
    inner = [_words(one) for one in typing.get_args(hint) if one is not typing.SupportsIndex]
    if hint in _WORDS:
        return _WORDS[hint]
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(inner)
    if origin is tuple:
        return f"({', '.join(inner)})"
    if origin is not None:
        return f"a list of {inner[0]}" if inner else "a list"
    return getattr(hint, "__name__", str(hint))


def _kind(value: Any) -> str:
    """Of what kind ``value`` is, and what is in it where that is little."""
    name = type(value).__name__
    if isinstance(value, tuple | list) and 0 < len(value) <= 5:
        inner = ", ".join(map(_kind, value))
        return f"({inner})" if isinstance(value, tuple) else f"[{inner}]"
    if value is None:
        return "None"
    return (
        f"{name} {value!r}"
        if isinstance(value, str | int | float) and len(repr(value)) < 40
        else name
    )
