"""A model released although the audit withheld it: by somebody, for a reason, signed."""

from __future__ import annotations

import json
import os
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from fedcore.errors import RunDirectoryError, TrustError
from fedcore.files import write_whole
from fedcore.mapped_bytes import mapped_file, sha256
from fedcore.trust.identity import Identity, PublicIdentity
from fedcore_server.runs.release import RELEASED, WITHHELD, withheld_words

FILE = "waiver.json"
_DOMAIN = b"fedcore waiver v1\n"


def waive(run: Path, signer: Identity, *, reason: str, by: str, until: date | None = None) -> dict[str, Any]:
    """Release a withheld model, and write down in run and report who answers for it.

    Args:
        signer: Whose key signs.
        by: Who decided, in words.
        until: Last day on which the waiver is good; kept, and shown, for whoever uses the model.

    Returns:
        The waiver as it is in ``waiver.json``.

    Raises:
        RunDirectoryError: The run is not finished, its model was not withheld or is not the one that was audited, or
            the reason says nothing.
    """
    from fedcore_server.report import write_report

    summary = _summary(run)
    if not summary["withheld"]:
        raise RunDirectoryError(f"the model of {run} is not withheld; there is nothing to waive")
    if not reason.strip() or not by.strip():
        raise RunDirectoryError("a waiver needs a reason and a name, for both are printed in the report")
    model = run / WITHHELD if (run / WITHHELD).exists() else run / RELEASED
    if not model.exists() or sha256(mapped_file(model)) != summary["model_sha256"]:
        raise RunDirectoryError(f"{model} is not the model that was audited")
    waiver = {
        "reason": reason.strip(),
        "by": by.strip(),
        "signer": signer.name,
        "key": signer.public.key.hex(),
        "until": None if until is None else until.isoformat(),
        "signed": datetime.now(UTC).isoformat(timespec="seconds"),
        "verdict": summary["audit_verdict"],
        "withheld": summary["withheld"],
        "bias_sha256": sha256(mapped_file(run / "bias.json")),
        "model_sha256": summary["model_sha256"],
        "plan_sha256": summary["plan_sha256"],
    }
    waiver["signature"] = signer.sign(_signed_bytes(waiver)).hex()
    write_whole(run / FILE, _json(waiver))
    os.replace(model, run / RELEASED)
    kept = [line for line in summary["warnings"] if line != withheld_words(summary["withheld"])]
    told = summary | {"withheld": None, "waiver": waiver, "warnings": [waiver_words(waiver), *kept]}
    write_whole(run / "summary.json", _json(told))
    write_report(run)
    return waiver


def check_waiver(run: Path, signer: PublicIdentity) -> dict[str, Any]:
    """The waiver of a run, if it was signed by `signer` and is about this audit and this model.

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
        raise TrustError("the waiver is about another audit or another model than lie beside it")
    return waiver


def is_over(waiver: dict[str, Any], today: date) -> bool:
    """Whether the last day of a waiver has passed."""
    return waiver["until"] is not None and date.fromisoformat(waiver["until"]) < today


def waiver_words(waiver: dict[str, Any]) -> str:
    """A sentence for the report."""
    until = f" until {waiver['until']}" if waiver["until"] else ""
    return (
        f"the audit says {waiver['verdict']}; the model was released all the same by a waiver of {waiver['by']}"
        f"{until}, signed by {waiver['signer']} on {waiver['signed'][:10]}: {waiver['reason']}"
    )


def _summary(run: Path) -> dict[str, Any]:
    try:
        summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
        return dict(summary) | {"withheld": summary.get("withheld")}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise RunDirectoryError(f"{run} holds no finished run: expected a summary.json in it") from error


def _signed_bytes(waiver: dict[str, Any]) -> bytes:
    content = {name: value for name, value in waiver.items() if name != "signature"}
    return _DOMAIN + json.dumps(content, sort_keys=True).encode()


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
