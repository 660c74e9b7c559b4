"""The command line, as a user meets it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import fedcore as package
import fedcore_simulations
from fedcore.cli import main
from fedcore.errors import RunDirectoryError

OWN_TASK = """
import torch
from torch import nn
from fedcore import Classification, Examples

class Own(Classification):
    name = "own"
    labels = ("a", "b")
    def build_model(self):
        return nn.Linear(3, 2)
    def load_data(self, path):
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randn(200, 3, generator=generator)
        return Examples(columns={"inputs": inputs, "targets": (inputs[:, 0] > 0).long()})

class Broken(Own):
    def load_data(self, path):
        raise OSError("the data server is away")

class NoModel(Own):
    def build_model(self):
        return None

class Scalar(Own):
    def measure(self, model, batch):
        return 3.0

class Nan(Own):
    def load_data(self, path):
        data = super().load_data(path)
        data.columns["inputs"][5, 1] = float("nan")
        return data

class OneClass(Own):
    def load_data(self, path):
        data = super().load_data(path)
        data.columns["targets"].zero_()
        return data

class Normed(Own):
    def build_model(self):
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))

nothing = 5
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory with a task of one's own."""
    (tmp_path / "own_task.py").write_text(OWN_TASK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("own_task", None)


def command(*arguments: str, capsys, monkeypatch) -> tuple[int, str, str]:
    """Run ``fedcore`` in this process; return exit code, standard output and standard error."""
    monkeypatch.setattr(sys, "argv", ["fedcore", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    told = capsys.readouterr()
    return caught.value.code or 0, told.out, told.err


@pytest.fixture
def fedcore(capsys, monkeypatch):
    return lambda *arguments: command(*arguments, capsys=capsys, monkeypatch=monkeypatch)


def process(*arguments: str, cwd: Path) -> subprocess.Popen:
    # A shell that starts the tests in the background has them ignore Ctrl-C, and children inherit that.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from fedcore.cli import main; main()"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


QUICK = ["--rounds", "2", "--clients", "3", "--workers", "1"]


def test_help_and_refusals_import_nothing_heavy():
    code = (
        "import sys; from fedcore.cli import build_app; build_app(); import fedcore_simulations.commands.options;"
        "heavy = {'torch', 'flwr', 'opacus', 'sklearn', 'pandas', 'scipy'} & set(sys.modules);"
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["simulate", "wrong.toml"],
        ["simulate", "--set", "federation.roundz=3"],
        ["run", "wrong.toml"],
        ["split", "wrong.toml", "--out", "parts"],
        ["lint", "privacy", "wrong.toml"],
        ["doctor", "--plan", "wrong.toml"],
        ["audit", "privacy", "wrong.toml"],
        ["audit", "privacy-cost", "wrong.toml"],
        ["simulate", "unknown.toml"],
        ["run", "unknown.toml"],
        ["simulate", "tabular", "--data", "table.csv", "--label", "il"],
        ["simulate", "tabular", "--data", "table.csv", "--label", "ill", "--sensitive", "sx"],
        ["simulate", "tabular", "--data", "table.csv", "--label", "ill", "--set", "task.options.hiden=3"],
        ["simulate", "digitz:Digits"],
    ],
)
def test_a_typo_in_a_plan_is_told_before_anything_that_costs_seconds_is_imported(here, arguments):
    (here / "wrong.toml").write_text("[federation]\nroundz = 3\n")
    (here / "unknown.toml").write_text('[task]\nname = "digitz"\n')
    (here / "table.csv").write_text("age,sex,ill\n31,f,no\n")
    assert "did you mean" in shown_without_heavy_imports(here, arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["simulate", "tabular", "--data", "absent.csv", "--label", "ill"], "no table at absent.csv"),
        (["simulate", "absent:Task"], "No module named 'absent'"),
        (["simulate", "digits", "--out", "taken"], "taken is not empty"),
        (["simulate", "--resume", "taken"], "taken holds no run"),
        (["simulate", "--help"], "--partition"),
        (["--help"], "simulate"),
    ],
)
def test_what_is_absent_or_taken_is_refused_as_early_as_help_is_shown(here, arguments, message):
    (here / "taken").mkdir()
    (here / "taken" / "notes.txt").touch()
    assert message in shown_without_heavy_imports(here, arguments)


