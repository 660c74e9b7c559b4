"""Hosts whose code differs are not averaged: a plan names its code, and whoever runs it compares."""

import hashlib
import subprocess
import sys

import pytest

import fedcore
from fedcore import task_code
from fedcore.errors import PlanError, TaskError
from fedcore.plan import RunPlan
from fedcore.task_code import code_here, differing_code, with_code


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    task_code._sha256.cache_clear()
    yield tmp_path
    task_code._sha256.cache_clear()


def plan_of(name, **federation):
    return RunPlan.from_mapping({"task": {"name": name}, "federation": federation})


def test_of_a_file_the_hash_is_that_of_sha256sum_and_nothing_in_it_is_run(here):
    source = b"raise SystemExit('it was run')\n"
    (here / "lone_task.py").write_bytes(source)
    assert code_here(plan_of("lone_task:Task"))["lone_task"] == hashlib.sha256(source).hexdigest()


def test_of_a_package_the_hash_is_that_of_all_its_files_as_the_shell_computes_it(here):
    package = here / "ward_tasks"
    for name, text in {
        "__init__.py": "",
        "b.py": "b = 1\n",
        "a/x.py": "x = 2\n",
        "a b.py": "",
        "a/rows.csv": "1,2\n",
    }.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    command = "find . -name '*.py' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
    told = subprocess.run(["bash", "-c", command], cwd=package, capture_output=True, text=True, check=True).stdout
    assert code_here(plan_of("ward_tasks.b:Task"))["ward_tasks"] == told.split()[0]


def test_algorithms_and_encodings_are_code_too_and_fedcore_goes_by_its_minor_version(here):
    (here / "my_task.py").write_text("")
    (here / "my_algorithm.py").write_text("")
    plan = plan_of("my_task:Task").updated(
        algorithm={"name": "my_algorithm:Mine"}, aggregation={"encode": ["top-k:0.1", "fedcore_clients.no_such:Thing"]}
    )
    assert list(code_here(plan)) == ["fedcore", "my_algorithm", "my_task"]
    assert code_here(plan_of("digits")) == {"fedcore": fedcore.__version__.rpartition(".")[0]}


def test_a_plan_is_refused_where_the_file_is_another(here):
    (here / "my_task.py").write_text("rate = 1\n")
    plan = with_code(plan_of("my_task:Task"))
    assert differing_code(plan) == ""
    assert with_code(plan) == plan
    task_code._sha256.cache_clear()  # as in another process, on another host
    (here / "my_task.py").write_text("rate = 2\n")
    assert "the plan is for my_task " in differing_code(plan)
    with pytest.raises(PlanError, match=r"task\.code: the plan is for my_task"):
        with_code(plan)


def test_what_a_process_has_imported_counts_and_not_what_its_file_became(here):
    (here / "my_task.py").write_text("rate = 1\n")
    plan = with_code(plan_of("my_task:Task"))
    (here / "my_task.py").write_text("rate = 2\n")
    assert differing_code(plan) == ""


def test_another_version_of_fedcore_is_named(here, monkeypatch):
    plan = with_code(plan_of("digits"))
    monkeypatch.setattr(fedcore, "__version__", "0.9.3")
    assert "the plan is for fedcore 0.1, and here is 0.9" in differing_code(plan)


def test_a_module_that_is_not_here_is_named_with_what_to_do(here):
    with pytest.raises(TaskError, match="module 'nowhere_task' is not here: put its file into the working directory"):
        code_here(plan_of("nowhere_task:Task"))


def test_a_plan_that_names_no_code_has_the_hash_that_it_had_and_one_that_does_another(here):
    assert "code" not in plan_of("digits").to_mapping()["task"]
    assert plan_of("digits").sha256 != with_code(plan_of("digits")).sha256
