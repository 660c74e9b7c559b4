"""The comparison as rows, as text and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from fedcore.audit.table.text.columns import aligned
from fedcore.privacy.accounting import rounded_up
from fedcore.report.comparison.figures import EPSILON, RECEIVED, SECONDS, SENT, WORST, quantity_of
from fedcore.report.comparison.grouping import Group, Mean
from fedcore.report.comparison.settings import short_names, text_of
from fedcore.report.page.wording import Quantity, seconds_text, significant
from fedcore.text.wording import bytes_text

_NAMES = {EPSILON: "ε", WORST: "worst group", SENT: "sent", RECEIVED: "received", "energy_kwh": "kWh"}


def rows_of(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """One mapping for each group: settings by ``section.key``, number of runs, each figure with its interval."""
    verdicts = ("PASS", "FAIL", "INCONCLUSIVE") if _audit(groups) else ()
    return [
        _row(group, figure_names(groups)) | {f"audit_{each.lower()}": group.verdicts.get(each, 0) for each in verdicts}
        for group in groups
    ]


def figure_names(groups: Sequence[Group]) -> list[str]:
    return list(dict.fromkeys(name for group in groups for name in group.figures))


def csv_text(groups: Sequence[Group]) -> str:
    rows, written = rows_of(groups), io.StringIO()
    if rows:
        writer = csv.DictWriter(written, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: text_of(value) if _is_list(value) else value for name, value in row.items()}
                         for row in rows)  # fmt: skip
    return written.getvalue()


def text_lines(groups: Sequence[Group]) -> list[str]:
    """The table in columns of equal width."""
    return aligned([heading(groups), *cells(groups)])


def heading(groups: Sequence[Group]) -> list[str]:
    return [*_settings(groups), "runs", *(_title(name) for name in figure_names(groups)), *_audit(groups)]


def cells(groups: Sequence[Group]) -> list[list[str]]:
    """The text of each group, in the columns of `heading`."""
    names, audited = figure_names(groups), bool(_audit(groups))
    return [
        [
            *(text_of(value) for value in group.settings.values()),
            str(len(group.runs)),
            *(_figure(group, name) for name in names),
            *([_verdicts(group)] if audited else []),
        ]
        for group in groups
    ]


def _figure(group: Group, name: str) -> str:
    mean = group.figures.get(name)
    return "-" if mean is None else figure_text(name, mean, quantity_of(name, group.runs[0]))


def _verdicts(group: Group) -> str:
    return ", ".join(f"{n} {verdict}" for verdict, n in sorted(group.verdicts.items())) or "-"


def figure_text(name: str, mean: Mean, quantity: Quantity) -> str:
    """A figure, and half the width of its interval; ε, bytes and seconds have none."""
    if name == EPSILON:
        return f"{rounded_up(mean.value):.2f}"
    if name in (SENT, RECEIVED):
        return bytes_text(mean.value)
    if name == SECONDS:
        return seconds_text(mean.value)
    if mean.half is None:
        return quantity.text(mean.value)
    if quantity.share:
        return f"{100 * mean.value:.1f} ± {100 * mean.half:.1f} %"
    return f"{quantity.text(mean.value)} ± {significant(mean.half, 2)}"


def _row(group: Group, names: Sequence[str]) -> dict[str, Any]:
    row: dict[str, Any] = {**group.settings, "runs": len(group.runs)}
    for name in names:
        mean = group.figures.get(name)
        row[name] = None if mean is None else mean.value
        if name != EPSILON:
            row |= {f"{name}_low": mean and mean.low, f"{name}_high": mean and mean.high}
    return row


def _settings(groups: Sequence[Group]) -> list[str]:
    return list(short_names([*groups[0].settings]).values()) if groups else []


def _audit(groups: Sequence[Group]) -> list[str]:
    return ["audit"] if any(group.verdicts for group in groups) else []


def _title(name: str) -> str:
    return _NAMES.get(name, name.replace("_", " "))


def _is_list(value: Any) -> bool:
    return isinstance(value, list | dict)
