"""Whether a model is released, by the audit's verdict and the plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedcore.audit.verdict.gate import Verdict
from fedcore.audit.verdict.report import BiasReport
from fedcore.plan import RunPlan

RELEASED, WITHHELD = "model.safetensors", "withheld.safetensors"
_BLOCKING = {
    "report": (),
    "fail": (Verdict.FAIL,),
    "strict": (Verdict.FAIL, Verdict.INCONCLUSIVE),
}
_EXIT_CODES = {Verdict.FAIL: 3, Verdict.INCONCLUSIVE: 4}


def withheld_because(plan: RunPlan, bias: BiasReport | None) -> str | None:
    """Why the model is not released; ``None`` where it is."""
    verdict = bias.verdict if bias is not None else None
    if verdict not in _BLOCKING[plan.audit.gate]:
        return None
    return f'the verdict of the bias audit is {verdict}, and audit.gate = "{plan.audit.gate}"'


def exit_code(summary: Mapping[str, Any]) -> int:
    """0, or 3 for a FAIL and 4 for an INCONCLUSIVE that withheld the model."""
    return _EXIT_CODES[Verdict(summary["audit_verdict"])] if summary["withheld"] else 0
