"""The command's start: OpenVINO without its converter, and nothing left behind for the rest of the process."""

import subprocess
import sys


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_openvino_works_without_its_converter_and_the_converter_can_still_be_imported() -> None:
    out = _python(
        "import sys\n"
        "from vadfast.score.start import without_converter\n"
        "with without_converter():\n"
        "    import openvino\n"
        "print('CPU' in openvino.Core().available_devices, 'openvino.tools.ovc' in sys.modules)\n"
        "print('openvino_telemetry' in sys.modules)\n"
        "from openvino.tools.ovc import convert_model\n"
        "print(callable(convert_model))\n"
    )
    assert out.split() == ["True", "False", "False", "True"]


def test_an_openvino_that_is_loaded_already_is_left_alone() -> None:
    out = _python(
        "import sys, openvino\n"
        "before = sys.modules.get('openvino.tools.ovc')\n"
        "from vadfast.score.start import without_converter\n"
        "with without_converter():\n"
        "    print(sys.modules.get('openvino.tools.ovc') is before)\n"
        "print(sys.modules.get('openvino.tools.ovc') is before)\n"
    )
    assert out.split() == ["True", "True"]


def test_modules_are_imported_in_the_background_and_absent_ones_are_no_fault() -> None:
    out = _python(
        "import sys, threading\n"
        "from vadfast.score.start import import_meanwhile\n"
        "import_meanwhile('no_such_module_here', 'wave')\n"
        "[t.join() for t in threading.enumerate() if t.name == 'import']\n"
        "print('wave' in sys.modules)\n"
    )
    assert out.split() == ["True"]
