"""The event log: what was written stays as it was, or it shows."""

import json
import string
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from fedcore.commands.events import events
from fedcore.errors import StorageError
from fedcore.storage.events import FIRST_HEAD, EventLog, missing_heads, read_events, verify_events

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
NAMES = ("number", "time", "event", "round", "counted", "previous", "hash")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.dictionaries(st.text(string.ascii_lowercase, min_size=1, max_size=8), VALUES, max_size=4).filter(
    lambda fields: not {"number", "time", "event", "previous", "hash", "self"} & set(fields)
)


def build_log(path, count=5):
    log = EventLog(path, clock=lambda: NOW)
    for number in range(count):
        log.append("round-committed", round=number, counted=["a", "b"])
    return log


def lines_of(path):
    return path.read_bytes().splitlines(keepends=True)


def run(*arguments):
    result = CliRunner().invoke(events, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.jsonl"


def test_a_log_begins_at_64_zeros_and_every_event_gives_a_new_head(path):
    log = EventLog(path)
    assert (log.head, log.number) == (FIRST_HEAD, 0)
    heads = [log.append("started") for _ in range(3)]
    assert len(set(heads)) == 3
    assert log.head == heads[-1]
    assert [event["previous"] for event in read_events(path)] == [FIRST_HEAD, *heads[:-1]]
    assert verify_events(path) == []


@given(entries=st.lists(FIELDS, max_size=6))
def test_what_is_appended_is_read_back_and_the_chain_is_whole(tmp_path_factory, entries):
    path = tmp_path_factory.mktemp("log") / "events.jsonl"
    log = EventLog(path, clock=lambda: NOW)
    for fields in entries:
        log.append("something", **fields)
    found = list(read_events(path))
    assert [{name: event[name] for name in fields} for event, fields in zip(found, entries, strict=True)] == entries
    assert verify_events(path) == []
    assert EventLog(path).head == log.head


def test_the_head_survives_reopening(path):
    before = build_log(path)
    after = EventLog(path)
    assert (after.head, after.number) == (before.head, 5)
    after.append("stopped")
    assert verify_events(path) == []
    assert [event["number"] for event in read_events(path)] == [1, 2, 3, 4, 5, 6]


@given(kept=st.integers(0, 10_000))
def test_a_line_that_a_crash_tore_is_cut_off_when_the_log_is_opened(tmp_path_factory, kept):
    path = tmp_path_factory.mktemp("log") / "events.jsonl"
    build_log(path, 3)
    content = path.read_bytes()
    path.write_bytes(content[: kept % (len(content) + 1)])
    whole = path.read_bytes().count(b"\n")
    log = EventLog(path)
    assert log.number == whole
    log.append("started")
    assert verify_events(path) == []
    assert len(list(read_events(path))) == whole + 1


@given(index=st.integers(0, 4), field=st.sampled_from(NAMES))
def test_a_changed_line_is_found(tmp_path_factory, index, field):
    path = tmp_path_factory.mktemp("log") / "events.jsonl"
    build_log(path)
    lines = lines_of(path)
    event = json.loads(lines[index])
    event[field] = 77 if field in ("number", "round") else ["c"] if field == "counted" else "0" * 63 + "1"
    lines[index] = json.dumps(event).encode() + b"\n"
    path.write_bytes(b"".join(lines))
    assert any(f"line {index + 1}: its content is not what was hashed" in problem for problem in verify_events(path))


@pytest.mark.parametrize("change", ["a field more", "a field less"])
def test_fields_added_or_removed_are_found(path, change):
    build_log(path)
    lines = lines_of(path)
    event = json.loads(lines[2])
    event.update(extra=1) if change == "a field more" else event.pop("round")
    path.write_bytes(b"".join([*lines[:2], json.dumps(event).encode() + b"\n", *lines[3:]]))
    assert verify_events(path) == ["line 3: its content is not what was hashed when it was written"]


@given(dropped=st.integers(0, 3))
def test_a_dropped_line_is_found(tmp_path_factory, dropped):
    path = tmp_path_factory.mktemp("log") / "events.jsonl"
    build_log(path)
    lines = lines_of(path)
    path.write_bytes(b"".join(lines[:dropped] + lines[dropped + 1 :]))
    assert f"line {dropped + 1}: it does not follow the line before it" in verify_events(path)


@given(source=st.integers(0, 4), target=st.integers(0, 5))
def test_an_inserted_line_is_found_even_if_it_is_a_genuine_one(tmp_path_factory, source, target):
    path = tmp_path_factory.mktemp("log") / "events.jsonl"
    build_log(path)
    lines = lines_of(path)
    path.write_bytes(b"".join([*lines[:target], lines[source], *lines[target:]]))
    assert verify_events(path) != []


@given(order=st.permutations(range(5)))
def test_lines_in_another_order_are_found(tmp_path_factory, order):
    path = tmp_path_factory.mktemp("log") / "events.jsonl"
    build_log(path)
    lines = lines_of(path)
    path.write_bytes(b"".join(lines[index] for index in order))
    assert (verify_events(path) == []) == (order == sorted(order))


def test_a_line_that_was_made_to_fit_shows_in_the_lines_after_it(path):
    build_log(path)
    genuine = lines_of(path)
    path.write_bytes(b"".join(genuine[:2]))
    EventLog(path, clock=lambda: NOW).append("round-committed", round=2, counted=["a"])
    path.write_bytes(path.read_bytes() + b"".join(genuine[3:]))
    assert verify_events(path) == ["line 4: it does not follow the line before it"]


@pytest.mark.parametrize("line", [b"no json\n", b"[]\n", b"\xff\xfe\n", b"\n"])
def test_a_line_that_is_no_event_is_named(path, line):
    build_log(path, 2)
    lines = lines_of(path)
    path.write_bytes(lines[0] + line + lines[1])
    with pytest.raises(StorageError, match="damaged at line 2"):
        verify_events(path)


@pytest.mark.parametrize("line", [b"no json\n", b"[]\n", b"{}\n", b'{"number": "x", "hash": 3}\n'])
def test_a_log_whose_last_line_is_no_event_is_not_gone_on_with(path, line):
    path.write_bytes(line)
    with pytest.raises(StorageError, match="its last line is not an event"):
        EventLog(path)


def test_a_log_that_ends_early_is_whole_and_only_a_witness_tells(tmp_path, path):
    ours = build_log(path, 3)
    witness = EventLog(tmp_path / "other.jsonl")
    for _ in range(3):
        ours.append("round-committed")
        witness.append("accepted", peer="coordinator", peer_head=ours.head)
    witness.append("accepted", peer="someone-else", peer_head="f" * 64)
    assert missing_heads(path, witness.path, party="coordinator") == []
    path.write_bytes(b"".join(lines_of(path)[:4]))
    assert verify_events(path) == []
    told = missing_heads(path, witness.path, party="coordinator")
    assert len(told) == 2
    assert f"event 3 of {witness.path} saw the head {ours.head[:12]}" in told[1]


def test_a_history_that_was_written_anew_contradicts_the_witness(tmp_path, path):
    witness = EventLog(tmp_path / "other.jsonl")
    witness.append("accepted", peer="coordinator", peer_head=build_log(path, 4).head)
    path.unlink()
    for number in range(4):
        EventLog(path).append("round-committed", round=number, counted=["only-me"])
    assert verify_events(path) == []
    assert len(missing_heads(path, witness.path, party="coordinator")) == 1


# the commands


def test_verify_prints_head_and_number_of_a_whole_log(path):
    log = build_log(path)
    assert run("verify", path) == (0, f"whole: 5 events, head {log.head}\n")


def test_verify_names_each_break_and_fails(path):
    build_log(path)
    lines = lines_of(path)
    path.write_bytes(b"".join([lines[0], lines[2], lines[3].replace(b'"a"', b'"z"'), lines[4]]))
    code, told = run("verify", path)
    assert code == 1
    assert told.splitlines() == [
        "line 2: expected event number 2, found 3",
        "line 2: it does not follow the line before it",
        "line 3: expected event number 3, found 4",
        "line 3: its content is not what was hashed when it was written",
        "line 4: expected event number 4, found 5",
    ]


@pytest.mark.parametrize(
    "line", [b"no json\n", b'{"number": NaN}\n', b'{"number": Infinity, "hash": "x"}\n', b"[" * 100_000 + b"\n"]
)
def test_verify_says_in_words_what_no_log_can_hold(path, line):
    build_log(path, 2)
    path.write_bytes(path.read_bytes() + line)
    code, told = run("verify", path)
    assert code == 1
    assert "damaged" in told or "line 3" in told


def test_verify_takes_a_directory_that_has_a_log(tmp_path):
    log = build_log(tmp_path / "events.jsonl", 1)
    assert run("verify", tmp_path) == (0, f"whole: 1 event, head {log.head}\n")


@pytest.mark.parametrize("name", ["", "absent.jsonl"])
def test_a_log_that_is_not_there_is_no_whole_log(tmp_path, name):
    with pytest.raises(StorageError, match="no event log at"):
        run("verify", tmp_path / name)


def test_verify_says_that_a_torn_line_does_not_count(path):
    build_log(path, 2)
    path.write_bytes(path.read_bytes() + b'{"number": 3')
    code, told = run("verify", path)
    assert code == 0
    assert told.startswith("whole: 2 events")
    assert "a last line that a crash tore was never part of it" in told


def test_verify_with_a_witness_finds_a_cut_off_end(tmp_path):
    run_directory, client = tmp_path / "digits-0001", tmp_path / "hospital-a"
    run_directory.mkdir()
    client.mkdir()
    (run_directory / "plan.toml").write_text("")
    log, witness = EventLog(run_directory / "events.jsonl"), EventLog(client / "events.jsonl")
    log.append("driver-started", run="digits-0001.ab")
    for _ in range(2):
        witness.append("accepted", run="digits-0001.ab", peer="coordinator", peer_head=log.append("hello"))
        witness.append("accepted", run="digits-0001.cd", peer="coordinator", peer_head="e" * 64)
    asked = ("verify", run_directory, "--witness", client, "--party", "coordinator")
    assert run(*asked) == (0, f"whole: 3 events, head {log.head}\n")
    log.path.write_bytes(b"".join(lines_of(log.path)[:2]))
    assert run("verify", run_directory)[0] == 0
    code, told = run(*asked)
    assert code == 1
    assert f"saw the head {log.head[:12]}…, which the log lacks" in told
    assert len(told.splitlines()) == 1


def test_a_witness_that_saw_nothing_or_is_broken_itself_confirms_nothing(tmp_path, path):
    build_log(path)
    witness = build_log(tmp_path / "other.jsonl")
    code, told = run("verify", path, "--witness", witness.path, "--party", "hospital-a")
    assert code == 1
    assert "has no record of hospital-a" in told
    witness.path.write_bytes(b"".join(lines_of(witness.path)[1:]))
    code, told = run("verify", path, "--witness", witness.path, "--party", "hospital-a")
    assert code == 1
    assert f"{witness.path}: line 1: it does not follow" in told


@pytest.mark.parametrize("half", [("--witness", "x"), ("--party", "x")])
def test_witness_and_party_go_together(path, half):
    build_log(path)
    code, told = run("verify", path, *half)
    assert code == 2
    assert "--witness and --party go together" in " ".join(told.replace("│", " ").split())


def test_show_prints_the_newest_events_on_a_line_each(path):
    log = build_log(path, 4)
    log.append("refused", code="COHORT", reason="two\nlines \x1b[31m")
    code, told = run("show", path, "--last", 2)
    assert code == 0
    assert told.splitlines() == [
        "     4  2026-11-22T12:00:00.000+00:00  round-committed  round=3  counted=['a', 'b']",
        "     5  2026-11-22T12:00:00.000+00:00  refused  code=COHORT  reason=two�lines �[31m",
    ]
    assert len(run("show", path, "--last", 0)[1].splitlines()) == 5


def test_show_prints_json_lines_as_they_stand(path):
    build_log(path, 3)
    code, told = run("show", path, "--json", "--last", 0)
    assert code == 0
    assert [json.loads(line) for line in told.splitlines()] == list(read_events(path))
