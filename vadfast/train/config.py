"""What a training run is: everything in run.toml, nothing else decides the result."""

from typing import Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, SerializeAsAny

from vadfast.config import Config
from vadfast.errors import UsageError
from vadfast.methods import model_module

CHECKPOINT_EVERY_S = 60.0


class RunConfig(Config):
    """One training run; ``precision`` and ``fps`` are what was resolved, not what was asked for."""

    method: str = "adl"
    data: str
    dataset: Literal["ped1", "ped2", "avenue", "shanghaitech", "folder", "features", "ucf-crime"]
    fps: PositiveFloat | None = None
    holdout: float = Field(default=0.1, ge=0, lt=1)
    seed: NonNegativeInt = 0
    steps: PositiveInt = 20_000
    batch: PositiveInt = 4
    learning_rate: PositiveFloat = 2e-4
    precision: Literal["fp32", "bf16"] = "fp32"
    device: Literal["cpu", "cuda"] = "cpu"
    mask_folder: str | None = None
    start_from: str | None = None  # a run whose weights this one begins with
    options: SerializeAsAny[Any]  # the method's own record: its module's Options

    @classmethod
    def parse(cls, values: dict[str, Any], *, where: str) -> Self:
        """Builds the record; ``options`` are read as the method's, and filled with its defaults where they are absent.

        Raises:
            UsageError: there is no such method, a key is unknown or a value is out of range.
        """
        method = str(values.get("method", "adl"))
        options = values.get("options", {})
        if not isinstance(options, dict):
            raise UsageError(f"{where}: options must be a table, got {options!r}")
        try:
            module = model_module(method)
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from error
        record = module.Options.parse(options, where=f"{where}: options of {method}")
        return super().parse({**values, "method": method, "options": record}, where=where)
