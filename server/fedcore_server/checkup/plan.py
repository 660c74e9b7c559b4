"""Whether a plan can be run by a server with the clients that it has."""

from __future__ import annotations

from collections.abc import Iterator

from fedcore.checkup.finding import Finding, ok, problem, warning
from fedcore.errors import FedcoreError
from fedcore.plan import RunPlan
from fedcore.text.wording import counted
from fedcore.trust.roster import Roster


def plan_findings(plan: RunPlan, roster: Roster | None) -> Iterator[Finding]:
    """What the server would refuse, and what there are too few clients for.

    Args:
        roster: ``None`` where there is no consortium.

    Raises:
        FedcoreError: The plan cannot be run by any server.
    """
    from fedcore.privacy.linter import DROWNED
    from fedcore.tasks.registry import load_task
    from fedcore_server.runs.deployable_plan import deployable, privacy_findings

    found = deployable(plan)
    rounds = counted(found.federation.rounds, "round")
    summary = f"{found.task.name}, {rounds}, privacy {found.privacy.unit} ({found.sha256[:12]})"
    for finding in privacy_findings(load_task(found), found):
        if finding.rule is DROWNED:
            yield warning("plan", f"{finding.where}: {finding.rule.why}", finding.rule.fix)
    if roster is None:
        yield ok("plan", summary)
        return
    members, federation = len(roster.members), found.federation
    if members < federation.quorum:
        yield problem(
            "plan",
            f"{summary}: quorum {federation.quorum}, and the roster has {counted(members, 'member')}",
            "admit more clients",
        )
    elif members < federation.clients:
        waits = f"it waits {federation.patience_seconds:g} s for the others"
        yield warning(
            "plan", f"{summary}: {counted(federation.clients, 'client')}, and the roster has {members}; {waits}"
        )
    else:
        yield ok("plan", summary)


def model_bytes_if_known(plan: RunPlan) -> int:
    """Size of the plan's model as it travels; 0 where the plan is wrong, which another check reports."""
    import torch

    from fedcore.tasks.registry import load_task
    from fedcore_server.rounds.rounds import init_state
    from fedcore_server.runs.deployable_plan import deployable

    try:
        plan = deployable(plan)
        with torch.random.fork_rng(devices=[]):
            buffer = init_state(load_task(plan), plan).parameters.buffer
    except FedcoreError:
        return 0
    return buffer.numel() * buffer.element_size()
