"""Every name that the adapter uses exists in TensorRT 10.3 (JetPack 6.2), 10.16, 11.4 and TensorRT-RTX, and takes what it is given.

The names are those of ``api.py``, which the type checker holds the adapter to; here they are read from its source. TensorRT's libraries
are not on the ordinary package index, its bindings are: a library of nine empty functions is enough to import them.
"""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tensorrt.conftest import BINDINGS, RTX, Bindings, import_rtx, missing
from vadfast.runtime import tensorrt

HERE = Path(__file__).parent
ADAPTER = Path(tensorrt.__file__).parent
SOURCES = [ADAPTER.parent / "engines" / "tensorrt.py", *sorted(ADAPTER.glob("*.py"))]
Members = dict[str, dict[str, str]]  # class ("": the module) -> member -> docstring


@pytest.fixture(scope="session", params=[RTX, *BINDINGS])
def members(request: pytest.FixtureRequest, bindings: Bindings) -> Members:
    """What one of the bindings has."""
    if request.param == RTX:
        import_rtx()
        return _described(RTX)
    folder, libraries = bindings(request.param)
    return _described("tensorrt_bindings", str(folder), *libraries)


def _described(*arguments: str) -> Members:
    done = subprocess.run(
        [sys.executable, str(HERE / "describe.py"), *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    found: Members = json.loads(done.stdout)
    return found


def _used(file: str = "api.py") -> dict[str, dict[str, int | None]]:
    """Class ("": the module) -> member -> how many arguments it is given; None: it is no method."""
    used: dict[str, dict[str, int | None]] = {}
    for node in ast.parse((ADAPTER / file).read_text()).body:
        if isinstance(node, ast.ClassDef):
            name = re.match(r"``(\w+)``", ast.get_docstring(node) or "")
            mine = used.setdefault(name[1] if name else "", {})
            for member in node.body:
                if isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
                    mine[member.target.id] = None
                elif isinstance(member, ast.FunctionDef) and member.name != "__buffer__":
                    mine[member.name] = len([*member.args.posonlyargs, *member.args.args]) - 1
    return used


def test_the_list_of_names_is_read() -> None:
    used = _used()
    assert used["Builder"]["build_serialized_network"] == 2
    assert used["IBuilderConfig"]["progress_monitor"] is None
    assert used[""].keys() >= {"Builder", "ILogger", "OnnxParser", "__version__"}
    assert sum(map(len, used.values())) > 30


def test_every_name_exists_and_takes_what_it_is_given(members: Members) -> None:
    _check(_used(), members)


def test_every_name_of_rtx_exists_there() -> None:
    import_rtx()
    used = _used("rtx_api.py")
    assert used["IRuntimeCache"] == {"deserialize": 1, "serialize": 0}
    _check(used, _described(RTX))


def _check(used: dict[str, dict[str, int | None]], members: Members) -> None:
    for kind, names in used.items():
        assert kind in members, kind
        for name, n_arguments in names.items():
            assert name in members[kind], f"{kind}.{name}"
            if n_arguments is not None:
                # What the module has is classes, and their calls are their __init__.
                doc = members[name]["__init__"] if kind == "" else members[kind][name]
                assert _takes(doc, n_arguments), f"{kind}.{name} takes not {n_arguments}: {doc}"


def test_what_the_adapter_overrides_is_called_so(members: Members) -> None:
    overridden = set()
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text())):
            if (
                isinstance(node, ast.ClassDef)
                and node.bases
                and "trt." in ast.unparse(node.bases[0])
            ):
                base = ast.unparse(node.bases[0]).removeprefix("trt.")
                for method in node.body:
                    if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                        overridden.add((base, method.name))
                        n_arguments = len(method.args.args) - 1
                        assert _takes(members[base][method.name], n_arguments), method.name
    assert overridden >= {("ILogger", "log"), ("IProgressMonitor", "step_complete")}


def test_the_list_holds_no_name_that_nobody_uses() -> None:
    text = "".join(s.read_text() for s in SOURCES if s.name not in ("api.py", "rtx_api.py"))
    for kind, names in (*_used().items(), *_used("rtx_api.py").items()):
        for name in names:
            assert re.search(rf"\.{name}\b|\"{name}\"", text), f"{kind}.{name} is not used"


@pytest.mark.parametrize(
    ("ci", "outcome"), [(None, "Skipped"), ("false", "Skipped"), ("true", "Failed")]
)
def test_what_is_missing_fails_in_ci_alone(
    monkeypatch: pytest.MonkeyPatch, ci: str | None, outcome: str
) -> None:
    monkeypatch.delenv("CI", raising=False)
    if ci is not None:
        monkeypatch.setenv("CI", ci)
    with pytest.raises(BaseException, match="no bindings") as caught:
        missing("no bindings")
    assert caught.type.__name__ == outcome


def _takes(doc: str, n: int) -> bool:
    """Whether a function of this docstring of pybind11 can be called with ``n`` positional arguments."""
    for line in doc.splitlines():
        if match := re.match(r"(?:\d+\. )?\w+\((.*)\) -> ", line):
            arguments = _split(match[1])[1:]  # but self
            required = sum(" = " not in a and not a.startswith("*") for a in arguments)
            if required <= n <= len(arguments):
                return True
    return False


def _split(arguments: str) -> list[str]:
    """At the commas that are in no bracket."""
    parts, depth = [""], 0
    for c in arguments:
        depth += (c in "([{<") - (c in ")]}>")
        if c == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += c
    return [p.strip() for p in parts if p.strip()]