def shown_without_heavy_imports(here, arguments):
    code = (
        "import sys\nfrom fedcore.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'flwr', 'opacus', 'sklearn', 'pandas', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=here, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    return done.stdout + done.stderr


def test_help_teaches(fedcore):
    code, out, _ = fedcore("simulate", "--help")
    assert code == 0
    for word in ("--epsilon", "dirichlet:0.3", "module:object", "--resume", "Examples"):
        assert word in out


def test_the_version_is_told(fedcore):
    assert fedcore("--version")[1].startswith("fedcore 0.")


def test_a_run_leaves_every_file_and_a_summary(here, fedcore):
    code, out, err = fedcore("simulate", "own_task:Own", *QUICK, "--no-privacy")
    assert code == 0, err
    run = here / "runs" / "Own-0001"
    assert {path.name for path in run.iterdir()} == {
        "plan.toml", "rounds.jsonl", "model.safetensors", "summary.json", "privacy.json", "bias.json", "bias.md",
        "report.html", "split.json", "checkpoint",
    }  # fmt: skip
    summary = json.loads((run / "summary.json").read_text())
    assert summary["clients"] == 3
    assert summary["epsilon"] is None
    assert set(load_file(run / "model.safetensors")) == {"weight", "bias"}
    assert len((run / "rounds.jsonl").read_text().splitlines()) == 2
    assert "report.html" in out
    assert "round 2/2" in err


def test_json_prints_the_summary_alone(here, fedcore):
    _, out, _ = fedcore("simulate", "own_task:Own", *QUICK, "--json", "--epsilon", "5", "--out", "one")
    summary = json.loads(out)
    assert summary == json.loads((here / "one" / "summary.json").read_text())
    needed = (
        "task engine clients rounds examples metrics epsilon delta unit audit_verdict wall_seconds "
        "client_rounds_per_second model_sha256 plan_sha256 fedcore_version"
    )
    assert set(needed.split()) <= set(summary)
    assert summary["unit"] == "record"
    assert 4.5 < summary["epsilon"] <= 5.0


def test_a_second_run_gets_a_directory_of_its_own(here, fedcore):
    for _ in range(2):
        fedcore("simulate", "own_task:Own", *QUICK, "--no-privacy")
    assert sorted(path.name for path in (here / "runs").iterdir()) == ["Own-0001", "Own-0002"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digitz"], "did you mean 'digits'"),
        (["absent.toml"], "no plan at absent.toml"),
        (["own_task:Absent"], "has no 'Absent'"),
        (["no_such_module:task"], "module 'no_such_module' cannot be imported"),
        (["own_task.py"], "did you mean 'own_task:CLASS'?"),
        (["own_task.Own"], "did you mean 'own_task:Own'?"),
        (["own_task:Own", "--set", "training.optimizer=adam"], "no optimizer 'adam'; did you mean 'Adam'?"),
        (["own_task:nothing"], "task 'own_task:nothing' lacks build_model, load_data"),
        (["own_task:Broken"], "load_data failed: OSError: the data server is away"),
        (["own_task:NoModel"], "build_model must return a torch.nn.Module; found NoneType"),
        (["own_task:Scalar"], "measure must return"),
        (["own_task:Nan"], "column 'inputs' holds numbers that are not finite in 1 of 200 rows"),
        (["own_task:OneClass"], "one class only"),
        (["own_task:Own", "--set", "task.options.alpha=3"], "unexpected keyword argument 'alpha'"),
        (["own_task:Own", "--epsilon", "0"], "privacy.epsilon: expected greater than 0, found 0.0"),
        (["own_task:Own", "--epsilon", "-2"], "privacy.epsilon: expected greater than 0, found -2.0"),
        (["own_task:Own", "--epsilon", "nan"], "privacy.epsilon"),
        (["own_task:Own", "--epsilon", "1", "--delta", "1"], "privacy.delta: expected less than 1, found 1.0"),
        (["own_task:Own", "--epsilon", "1", "--no-privacy"], "contradict"),
        (["own_task:Normed", "--epsilon", "1"], "use nn.GroupNorm or nn.LayerNorm"),
        (["own_task:Own", "--clients", "0"], "federation.clients"),
        (["own_task:Own", "--clients", "161"], "161 clients cannot share 160 training rows"),
        (["own_task:Own", "--partition", "by:hospital"], "no column 'hospital'"),
        (
            ["own_task:Own", "--partition", "zipf:1"],
            "unknown partition: 'zipf'; known are iid, dirichlet, shards, by, sizes",
        ),
        (["own_task:Own", "--partition", "dirichlet:0"], "expected dirichlet:A with a number A > 0, found 0"),
        (["own_task:Own", "--set", "federation.partition={name='dirichlet', beta=1}"], "its options are: alpha"),
        (["own_task:Own", "--sensitive", "sex"], "the data has no attribute 'sex'"),
        (["own_task:Own", "--engine", "warp"], "unknown engine: 'warp'; known are batched, compiled, loop"),
        (["own_task:Own", "--ray-address", "host:1"], "--ray-address is for --engine ray"),
        (["own_task:Own", "--engine", "ray", "--ray-address", "host"], "expected an address as host:port, or auto"),
        (["own_task:Own", "--set", "training.device=gpu"], "expected a device auto, cpu"),
        (["own_task:Own", "--set", "training.optimizer=Sdg"], "no optimizer 'Sdg'"),
        (["own_task:Own", "--set", "federation.roundz=3"], "did you mean 'rounds'"),
        (
            ["own_task:Own", "--set", "aggregation.encode=['own_task:nothing']"],
            "encoding 'own_task:nothing' lacks declare",
        ),
        (["own_task:Own", "--set", "algorithm.name=scafold"], "did you mean 'scaffold'"),
        (["own_task:Own", "--set", "aggregation.rule=trimmed-mean:0.7"], "expected a number between 0 and 0.5"),
        (["own_task:Own", "--set", "audit.hooks=['own_task:nothing']"], "no audit hook"),
        (["own_task:Own", "--devices", "phnes"], "devices.profiles: no file at"),
        (["own_task:Own", "--devices", "own_task.py"], "cannot be read as TOML"),
        (["own_task:Own", "--devices", "phones", "--unit", "client", "--epsilon", "2"], "the noise of unit client"),
        (["own_task:Own", "--algorithm", "fedbuff:3"], "runs in simulated time only; name device profiles"),
        (["--resume", "nowhere"], "nowhere holds no run"),
        (["--resume", "nowhere", "--clients", "3"], "only --engine, --ray-address, --workers and --json may be added"),
    ],
)
def test_bad_input_is_one_message_exit_code_2_and_nothing_written(here, fedcore, arguments, message):
    code, out, err = fedcore("simulate", *arguments)
    assert code == 2
    assert message in " ".join(err.split())
    assert "Traceback" not in err
    assert out == ""
    assert sorted(path.name for path in here.iterdir() if path.name != "__pycache__") == ["own_task.py"]


