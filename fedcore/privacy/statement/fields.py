"""The fields of a privacy statement, and the refusal of one that leaves something out.

After NIST SP 800-226 (2025), Ponomareva et al. 2023 (arXiv 2303.00654, section 5.3) and the OpenDP deployment
registry (arXiv 2509.13509).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any

from fedcore.errors import PrivacyError

STATEMENT_VERSION = 2

_TEXT, _WHOLE, _NUMBER, _GROUP, _LIST = (str,), (int,), (int, float), (dict,), (list,)
_WORDED = ("protected_outputs", "protected_from", "unprotected_outputs", "known_deviations")


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementField:
    """One field.

    Attributes:
        kinds: What its value may be in JSON.
        required: Without it no model is released.
        may_be_empty: Whether none is an answer, as with deviations.
        keys: What a group must hold, for `statement_words` says it.
        among: What a text, or a group's name, may be; anything where it is empty.
    """

    kinds: tuple[type, ...]
    required: bool = True
    may_be_empty: bool = False
    keys: Mapping[str, tuple[type, ...]] = field(default_factory=dict)
    among: tuple[str, ...] = ()


def _optional(kinds: tuple[type, ...]) -> StatementField:
    return StatementField(kinds=kinds, required=False, may_be_empty=True)


def _required(kinds: tuple[type, ...]) -> StatementField:
    return StatementField(kinds=kinds)


def _group(*among: str, required: bool = True, **keys: tuple[type, ...]) -> StatementField:
    return StatementField(kinds=_GROUP, required=required, may_be_empty=not required, keys=keys, among=among)


FIELDS: Mapping[str, StatementField] = {
    "statement_version": _required(_WHOLE),
    "model_sha256": _required(_TEXT),
    "generated_by": _required(_GROUP),
    "run": _optional(_GROUP),
    "valid": _required((bool,)),
    "unit": _group("record", "client", name=_TEXT, definition=_TEXT),
    "max_contribution": _group(words=_TEXT),
    "person": _group(required=False, max_records=(int, NoneType), epsilon=(int, float, NoneType)),
    "neighbouring_relation": _group(name=_TEXT, definition=_TEXT),
    "public_quantities": _optional(_LIST),
    "protected_outputs": _required(_LIST),
    "protected_from": _required(_LIST),
    "unprotected_outputs": _required(_LIST),
    "trust_model": _required(_GROUP),
    "noise_location": _required(_TEXT),
    "mechanism": _required(_TEXT),
    "clip_norm": _required(_NUMBER),
    "sensitivity": _required(_NUMBER),
    "noise_multiplier": _required(_NUMBER),
    "noise_std_released": _required(_NUMBER),
    "nominal_batch": _required(_NUMBER),
    "sampling": _required(_GROUP),
    "isolation": _group("proven", "isolated", "probed", required=False, name=_TEXT, definition=_TEXT),
    "steps": _required(_WHOLE),
    "rounds": _required(_WHOLE),
    "participations": _required(_WHOLE),
    "epsilon": _required(_NUMBER),
    "delta": _required(_NUMBER),
    "delta_against_size": _required(_TEXT),
    "profile": _optional(_GROUP),
    "mu_gdp": _optional(_NUMBER),
    "zcdp_rho": _optional(_NUMBER),
    "attack_bounds": _group(tpr_at_fpr_1_percent=_NUMBER, tpr_at_fpr_0_1_percent=_NUMBER),
    "strength_tier": StatementField(kinds=_TEXT, among=("strong", "reasonable", "weak", "none")),
    "accountant": _required(_GROUP),
    "composition_scope": _group(covers=_TEXT),
    "hyperparameter_tuning": _group(words=_TEXT),
    "preprocessing": _required(_TEXT),
    "public_data": _optional(_TEXT),
    "rng": _required(_GROUP),
    "numerics": _optional(_TEXT),
    "verification": _optional(_GROUP),
    "evaluation": _required(_GROUP),
    "known_deviations": StatementField(kinds=_LIST, may_be_empty=True),
    "contact": _optional(_TEXT),
    "plain_language": _required(_TEXT),
}


def check_statement(statement: Mapping[str, Any]) -> None:
    """Refuse a statement that leaves out, or leaves empty, what a release needs, or states what cannot be.

    Raises:
        PrivacyError: Names every field at fault.
    """
    if problems := list(_problems(statement)):
        raise PrivacyError("this privacy statement cannot be released with a model:\n" + "\n".join(problems))


def read_statement(path: Path) -> dict[str, Any]:
    """Read a ``privacy.json``.

    Raises:
        PrivacyError: The file cannot be read, or holds no whole statement.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PrivacyError(f"{path} cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise PrivacyError(f"{path} is not JSON: {error}; expected the privacy.json of a run") from error
    if found == {}:
        raise PrivacyError(f"{path} is empty: the run promised no privacy, so there is nothing to explain")
    if not isinstance(found, dict) or "statement_version" not in found:
        raise PrivacyError(f"{path} is no privacy statement; expected the privacy.json of a run")
    version = found["statement_version"]
    if version != STATEMENT_VERSION:
        raise PrivacyError(f"{path} has version {version!r} of the statement; expected {STATEMENT_VERSION}")
    if problems := list(_problems(found)):
        raise PrivacyError(
            f"{path} is no whole privacy statement, so it is not to be relied on:\n" + "\n".join(problems)
        )
    return found


def _problems(statement: Mapping[str, Any]) -> Iterator[str]:
    void = statement.get("valid") is False
    for name, known in FIELDS.items():
        value = statement.get(name)
        if name == "epsilon" and value is None and void and name in statement:
            continue  # infinite, and said so
        if value is None or (value in ("", [], {}) and not known.may_be_empty):
            if known.required:
                yield f"  {name}: missing" if value is None else f"  {name}: empty"
        elif not _is_of(value, known.kinds):
            yield f"  {name}: expected {_named(known.kinds)}, found {value!r}"
        else:
            yield from _inner_problems(name, known, value)
    for name in sorted(set(statement) - set(FIELDS)):
        yield f"  {name}: unknown"


def _inner_problems(name: str, known: StatementField, value: Any) -> Iterator[str]:
    for key, kinds in known.keys.items() if value else ():
        if value.get(key, "") == "":
            yield f"  {name}.{key}: missing"
        elif not _is_of(value[key], kinds):
            yield f"  {name}.{key}: expected {_named(kinds)}, found {value[key]!r}"
    told = value.get("name") if isinstance(value, dict) else value
    if known.among and told not in known.among:
        yield f"  {name}: expected one of {', '.join(known.among)}, found {told!r}"
    if name in _WORDED and not all(isinstance(line, str) for line in value):
        yield f"  {name}: expected texts, found {value!r}"
    if name == "epsilon" and value < 0:
        yield f"  epsilon: expected 0 or more, found {value!r}"
    if name == "delta" and not 0 < value < 1:
        yield f"  delta: expected more than 0 and less than 1, found {value!r}"


def _named(kinds: tuple[type, ...]) -> str:
    return " or ".join("null" if kind is NoneType else kind.__name__ for kind in kinds)


def _is_of(value: Any, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, kinds) and not (isinstance(value, float) and not math.isfinite(value))
