"""Report texts on a model that was withheld, or released by a waiver."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def withheld_words(reason: str) -> str:
    return f"the model is withheld: {reason}"


def waiver_words(waiver: Mapping[str, Any]) -> str:
    until = f" until {waiver['until']}" if waiver["until"] else ""
    again = f", in place of one signed on {waiver['replaces']['signed'][:10]}" if waiver.get("replaces") else ""
    return (
        f"the audit's verdict is {waiver['verdict']}; the model was released by a waiver of {waiver['by']}"
        f"{until}, signed by {waiver['signer']} on {waiver['signed'][:10]}{again}: {waiver['reason']}"
    )
