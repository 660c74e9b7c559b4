"""A model released although the audit withheld it: signed, with a reason."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from fedcore.errors import RunDirectoryError, TrustError
from fedcore.report.release_words import waiver_words, withheld_words
from fedcore.storage.files import write_whole
from fedcore.storage.mapped_bytes import mapped_file, sha256
from fedcore.trust.identity import Identity, PublicIdentity
from fedcore_server.runs.release import RELEASED, WITHHELD

FILE = "waiver.json"
_DOMAIN = b"fedcore waiver v1\n"


def waive(
    run: Path, signer: Identity, *, reason: str, by: str, until: date | None = None, now: datetime | None = None
) -> dict[str, Any]:
    """Release a withheld model, and record in run, report and card who is responsible.

    A waiver that has expired, or is about another audit, may be replaced by a new one, which keeps the previous one.

    Args:
        signer: Whose key signs.
        by: Who decided, in words.
        until: Last day on which the waiver is valid; stored, and shown to users of the model.
        now: When it is signed, with its time zone, in which the last day ends; the present by default.

    Returns:
        The waiver as it is in ``waiver.json``.

    Raises:
        RunDirectoryError: The run is not finished, its model was not withheld or is not the one that was audited, a
            valid waiver exists, the last day has passed, or the reason is empty. Nothing is changed then.
    """
    now = now or datetime.now().astimezone()
    summary = _content(run, "summary.json")
    withheld, replaced = _withheld(run, summary, now.date()), summary.get("waiver")
    _check_words(reason, by, until, now.date())
    model = _audited_model(run, summary)
    waiver = {
        "reason": reason.strip(),
        "by": by.strip(),
        "signer": signer.name,
        "key": signer.public.key.hex(),
        "until": None if until is None else until.isoformat(),
        "signed": now.astimezone(UTC).isoformat(timespec="seconds"),
        "verdict": summary["audit_verdict"],
        "withheld": withheld,
        "bias_sha256": sha256(mapped_file(run / "bias.json")),
        "model_sha256": summary["model_sha256"],
        "plan_sha256": summary["plan_sha256"],
        "replaces": replaced,
    }
    waiver["signature"] = signer.sign(_signed_bytes(waiver)).hex()
    write_whole(run / FILE, _json(waiver))
    os.replace(model, run / RELEASED)
    outdated = [withheld_words(withheld), *([waiver_words(replaced)] if replaced else [])]
    kept = [line for line in summary["warnings"] if line not in outdated]
    waived = summary | {"withheld": None, "waiver": waiver, "warnings": [waiver_words(waiver), *kept]}
    write_whole(run / "summary.json", _json(waived))
    _write_documents(run, waived, now.date())
    return waiver


def check_waiver(run: Path, signer: PublicIdentity) -> dict[str, Any]:
    """The waiver of a run, if `signer` signed it and it is about this audit and this model.

    Raises:
        TrustError: It was not, or there is none.
    """
    try:
        waiver = dict(json.loads((run / FILE).read_text(encoding="utf-8")))
        signature = bytes.fromhex(waiver.pop("signature"))
        signed_for = waiver["bias_sha256"], waiver["model_sha256"]
        found = sha256(mapped_file(run / "bias.json")), sha256(mapped_file(run / RELEASED))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrustError(f"{run} holds no waiver that can be read: {error}") from error
    signer.verify(signature, _signed_bytes(waiver))
    if found != signed_for:
        raise TrustError("the waiver is about another audit or another model than those in the directory")
    return waiver


def is_over(waiver: dict[str, Any], today: date) -> bool:
    return waiver["until"] is not None and date.fromisoformat(waiver["until"]) < today


def _withheld(run: Path, summary: Mapping[str, Any], today: date) -> str:
    waiver = summary.get("waiver")
    if summary.get("withheld"):
        return str(summary["withheld"])
    if waiver is None:
        raise RunDirectoryError(f"the model of {run} is not withheld; there is nothing to waive")
    if not is_over(waiver, today) and waiver["bias_sha256"] == sha256(mapped_file(run / "bias.json")):
        last = f"until {waiver['until']}" if waiver["until"] else "without a last day"
        raise RunDirectoryError(
            f"the model of {run} is released by a waiver of {waiver['by']} that holds {last}; there is nothing to "
            "waive before it expires"
        )
    return str(waiver["withheld"])


def _check_words(reason: str, by: str, until: date | None, today: date) -> None:
    if not reason.strip() or not by.strip():
        raise RunDirectoryError("a waiver needs a reason and a name, since both are printed in the report")
    if until is not None and until < today:
        raise RunDirectoryError(
            f"expected a last day that is still to come, found {until}; today is {today}, so the waiver would expire "
            "before it is signed"
        )


def _audited_model(run: Path, summary: Mapping[str, Any]) -> Path:
    model = run / WITHHELD if (run / WITHHELD).exists() else run / RELEASED
    if not model.exists() or sha256(mapped_file(model)) != summary["model_sha256"]:
        raise RunDirectoryError(f"{model} is not the model that was audited")
    return model


def _write_documents(run: Path, summary: Mapping[str, Any], day: date) -> None:
    from fedcore.report.model_card.documents import model_card
    from fedcore.report.page import write_report

    write_whole(run / "bias.md", model_card(_content(run, "bias.json"), summary, day=day))
    write_report(run)


def _content(run: Path, name: str) -> dict[str, Any]:
    try:
        return dict(json.loads((run / name).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise RunDirectoryError(f"{run} holds no finished run: expected a {name} in it") from error


def _signed_bytes(waiver: dict[str, Any]) -> bytes:
    content = {name: value for name, value in waiver.items() if name != "signature"}
    return _DOMAIN + json.dumps(content, sort_keys=True).encode()


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
