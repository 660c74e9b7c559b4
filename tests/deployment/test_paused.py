"""A deployed run without its clients pauses, and what nobody has read is not charged."""

import json

import pytest

from fedcore.plan import RunPlan
from fedcore_clients.agent.home import ClientHome
from fedcore_clients.ledger.account import Ledger
from fedcore_server.runs.store import RunStore
from tests.deployment.federation import CLIENTS, DIGITS, PRIVATE, deployed, fedcore, open_policy, split_rows

pytestmark = pytest.mark.xdist_group("servers")

FEDERATION = {"rounds": 3, "quorum": 3, "patience-seconds": 3.0, "round-attempts": 2}


def charges(federation, client):
    ledger = Ledger(ClientHome(federation.root / client).ledger, lambda: None)
    return len(ledger.uses()) if ledger.file.exists() else 0


@pytest.mark.slow
def test_a_run_pauses_without_clients_and_where_all_refuse_and_its_statement_and_the_ledgers_then_agree(tmp_path):
    with deployed(tmp_path, CLIENTS, open_policy(approval={"required": True})) as federation:
        split_rows(tmp_path)
        federation.start_server()
        layer = {"privacy": PRIVATE, "task": {"data": "private"}, "federation": {**DIGITS["federation"], **FEDERATION}}
        plan = federation.plan(DIGITS, layer)
        done = federation.run(plan)  # no client was started
        assert done.returncode == 75
        assert "round 1 had 0 valid updates in attempt 2 of 2, and the quorum is 3" in done.stderr
        name = done.stderr.split("fedcore resume ")[1].split()[0]
        assert [(line["committed"], line["asked"]) for line in federation.rounds(name)] == [(False, [])] * 2

        federation.heal()
        resume = ("resume", name, "--home", federation.home)
        refused = fedcore(*resume, cwd=federation.root, check=False)
        assert refused.returncode == 75
        assert "REFUSED APPROVAL: client-0, client-1, client-2" in refused.stderr
        assert [charges(federation, client) for client in CLIENTS] == [0, 0, 0]

        waits = RunPlan.from_toml(federation.home / "runs" / name / "plan.toml").sha256[:12]
        for client in CLIENTS:
            fedcore("client", "approve", waits, "--home", client, cwd=federation.root)
        assert fedcore(*resume, cwd=federation.root).returncode == 0
        assert str(RunStore(federation.home / "runs").status(name).state) == "finished"

        told = json.loads((federation.home / "runs" / name / "privacy.json").read_text())
        assert [charges(federation, client) for client in CLIENTS] == [3, 3, 3]
        assert (told["rounds"], told["participations"]) == (3, 3)
        assert "ledger_charges" not in told["composition_scope"]
        status = json.loads(fedcore("client", "status", "--home", "client-0", "--json", cwd=federation.root).stdout)
        assert status["budgets"]["private"]["charges"] == 3