def test_a_directory_that_holds_another_run_is_left_alone(here, fedcore):
    fedcore("simulate", "own_task:Own", *QUICK, "--no-privacy", "--out", "one")
    before = {path: path.read_bytes() for path in (here / "one").iterdir() if path.is_file()}
    code, _, err = fedcore("simulate", "own_task:Own", *QUICK, "--out", "one")
    assert code == 2
    assert "holds a finished run; give another --out" in err
    assert {path: path.read_bytes() for path in (here / "one").iterdir() if path.is_file()} == before


def test_a_finished_run_is_not_resumed(here, fedcore):
    fedcore("simulate", "own_task:Own", *QUICK, "--no-privacy", "--out", "one")
    code, _, err = fedcore("simulate", "--resume", "one")
    assert code == 2
    assert "is finished" in err


@pytest.mark.parametrize("more", [["--rounds", "3"], ["--set", "federation.rounds=3"]])
def test_a_finished_run_is_given_more_rounds(here, fedcore, more):
    fedcore("simulate", "own_task:Own", *QUICK, "--no-privacy", "--out", "one")
    code, out, _ = fedcore("simulate", "--resume", "one", *more, "--json")
    assert code == 0
    assert json.loads(out)["rounds"] == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rounds", "3", "--clients", "5"], "--resume continues the plan of the run as it is"),
        (["--set", "training.learning-rate=1"], "--resume continues the plan of the run as it is"),
        (["--rounds", "3", "--epsilon", "2", "--unit", "client"], "--resume continues the plan of the run as it is"),
        (["--epsilon", "2"], "--resume continues the plan of the run as it is"),
        (["--set", "federation.rounds=many"], "expected a whole number, found 'many'"),
    ],
)
def test_nothing_else_of_a_run_is_changed(here, fedcore, options, message):
    code, _, err = fedcore("simulate", "--resume", "one", *options)
    assert code == 2
    assert message in " ".join(err.split())


