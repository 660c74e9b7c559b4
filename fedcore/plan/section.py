"""The common parts of a plan's sections."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from fedcore.text.toml_problems import kebab

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
OpenUnit = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(gt=0, le=1)]
PluginReference = str | dict[str, Any]
"""A plug-in with its options; see `fedcore.plugins`."""
Count = Annotated[int, Field(ge=1, strict=True)]


class Section(BaseModel):
    """A table of the plan: frozen, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=kebab, populate_by_name=False)
