"""The methods by name: those of this package, and modules of yours; a command's --help shows the names without loading PyTorch.

A method is what these names say; docs/your-own-method.md has one of 60 lines. In this package the first five lie in
``vadfast.models.NAME``, the rest in ``vadfast.train.NAME``; a module of yours holds all of them.

    Options                            a ``vadfast.config.Config`` with ``image_size``: what makes one model different from another
    N_FRAMES                           of a window
    ABLATIONS                          options by the name of a row of the paper's tables
    Network(options), Scorer(network)  what is trained, and the one graph that is evaluated, exported and shipped
    meaning(options)                   what the scorer's components are: ``vadfast.models.meaning.Meaning``
    BATCH, LEARNING_RATE               where nobody says otherwise
    open_training(config, dataset)     the ``vadfast.train.training.Training`` of a run, and its batches
    check(config)                      may be there: says what a new run lacks, before any film is decoded
"""

import importlib
from types import ModuleType

from vadfast.errors import UsageError

METHODS = ("adl", "apn", "mtl", "std", "sta")
# These score bags of features, not frames.
BAG_METHODS = ("sta",)
_MODEL = ("Options", "N_FRAMES", "ABLATIONS", "Network", "Scorer", "meaning")
_TRAINING = ("BATCH", "LEARNING_RATE", "open_training")


def model_module(method: str) -> ModuleType:
    """The module of ``method`` with its networks.

    Raises:
        UsageError: there is no such method, or the module lacks one of the names above.
    """
    if method in METHODS:
        return importlib.import_module(f"vadfast.models.{method}")
    return _module_of_yours(method)


def training_module(method: str) -> ModuleType:
    """The module of ``method`` that trains it; errors as ``model_module``'s."""
    if method in METHODS:
        return importlib.import_module(f"vadfast.train.{method}")
    return _module_of_yours(method)


def _module_of_yours(name: str) -> ModuleType:
    try:
        module = importlib.import_module(name)
    except (ModuleNotFoundError, ValueError, TypeError) as error:
        # What the module itself fails to import is its own error.
        if isinstance(error, ModuleNotFoundError) and not _is_part(error.name, name):
            raise
        raise UsageError(
            f"--method must be one of {', '.join(METHODS)}, or a module of yours that can be imported (docs/your-own-method.md), "
            f"got {name!r}; start in its folder, or name that in PYTHONPATH"
        ) from error
    missing = [n for n in (*_MODEL, *_TRAINING) if not hasattr(module, n)]
    if missing:
        raise UsageError(
            f"--method {name}: must have {', '.join((*_MODEL, *_TRAINING))}, lacks {', '.join(missing)}; see docs/your-own-method.md"
        )
    return module


def _is_part(missing: str | None, name: str) -> bool:
    return missing is not None and (name == missing or name.startswith(f"{missing}."))