def interrupt(running: subprocess.Popen, run: Path, *, after_round: int) -> tuple[int, str]:
    """Send Ctrl-C once some rounds are committed; return exit code and standard error."""
    deadline = time.monotonic() + 60
    journal = run / "rounds.jsonl"
    while not (journal.exists() and len(journal.read_text().splitlines()) >= after_round):
        assert time.monotonic() < deadline, "the run wrote no round in a minute"
        assert running.poll() is None, running.communicate()
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGINT)
    _, err = running.communicate(timeout=60)
    return running.returncode, err


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_run_stopped_by_ctrl_c_goes_on_to_the_very_same_model(here, fedcore, workers):
    settings = [
        "own_task:Own",
        "--rounds",
        "150",
        "--clients",
        "4",
        "--no-privacy",
        "--set",
        "federation.server-optimizer={name = 'sgd', momentum = 0.5}",
    ]
    settings += ["--set", "federation.averaging=0.5", "--workers", workers]
    code, err = interrupt(process("simulate", *settings, "--out", "stopped", cwd=here), here / "stopped", after_round=5)
    assert code == 130, err
    assert "fedcore simulate --resume stopped" in err
    assert not (here / "stopped" / "summary.json").exists()

    code, _, err = fedcore("simulate", "--resume", "stopped", "--workers", "1")
    assert code == 0, err
    fedcore("simulate", *settings, "--out", "whole")
    stopped, whole = (load_file(here / name / "model.safetensors") for name in ("stopped", "whole"))
    assert all(torch.equal(stopped[name], whole[name]) for name in whole)
    rounds = [json.loads(line)["round"] for line in (here / "stopped" / "rounds.jsonl").read_text().splitlines()]
    assert rounds == list(range(1, 151))


