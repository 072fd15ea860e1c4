"""Configuration as frozen typed records, read from and written to TOML; an unknown key is an error with the nearest spelling."""

import difflib
import reprlib
import tomllib
from pathlib import Path
from typing import Any, Self, get_args

import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationError

from vadfast.atomic import write_text
from vadfast.errors import UsageError, first_line

# The whole of a value, but not of one that would fill the screen, or that is nested deeper than Python goes.
_SHOWN = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxother = 200


class Config(BaseModel):
    """Base of every configuration record: immutable, strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def parse(cls, values: dict[str, Any], *, where: str) -> Self:
        """Builds the record from plain values.

        Raises:
            UsageError: a key is unknown (the nearest known one is named) or a value is out of range; ``where`` says of what.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise UsageError(f"{where}: {_first_fault(error, cls)}") from error

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads the record from a TOML file.

        Raises:
            UsageError: the file is absent, is not TOML, or does not fit the record.
        """
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UsageError(
                f"{path}: no such file; a run directory made by vadfast.train holds one"
            ) from None
        # TOML's and the encoding's errors are ValueErrors, as is that of an integer of thousands of digits.
        except (ValueError, RecursionError) as error:
            raise UsageError(
                f"{path}: is not valid TOML ({first_line(error)}); restore it or train again"
            ) from error
        return cls.parse(values, where=str(path))

    def save(self, path: Path) -> None:
        """Writes the record as TOML, whole or not at all; keys that are None are left out."""
        write_text(path, tomli_w.dumps(self.model_dump(mode="json", exclude_none=True)))


def _first_fault(error: ValidationError, record: type[BaseModel]) -> str:
    fault = error.errors()[0]
    path = ".".join(str(part) for part in fault["loc"])
    if fault["type"] != "extra_forbidden":
        return f"{path} must be valid ({fault['msg'].lower()}), got {_SHOWN.repr(fault['input'])}"
    known = _known_keys(record, fault["loc"][:-1])
    near = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
    return f"unknown key {path!r}; {hint}"


def _known_keys(record: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    for part in path:
        field = record.model_fields.get(str(part))
        # A section that may be absent is a union with None.
        kinds = (field.annotation, *get_args(field.annotation)) if field else ()
        inner = [k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)]
        if not inner:
            break
        record = inner[0]
    return list(record.model_fields)
