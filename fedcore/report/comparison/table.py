"""The comparison as rows, as text and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from fedcore.audit.table.text.columns import aligned
from fedcore.privacy.accounting import rounded_up
from fedcore.report.comparison.configurations import Configuration, Mean
from fedcore.report.comparison.figures import EPSILON, RECEIVED, SECONDS, SENT, SIMULATED, WORST, quantity_of
from fedcore.report.comparison.settings import short_names, text_of
from fedcore.report.page.wording import Quantity, seconds_text, significant
from fedcore.text.wording import bytes_text

_NAMES = {
    EPSILON: "ε",
    WORST: "worst group",
    SIMULATED: "simulated time",
    SENT: "sent",
    RECEIVED: "received",
    "energy_kwh": "kWh",
}


def rows_of(configurations: Sequence[Configuration]) -> list[dict[str, Any]]:
    """A mapping for each configuration: settings by ``section.key``, number of runs, figures with intervals."""
    verdicts = ("PASS", "FAIL", "INCONCLUSIVE") if _audit(configurations) else ()
    return [
        _row(configuration, figure_names(configurations))
        | {f"audit_{each.lower()}": configuration.verdicts.get(each, 0) for each in verdicts}
        for configuration in configurations
    ]


def figure_names(configurations: Sequence[Configuration]) -> list[str]:
    return list(dict.fromkeys(name for configuration in configurations for name in configuration.figures))


def csv_text(configurations: Sequence[Configuration]) -> str:
    rows, written = rows_of(configurations), io.StringIO()
    if rows:
        writer = csv.DictWriter(written, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: text_of(value) if _is_list(value) else value for name, value in row.items()}
                         for row in rows)  # fmt: skip
    return written.getvalue()


def text_lines(configurations: Sequence[Configuration]) -> list[str]:
    """The table in columns of equal width."""
    return aligned([heading(configurations), *cells(configurations)])


def heading(configurations: Sequence[Configuration]) -> list[str]:
    return [
        *_settings(configurations),
        "runs",
        *(_title(name) for name in figure_names(configurations)),
        *_audit(configurations),
    ]


def cells(configurations: Sequence[Configuration]) -> list[list[str]]:
    """The text of each configuration, in the columns of `heading`."""
    names, audited = figure_names(configurations), bool(_audit(configurations))
    return [
        [
            *(text_of(value) for value in configuration.settings.values()),
            str(len(configuration.runs)),
            *(_figure(configuration, name) for name in names),
            *([_verdicts(configuration)] if audited else []),
        ]
        for configuration in configurations
    ]


def _figure(configuration: Configuration, name: str) -> str:
    mean = configuration.figures.get(name)
    return "-" if mean is None else figure_text(name, mean, quantity_of(name, configuration.runs[0]))


def _verdicts(configuration: Configuration) -> str:
    return ", ".join(f"{n} {verdict}" for verdict, n in sorted(configuration.verdicts.items())) or "-"


def figure_text(name: str, mean: Mean, quantity: Quantity) -> str:
    """A figure, and half the width of its interval; ε, bytes and seconds have none."""
    if name == EPSILON:
        return f"{rounded_up(mean.value):.2f}"
    if name in (SENT, RECEIVED):
        return bytes_text(mean.value)
    if name in (SECONDS, SIMULATED):
        return seconds_text(mean.value)
    if mean.half is None:
        return quantity.text(mean.value)
    if quantity.share:
        return f"{100 * mean.value:.1f} ± {100 * mean.half:.1f} %"
    return f"{quantity.text(mean.value)} ± {significant(mean.half, 2)}"


def _row(configuration: Configuration, names: Sequence[str]) -> dict[str, Any]:
    row: dict[str, Any] = {**configuration.settings, "runs": len(configuration.runs)}
    for name in names:
        mean = configuration.figures.get(name)
        row[name] = None if mean is None else mean.value
        if name != EPSILON:
            row |= {f"{name}_low": mean and mean.low, f"{name}_high": mean and mean.high}
    return row


def _settings(configurations: Sequence[Configuration]) -> list[str]:
    return list(short_names([*configurations[0].settings]).values()) if configurations else []


def _audit(configurations: Sequence[Configuration]) -> list[str]:
    return ["audit"] if any(configuration.verdicts for configuration in configurations) else []


def _title(name: str) -> str:
    return _NAMES.get(name, name.replace("_", " "))


def _is_list(value: Any) -> bool:
    return isinstance(value, list | dict)
