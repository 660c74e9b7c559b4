"""What a run was asked to do, and which of that differs between runs."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fedcore.errors import RunDirectoryError
from fedcore.report.page.run_record import RunRecord
from fedcore.tracking.plan_values import flat

Settings = Mapping[str, Any]
"""Plain values by ``section.key``."""

SEED, NOISE, EPSILON = "federation.seed", "privacy.noise-multiplier", "privacy.epsilon"
_IGNORED = (
    SEED, "engine.workers", "run.", "task.code.", "audit.vocabularies.", "audit.target-range",
    "privacy.trials", "privacy.contact", "devices.flops-per-example", "training.max-physical-batch",
)  # fmt: skip
"""What does not change results, or follows from the data."""


def settings_of(record: RunRecord) -> Settings:
    """The settings of a run but for its seed; without what a simulation derived from the number of rows.

    Raises:
        RunDirectoryError: The run has no plan that can be read.
    """
    try:
        values = dict(flat(_with_plugins_as_text(tomllib.loads(record.plan))))
    except tomllib.TOMLDecodeError as error:
        raise RunDirectoryError(f"a run's plan.toml is not TOML: {error}") from error
    if _is_derived_batch(values, record.summary):
        del values["privacy.nominal-batch"]
    if "devices.profiles" in values:  # the name stands for its kinds
        values = {path: value for path, value in values.items() if not path.startswith("devices.kinds.")}
    return {path: value for path, value in values.items() if not path.startswith(_IGNORED)}


def seed_of(record: RunRecord) -> int:
    return int(dict(flat(tomllib.loads(record.plan))).get(SEED, 0))


def varied(configurations: Sequence[Settings], *, always: Sequence[str] = ()) -> list[str]:
    """Keys whose values differ, and those of `always` that any has, in the order of the plan."""
    paths = dict.fromkeys(path for settings in configurations for path in settings)
    differing = (path for path in paths if len({text_of(settings.get(path)) for settings in configurations}) > 1)
    chosen = {*differing, *always}
    return [path for path in paths if path in chosen]


def is_calibrated(configurations: Iterable[Settings]) -> bool:
    """Whether noise multipliers have more digits than a person writes: they were derived from a target ε."""
    noises = [settings[NOISE] for settings in configurations if settings.get(NOISE) is not None]
    return any(float(f"{noise:.3g}") != noise for noise in noises)


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """The last part of each key (of ``algorithm.name`` the first), or the whole key where two would be alike."""
    ends = [path.removesuffix(".name").rpartition(".")[2] for path in paths]
    return {path: end if ends.count(end) == 1 else path for path, end in zip(paths, ends, strict=True)}


def text_of(value: Any) -> str:
    """A setting as it is shown: ``-`` where the plan has none."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else str(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _with_plugins_as_text(plan: Mapping[str, Any]) -> dict[str, Any]:
    """The plan with each ``{ name = "sgd", momentum = 0.9 }`` as one text, to be compared with a plain name."""
    return {
        section: {key: _plugin_text(value) if _is_plugin(value) else value for key, value in keys.items()}
        for section, keys in plan.items()
    }


def _is_plugin(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("name"), str)


def _plugin_text(plugin: Mapping[str, Any]) -> str:
    return " ".join([plugin["name"], *(f"{key}={text_of(value)}" for key, value in plugin.items() if key != "name")])


def _is_derived_batch(values: Settings, summary: Mapping[str, Any]) -> bool:
    """Whether the public divisor is the sampling rate times the mean number of training rows."""
    batch, rows, clients = values.get("privacy.nominal-batch"), summary.get("examples"), summary.get("clients")
    if batch is None or not rows or not clients:
        return False
    training = rows - min(round(values["federation.held-out"] * rows), rows - 1)
    return math.isclose(batch, values["privacy.sampling-rate"] * training / clients, rel_tol=1e-6)
