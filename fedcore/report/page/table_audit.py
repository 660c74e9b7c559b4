"""The page about the audit of a table: ``audit.html``; and one picture of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import escape

from fedcore.audit.table.bias_json import like_a_run, result_json
from fedcore.audit.table.result import TableResult
from fedcore.report.page.findings import findings
from fedcore.report.page.groups import group_parts, headline, interval_figure, shown_rates
from fedcore.report.page.headline import VERDICTS, Card, groups_card
from fedcore.report.page.page import template
from fedcore.report.page.run_record import Bias, RunRecord, clean
from fedcore.report.pictures.figures import Figure

_PICTURE_HEIGHT, _PAGE_HEIGHT = 60, 700


def render_audit(result: TableResult[Any], *, notes: Sequence[str] | None = None) -> str:
    """Return the page: one HTML document without external references.

    Args:
        notes: Notes for the reader, in sentences; by default those of the result.
    """
    content = clean(result_json(result))
    record = _record(result, content)
    return template("audit.html.j2").render(
        title=content["table"]["name"],
        facts=_facts(result, content),
        cards=_cards(record, content),
        parts=group_parts(record),
        findings=findings(record.bias),
        population=record.bias.population,
        notes=content["notes"] if notes is None else clean([*notes]),
        min_cell=record.bias.min_cell,
        confidence=f"{100 * record.bias.confidence:g}\u202f%",
        origin=[("versions", f"fedcore {content['fedcore_version']}")],
    )


def metric_figure(result: TableResult[Any], attribute: str, metric: str) -> Figure:
    record = _record(result, clean(result_json(result)))
    return interval_figure(attribute, metric, shown_rates(record, attribute)[metric], record)


def picture_frame(figure: Figure) -> str:
    height = _PICTURE_HEIGHT * (3 + len(figure.table.rows))
    return framed(template("picture.html.j2").render(figure=figure), height=height, width="460px")


def page_frame(result: TableResult[Any], *, notes: Sequence[str]) -> str:
    return framed(render_audit(result, notes=notes), height=_PAGE_HEIGHT, width="100%")


def framed(page: str, *, height: int, width: str) -> str:
    """Return a page in its own frame, so that its style changes nothing around it; scripts do not run."""
    return f'<iframe sandbox srcdoc="{escape(page)}" style="width:{width};height:{height}px;border:0"></iframe>'


def _record(result: TableResult[Any], content: dict[str, Any]) -> RunRecord:
    sites = content.get("sites") if result.settings.min_cell > 1 else {}  # otherwise they are named, and not for a page
    return RunRecord(
        summary={"audit_verdict": content["verdict"]}, bias=Bias.of(like_a_run({**content, "sites": sites}))
    )


def _facts(result: TableResult[Any], content: dict[str, Any]) -> str:
    table = content["table"]
    lines = "" if table["rows"] == table["lines"] else f" in {table['lines']:,} lines"
    return f"{table['rows']:,} rows{lines} · {clean(result.kind.columns(result)).replace(', ', ' · ')}"


def _cards(record: RunRecord, content: dict[str, Any]) -> list[Card]:
    verdict = content["verdict"]
    sign, style, detail = VERDICTS.get(verdict, ("", "", "No limits were given to hold it to."))
    found = [Card(label="Bias audit", value=verdict or "not judged", detail=detail, verdict=style, sign=sign)]
    if any(headline(shown_rates(record, attribute)) for attribute in record.bias.groups):
        found.append(groups_card(record))
    return found
