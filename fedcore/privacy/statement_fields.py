"""The fields of a privacy statement, and the refusal of one that leaves something out.

After NIST SP 800-226 (2025), Ponomareva et al. 2023 (arXiv 2303.00654, section 5.3) and the OpenDP deployment
registry (arXiv 2509.13509).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedcore.errors import PrivacyError

STATEMENT_VERSION = 2

_TEXT, _WHOLE, _NUMBER, _GROUP, _LIST = (str,), (int,), (int, float), (dict,), (list,)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementField:
    """One field.

    Attributes:
        kinds: What its value may be in JSON.
        required: Without it no model is released.
        may_be_empty: Whether none is an answer, as with deviations.
    """

    kinds: tuple[type, ...]
    required: bool = True
    may_be_empty: bool = False


def _optional(kinds: tuple[type, ...]) -> StatementField:
    return StatementField(kinds=kinds, required=False, may_be_empty=True)


def _required(kinds: tuple[type, ...]) -> StatementField:
    return StatementField(kinds=kinds)


FIELDS: Mapping[str, StatementField] = {
    "statement_version": _required(_WHOLE),
    "model_sha256": _required(_TEXT),
    "generated_by": _required(_GROUP),
    "run": _optional(_GROUP),
    "valid": _required((bool,)),
    "unit": _required(_GROUP),
    "max_contribution": _required(_GROUP),
    "person": _optional(_GROUP),
    "neighbouring_relation": _required(_GROUP),
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
    "steps": _required(_WHOLE),
    "rounds": _required(_WHOLE),
    "participations": _required(_WHOLE),
    "epsilon": _required(_NUMBER),
    "delta": _required(_NUMBER),
    "delta_against_size": _required(_TEXT),
    "profile": _optional(_GROUP),
    "mu_gdp": _optional(_NUMBER),
    "zcdp_rho": _optional(_NUMBER),
    "attack_bounds": _optional(_GROUP),
    "strength_tier": _required(_TEXT),
    "accountant": _required(_GROUP),
    "composition_scope": _required(_GROUP),
    "hyperparameter_tuning": _required(_GROUP),
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
    """Refuse a statement that leaves out, or leaves empty, what a release needs.

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
    check_statement(found)
    return found


def _problems(statement: Mapping[str, Any]) -> Iterator[str]:
    void = statement.get("valid") is False
    for name, field in FIELDS.items():
        value = statement.get(name)
        if name == "epsilon" and value is None and void and name in statement:
            continue  # infinite, and said so
        if value is None or (value in ("", [], {}) and not field.may_be_empty):
            if field.required:
                yield f"  {name}: missing" if value is None else f"  {name}: empty"
        elif not _is_of(value, field.kinds):
            yield f"  {name}: expected {' or '.join(kind.__name__ for kind in field.kinds)}, found {value!r}"
    for name in sorted(set(statement) - set(FIELDS)):
        yield f"  {name}: unknown"


def _is_of(value: Any, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, kinds) and not (isinstance(value, float) and not math.isfinite(value))