def test_workers_do_not_outlive_a_main_process_that_was_killed(here):
    settings = ["own_task:Own", "--rounds", "100000", "--clients", "4", "--no-privacy", "--workers", "2"]
    running = process("simulate", *settings, "--out", "killed", cwd=here)
    deadline = time.monotonic() + 60
    while not (here / "killed" / "rounds.jsonl").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    workers = subprocess.run(
        ["pgrep", "-P", str(running.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    assert len(workers) == 2
    running.kill()
    running.wait()
    running.stdout.close()
    running.stderr.close()
    while any(Path(f"/proc/{worker}").exists() and "Z" not in state_of(worker) for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def state_of(worker: str) -> str:
    try:
        return Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_a_full_disk_under_the_report_can_be_gone_on_with(here, fedcore, monkeypatch):
    from fedcore.report import page as report

    def full(_):
        raise RunDirectoryError("the disk is full: go on with --resume")

    with monkeypatch.context() as patch:
        patch.setattr(report, "write_report", full)
        assert fedcore("simulate", "own_task:Own", *QUICK, "--no-privacy", "--out", "one")[0] == 2
    code, _, err = fedcore("simulate", "--resume", "one", "--workers", "1")
    assert code == 0, err
    assert (here / "one" / "report.html").exists()


def test_a_run_that_pauses_ends_with_75_names_the_clients_and_says_how_to_resume(here, fedcore):
    far = ("--set", "training.learning-rate=1e30", "--set", "federation.round-attempts=1")
    code, _, err = fedcore("simulate", "own_task:Own", *QUICK, "--no-privacy", *far, "--out", "one")
    assert code == 75
    assert "paused: round 1 had 0 valid updates in attempt 1 of 1" in err
    assert "client-0, client-1, client-2" in err
    assert "fedcore simulate --resume one" in err


def test_what_fails_at_a_client_is_told_with_the_client_the_round_and_how_to_go_on(here, fedcore, monkeypatch):
    from fedcore_simulations.engines import loop

    real = loop.train_locally

    def broken(local, client, request):
        if request.round == 2:
            raise ValueError("a bug")
        return real(local, client, request)

    with monkeypatch.context() as bug:
        bug.setattr(loop, "train_locally", broken)
        code, _, err = fedcore("simulate", "own_task:Own", *QUICK, "--no-privacy", "--out", "one")
    assert code == 2
    assert "error: client-0 failed in round 2:" in err
    assert err.endswith("the last finished round is kept. Resume with: fedcore simulate --resume one\n")
    assert fedcore("simulate", "--resume", "one", "--workers", "1")[0] == 0


def test_clients_that_were_dropped_are_named_at_the_end_and_in_the_summary(here, fedcore, monkeypatch):
    from fedcore_simulations.engines import loop

    real = loop.train_locally

    def broken(local, client, request):
        update = real(local, client, request)
        if client.name == "client-1":
            update.values["update"][0] = float("nan")
        return update

    monkeypatch.setattr(loop, "train_locally", broken)
    code, out, err = fedcore("simulate", "own_task:Own", *QUICK, "--no-privacy", "--out", "one")
    assert code == 0, err
    assert "2 of 3 counted" in err
    assert "dropped client-1 (see the warning below)" in " ".join(out.split())
    assert "1 of 3 clients was not counted each time: client-1 (asked 2, counted 0; NONFINITE 2)" in out
    facts = json.loads((here / "one" / "summary.json").read_text())["participation"]
    assert facts["client-1"]["rejected"] == {"NONFINITE": 2}
    assert (facts["client-0"]["asked"], facts["client-0"]["counted"], facts["client-0"]["evaluated"]) == (2, 2, 2)


def test_clients_and_a_partition_by_column_contradict(here, fedcore):
    code, _, err = fedcore("simulate", "digits", "--clients", "3", "--partition", "by:stroke")
    assert code == 2
    assert "leave --clients out" in err


def test_a_new_task_runs_as_it_is_and_so_does_its_test(here, fedcore):
    code, out, _ = fedcore("new", "mine")
    assert code == 0
    assert "fedcore simulate plan.toml" in out
    for arguments in (["-m", "pytest", "-q"], ["-c", "from fedcore.cli import main; main()", "simulate", "plan.toml"]):
        done = subprocess.run(
            [sys.executable, *arguments], cwd=here / "mine", capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert fedcore("new", "mine")[0] == 2


def test_the_new_task_is_about_25_lines_long(here, fedcore):
    fedcore("new", "mine")
    lines = [line for line in (here / "mine" / "my_task.py").read_text().splitlines() if line.strip()]
    assert len(lines) <= 25


def test_what_is_imported_on_first_use_is_listed():
    assert {"simulate", "SimulationResult"} <= set(dir(fedcore_simulations))
    assert {"RunPlan", "Classification", "Examples"} <= set(dir(package))
