"""What a training run is: everything in run.toml, nothing else decides the result."""

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from vadfast.config import Config
from vadfast.models.adl import ADLConfig

CHECKPOINT_EVERY_S = 60.0


class RunConfig(Config):
    """One training run; ``precision`` and ``fps`` are what was resolved, not what was asked for."""

    method: Literal["adl"] = "adl"
    data: str
    dataset: Literal["ped1", "ped2", "avenue", "folder"]
    fps: PositiveFloat | None = None
    holdout: float = Field(default=0.1, ge=0, lt=1)
    seed: NonNegativeInt = 0
    steps: PositiveInt = 20_000
    batch: PositiveInt = 4
    learning_rate: PositiveFloat = 2e-4
    precision: Literal["fp32", "bf16"] = "fp32"
    device: Literal["cpu", "cuda"] = "cpu"
    mask_folder: str | None = None
    adl: ADLConfig = ADLConfig()
