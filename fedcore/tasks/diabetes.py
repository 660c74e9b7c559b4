"""``diabetes``: will the disease progress more than usual within a year, and how far? Audited by sex and age."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedcore.data.examples import Attribute, Examples
from fedcore.layers import Times
from fedcore.task_families import Classification, Regression
from fedcore.tasks.bundled import refuse_path, sklearn_table

RANGES = {
    "age": (18.0, 80.0),  # years
    "sex": (1.0, 2.0),
    "bmi": (16.0, 44.0),  # kg/m²
    "bp": (60.0, 135.0),  # mean arterial pressure, mmHg
    "s1": (90.0, 310.0),  # total cholesterol, mg/dl
    "s2": (40.0, 250.0),  # low-density lipoproteins, mg/dl
    "s3": (20.0, 100.0),  # high-density lipoproteins, mg/dl
    "s4": (1.5, 9.5),  # total cholesterol over high-density lipoproteins
    "s5": (3.0, 6.5),  # logarithm of triglycerides in mg/dl
    "s6": (55.0, 130.0),  # blood sugar, mg/dl
}
"""Plausible ranges of the measurements, declared from general knowledge and not from these patients."""

SEXES = ("sex 1", "sex 2")
AGES = ("below 40", "40 to 54", "55 and above")
_AGE_EDGES = (40.0, 55.0)
_MEDIAN = 140.5


class Diabetes(Classification):
    """442 real patients (Efron, Hastie, Johnstone and Tibshirani 2004, "Least angle regression"), in scikit-learn.

    The label is whether the disease progressed more than in the median patient, a constant of the published
    data. The source codes sex as 1 and 2 and does not say which is which; neither does the audit.
    """

    name = "diabetes"
    labels = ("at most median", "above median")
    preprocessing = "not covered: the label is the median of these very patients; ranges and bands are constants"

    def build_model(self) -> nn.Module:
        """A logistic regression: with so few patients, more parameters only add noise."""
        return nn.Linear(len(RANGES), len(self.labels))

    def load_data(self, path: Path | None) -> Examples:
        """All patients, from the installation; a `path` is refused, since it would not be read."""
        refuse_path(self.name, path)
        return _patients(lambda progression: torch.tensor(progression > _MEDIAN, dtype=torch.int64))


class DiabetesProgression(Regression):
    """The same patients, and how far the disease progressed within a year, in the units of the published measure."""

    name = "diabetes-progression"
    target_range = (0.0, 400.0)
    preprocessing = "not covered: ranges and bands are constants, declared from general knowledge"

    def build_model(self) -> nn.Module:
        """A linear regression in units of a hundred, to match the size of inputs."""
        return nn.Sequential(nn.Linear(len(RANGES), 1), Times(100.0))

    def load_data(self, path: Path | None) -> Examples:
        refuse_path(self.name, path)
        return _patients(lambda progression: torch.tensor(progression, dtype=torch.float32))


def _patients(targets: Callable[[NDArray[np.float64]], torch.Tensor]) -> Examples:
    patients, progression = sklearn_table("diabetes_data_raw.csv.gz"), sklearn_table("diabetes_target.csv.gz")
    columns = dict(zip(RANGES, patients.T, strict=True))
    return Examples(
        columns={
            "inputs": torch.tensor(_scaled(columns), dtype=torch.float32),
            "targets": targets(progression),
        },
        attributes={
            "sex": Attribute.from_values(
                (SEXES[int(code) - 1] for code in columns["sex"]), vocabulary=SEXES, name="sex"
            ),
            "age": Attribute.from_values(
                (AGES[band] for band in np.digitize(columns["age"], _AGE_EDGES)), vocabulary=AGES, name="age"
            ),
        },
    )


def _scaled(columns: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Map every range to [-1, 1], and values outside to its ends; shape ``(patients, measurements)``."""
    return np.column_stack(
        [
            np.clip(2.0 * (values - low) / (high - low) - 1.0, -1.0, 1.0)
            for values, (low, high) in zip(columns.values(), RANGES.values(), strict=True)
        ]
    )
