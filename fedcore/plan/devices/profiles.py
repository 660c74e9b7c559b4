"""Device profiles: files with a table for each kind of device, some of which ship with fedcore."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from fedcore.errors import PlanError
from fedcore.plan.devices.section import DeviceKind, DevicesSection
from fedcore.text.toml_problems import explain, nearest

if TYPE_CHECKING:
    from fedcore.plan import RunPlan


def included() -> dict[str, Path]:
    """The profiles that ship with fedcore, by name."""
    return {path.stem: path for path in sorted(Path(__file__).parent.glob("*.toml"))}


def with_profiles(plan: RunPlan) -> RunPlan:
    """The plan with the kinds of devices that its profiles hold.

    Raises:
        PlanError: They cannot be read, or are not those that the plan has already; lists every problem.
    """
    profiles, kinds = plan.devices.profiles, plan.devices.kinds
    if profiles is None:
        return plan
    path = included().get(profiles) or Path(profiles).absolute()
    if kinds and str(path) == profiles and not path.exists():  # a finished run's plan, elsewhere or later
        return plan
    found = read_profiles(path)
    if kinds and kinds != found:
        raise PlanError(
            f"devices.profiles: {path} holds other kinds of devices than devices.kinds; it was changed, or another was "
            "named. Remove devices.kinds to use the file, or devices.profiles to use the kinds"
        )
    named = profiles if profiles in included() else str(path)
    return plan.updated(devices={"profiles": named, "kinds": _plain(found)})


def read_profiles(path: Path) -> dict[str, DeviceKind]:
    """The kinds of devices in a file.

    Raises:
        PlanError: Lists every problem.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        near = nearest(path.stem, included())
        meant = f"did you mean {near!r}?" if near else f"included are {', '.join(included())}."
        raise PlanError(f"devices.profiles: no file at {path}; {meant} Or give a .toml file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PlanError(f"devices.profiles: {path} cannot be read as TOML: {error}") from error
    try:
        kinds = DevicesSection.model_validate({"kinds": content}).kinds
    except ValidationError as error:
        problems = (explain("devices", DevicesSection, each) for each in error.errors())
        raise PlanError([f"{problem} (in {path})" for problem in problems]) from error
    if not kinds:
        raise PlanError(
            f"devices.profiles: {path} is empty; expected a table for each kind of device, such as [tablet]"
        )
    return kinds


def _plain(kinds: dict[str, DeviceKind]) -> dict[str, Any]:
    return {name: kind.model_dump(mode="json", by_alias=True) for name, kind in kinds.items()}
