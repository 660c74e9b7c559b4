"""Figures as they are printed: never outside their own interval."""

from __future__ import annotations

import re

import numpy as np
import pytest

from fedcore.text.figures import figure_text


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        ((0.2284, 0.2261, 0.2311), "0.228 (0.226-0.231)"),
        ((0.00228, 0.0021, 0.00249), "0.00228 (0.00210-0.00249)"),
        ((1.1239, 0.93, 1.34), "1.124 (0.930-1.340)"),
        ((0.0, 0.0, 0.0), "0.000 (0.000-0.000)"),
        ((-0.0001, -0.2, 0.3), "0.000 (-0.200-0.300)"),
        ((3e-9, 2e-9, 4e-9), "3.00e-09 (2.00e-09-4.00e-09)"),
    ],
)
def test_a_figure_has_three_digits_and_its_interval_the_same_decimals(
    figures: tuple[float, float, float], told: str
) -> None:
    assert figure_text(*figures, least=3) == told


def test_large_figures_have_no_decimals() -> None:
    assert figure_text(12345.6, 9999.7, 15000, significant=4, to=" to ") == "12,346 (10,000 to 15,000)"
    assert figure_text(52.034, 48.9, 55.2, significant=4, to=" to ") == "52.03 (48.90 to 55.20)"


def test_no_figure_is_printed_outside_its_interval() -> None:
    drawn = np.random.default_rng(1)
    for scale in 10.0 ** drawn.uniform(-8, 17, 500):
        low, value, high = np.sort(drawn.normal(size=3)) * scale
        shown = [
            float(part)
            for part in re.split(r" \(| to |\)", figure_text(value, low, high, to=" to ").replace(",", ""))[:3]
        ]
        assert shown[1] <= shown[0] <= shown[2]
