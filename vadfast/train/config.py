"""What a training run is: everything in run.toml, nothing else decides the result."""

from typing import Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from vadfast.config import Config
from vadfast.models.adl import ADLConfig
from vadfast.models.apn import APNConfig
from vadfast.models.mtl import MTLConfig
from vadfast.models.sta import STAConfig
from vadfast.models.std import STDConfig

CHECKPOINT_EVERY_S = 60.0
_SECTIONS: dict[str, type[Config]] = {
    "adl": ADLConfig,
    "apn": APNConfig,
    "mtl": MTLConfig,
    "sta": STAConfig,
    "std": STDConfig,
}


class RunConfig(Config):
    """One training run; ``precision`` and ``fps`` are what was resolved, not what was asked for.

    Of the sections of methods only the trained one is there; it is filled with defaults where it is absent.
    """

    method: Literal["adl", "apn", "mtl", "sta", "std"] = "adl"
    data: str
    dataset: Literal["ped1", "ped2", "avenue", "shanghaitech", "folder", "features"]
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
    adl: ADLConfig | None = None
    apn: APNConfig | None = None
    mtl: MTLConfig | None = None
    sta: STAConfig | None = None
    std: STDConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, values: Any) -> Any:
        method = values.get("method", "adl")
        return {method: {}} | values if method in _SECTIONS else values

    @model_validator(mode="after")
    def _has_no_other_section(self) -> Self:
        others = [name for name in _SECTIONS if name != self.method and getattr(self, name)]
        if others:
            raise ValueError(
                f"section {others[0]!r} does not belong to a run of method {self.method!r}"
            )
        return self

    @property
    def options(self) -> Any:
        """The section of this run's method."""
        return getattr(self, self.method)
