"""Whose choice the held-out rows are: the client's."""

import pytest
import torch
import typer

from fedcore import Examples
from fedcore.data.example_files import save_client_file
from fedcore.errors import DataError, TaskError
from fedcore_clients.agent.home import ClientHome
from fedcore_clients.commands.client import _paths
from fedcore_clients.training.owner_data import load_client
from fedcore_clients.training.train import train_locally
from tests.builders import TinyTask, build_local, build_plan, build_private_plan, build_request


def held_out(plan, secret=5):
    return load_client(TinyTask(), plan, "north", None, secret=secret).held_out.columns["inputs"]


def test_no_seed_of_a_plan_changes_which_rows_are_held_out():
    chosen = [held_out(build_plan(federation={"seed": seed})) for seed in range(5)]
    assert all(torch.equal(chosen[0], other) for other in chosen[1:])


def test_another_clients_secret_holds_out_other_rows():
    assert not torch.equal(held_out(build_plan()), held_out(build_plan(), secret=6))


def secret_size(**federation):
    return build_private_plan(privacy={"relation": "add-remove"}, federation=federation)


class Longer(TinyTask):
    """One record more, before the others."""

    def load_data(self, path):
        rows = super().load_data(path)
        columns = {name: torch.cat([column[:1] + 1, column]) for name, column in rows.columns.items()}
        return Examples(columns=columns)


def split(task, plan):
    client = load_client(task, plan, "north", None, secret=5)
    return set(client.training.rows_as_bytes()), set(client.held_out.rows_as_bytes())


def test_where_the_size_is_secret_one_record_more_moves_no_other():
    plan = secret_size()
    training, held_out = split(TinyTask(), plan)
    longer, longer_held_out = split(Longer(), plan)
    assert training <= longer
    assert held_out <= longer_held_out
    assert len(longer) + len(longer_held_out) == len(training) + len(held_out) + 1


@pytest.mark.parametrize("relation", ["zero-out", "replace-one"])
def test_where_the_size_is_public_the_share_is_kept_exactly(relation):
    plan = build_private_plan(privacy={"relation": relation}, federation={"held_out": 0.25})
    assert len(held_out(plan)) == 30


def test_where_the_size_is_secret_seeds_move_nothing_and_another_secret_does():
    chosen = [held_out(secret_size(seed=seed)) for seed in range(3)]
    assert all(torch.equal(chosen[0], other) for other in chosen[1:])
    other = held_out(secret_size(), secret=6)
    assert other.shape != chosen[0].shape or not torch.equal(other, chosen[0])


def test_the_secret_is_drawn_once_and_kept_from_others(tmp_path):
    home = ClientHome(tmp_path)
    first = home.secret()
    assert ClientHome(tmp_path).secret() == first
    assert home.secret_file.stat().st_mode & 0o077 == 0


def test_one_data_set_cannot_have_two_names_and_so_two_budgets(tmp_path):
    rows = tmp_path / "rows.csv"
    rows.touch()
    with pytest.raises(typer.BadParameter, match="twice"):
        _paths([f"a={rows}", f"b={tmp_path}/../{tmp_path.name}/rows.csv"])
    with pytest.raises(typer.BadParameter, match="twice"):
        _paths([f"a={rows}", f"a={tmp_path}"])


def test_a_client_all_of_whose_rows_are_held_out_trains_on_none_where_their_number_is_a_secret():
    plan = build_private_plan(privacy={"relation": "add-remove"}, federation={"held_out": 0.999999})
    client = load_client(TinyTask(rows=3), plan, "a", None, secret=1)
    assert len(client.training) == 0
    local = build_local(plan)
    update = train_locally(
        local, client.to(dtype=local.dtype, device=local.device), build_request(local.parameters.clone())
    )
    assert float(update.values["update"].norm()) > 0.0


class Unseen(TinyTask):
    """One row has a label that the task does not name."""

    def load_data(self, path):
        rows = super().load_data(path)
        rows.columns["targets"][3] = 9
        return rows


def test_an_unseen_label_is_the_datas_fault_and_is_not_told_of_protected_records():
    with pytest.raises(DataError, match="one for each label; found others in 1 of "):
        load_client(Unseen(), build_plan(), "north", None, secret=5)
    for unit in ("record", "client"):
        load_client(Unseen(), build_private_plan(privacy={"unit": unit}), "north", None, secret=5)


def test_targets_of_a_type_that_the_task_cannot_take_are_refused_in_a_clients_file_too(tmp_path):
    rows = TinyTask().load_data(None)
    ints = Examples(columns={**rows.columns, "targets": rows.columns["targets"].int()}, attributes=rows.attributes)
    save_client_file(tmp_path / "north.rows.safetensors", ints, None)
    with pytest.raises(TaskError, match="must be int64, and are int32"):
        load_client(TinyTask(), build_private_plan(), "north", tmp_path / "north.rows.safetensors", secret=5)
