"""Prints what a TensorRT binding has, as JSON: a class or the module -> its members -> their docstrings.

python describe.py MODULE [FOLDER LIBRARY...]     LIBRARY: loaded first, for a binding that finds none of its own
"""

import ctypes
import importlib
import json
import sys

module, *rest = sys.argv[1:]
if rest:
    sys.path.insert(0, rest[0])
    for library in rest[1:]:
        ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
trt = importlib.import_module(module)
found = {"": {name: "" for name in dir(trt)}}
for name in dir(trt):
    value = getattr(trt, name)
    if isinstance(value, type):
        found[name] = {member: getattr(value, member).__doc__ or "" for member in dir(value)}
print(json.dumps(found))
