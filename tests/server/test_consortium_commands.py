"""``fedcore consortium``, as an operator meets it."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from fedcore.errors import TrustError
from fedcore.trust.invitation import Invitation
from fedcore_server.commands.consortium import consortium
from fedcore_server.consortium.certificates import load_certificate
from fedcore_server.consortium.home import ConsortiumHome
from fedcore_server.consortium.members import init, invite
from fedcore_server.consortium.summary import show
from tests.trust.builders import build_response, environment, welcome

NOW = datetime.now(UTC)


@pytest.fixture
def home(tmp_path):
    init(tmp_path / "federation", "heart", "fl.example.org:9092")
    return tmp_path / "federation"


def run(*arguments, answer=None):
    """Run ``fedcore consortium``; return exit code and output, or raise what is left to the frame."""
    result = CliRunner().invoke(consortium, [str(argument) for argument in arguments], input=answer)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_the_commands_lead_from_founding_to_a_member(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, told = run("init", "--name", "heart", "--server", "localhost:9092")
    assert code == 0
    assert "created the consortium heart in federation" in told
    assert "next: fedcore consortium invite CLIENT\n" in told
    code, told = run("invite", "hospital-a")
    assert code == 0
    assert "fedcore client join invite-hospital-a.json --home hospital-a" in told
    response = build_response(Invitation.from_file(tmp_path / "invite-hospital-a.json"))
    (tmp_path / "response.json").write_text(response.to_json())
    code, told = run("admit", "response.json", answer="y\n")
    assert code == 0
    assert response.fingerprint in told
    assert "does the client read out the same words? [y/N]" in told
    assert "roster version 2 has 1 member" in told
    code, told = run("show")
    assert code == 0
    assert re.search(rf"^hospital-a  \d{{4}}-\d\d-\d\d  {response.fingerprint}$", told, re.MULTILINE)
    code, told = run("remove", "hospital-a")
    assert "removed hospital-a; roster version 3 has 0 members" in told


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_a_client_that_reads_out_other_words_is_not_admitted(home, tmp_path, answer):
    (tmp_path / "response.json").write_text(build_response(invite(home, "hospital-a")).to_json())
    code, _ = run("admit", tmp_path / "response.json", "--home", home, answer=answer)
    assert code == 1
    assert ConsortiumHome(home).roster().version == 1


def test_yes_asks_nothing(home, tmp_path):
    (tmp_path / "response.json").write_text(build_response(invite(home, "hospital-a")).to_json())
    code, told = run("admit", tmp_path / "response.json", "--home", home, "--yes")
    assert code == 0
    assert "y/N" not in told


def test_a_bad_response_is_refused_before_anybody_is_asked(home, tmp_path):
    (tmp_path / "response.json").write_text(build_response().to_json())
    with pytest.raises(TrustError, match="no open invitation"):
        run("admit", tmp_path / "response.json", "--home", home, answer="y\n")


def test_show_tells_people_and_programs_the_same(home):
    welcome(home)
    member = ConsortiumHome(home).roster().member("hospital-a")
    invite(home, "hospital-b", 2, now=NOW)
    code, told = run("show", "--home", home, "--json")
    summary = json.loads(told)
    assert code == 0
    assert summary["members"] == [
        {"name": "hospital-a", "admitted": member.admitted, "fingerprint": member.fingerprint}
    ]
    assert summary["invited"][0]["name"] == "hospital-b"
    assert summary["roster_version"] == 2
    _, page = run("show", "--home", home)
    for value in (summary["name"], summary["server"], summary["coordinator"], summary["certificate_expires"][:10]):
        assert value in page
    assert "hospital-b is invited, until" in page
    late = "\n".join(show(home).lines(NOW + timedelta(days=80, hours=12)))
    assert "(10 days left); renew it with: fedcore consortium renew" in late
    assert "hospital-b is invited, expired on" in late


def test_an_empty_consortium_says_what_to_do(home):
    assert "nobody yet; invite one with: fedcore consortium invite CLIENT" in run("show", "--home", home)[1]


def test_withdrawing_and_renewing_say_what_they_did(home):
    invite(home, "hospital-a")
    assert "withdrew the invitation of hospital-a" in run("remove", "hospital-a", "--home", home)[1]
    told = run("renew", "--home", home)[1]
    assert f"valid until {load_certificate(home / 'server.crt').not_valid_after_utc.date()}" in told


def test_every_command_teaches_with_an_example():
    for command in ("init", "invite", "admit", "remove", "renew", "show"):
        code, told = run(command, "--help")
        assert code == 0
        assert f"fedcore consortium {command}" in told


def test_help_imports_nothing_heavy():
    code = (
        "import sys, fedcore_server.commands.consortium, fedcore_clients.commands.join\n"
        "print(sorted({'torch', 'flwr', 'cryptography', 'opacus', 'numpy'} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment())
    assert told.stdout.strip() == "[]"
