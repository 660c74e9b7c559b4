"""Nobody who was lost goes unnamed."""

from fedcore_server.runs.participation import charges_acknowledged, codes_in_words, last_receipts, participation


def line(counted, *, asked=None, committed=True, rejected=()):
    return {
        "asked": list(asked or counted),
        "counted": list(counted),
        "committed": committed,
        "rejected": [{"client": client, "code": code} for client, code in rejected],
    }


def test_a_client_that_was_away_for_all_rounds_but_the_last_is_named():
    rounds = [*[line(["a"])] * 29, line(["a", "b"])]
    assert participation(["a", "b"], rounds)["lost"] == ["b"]


def test_where_a_sample_is_asked_not_to_be_asked_tells_nothing():
    rounds = [line(["a"]), line(["b"])]
    assert participation(["a", "b", "c"], rounds, sampled=True)["lost"] == ["c"]


def test_a_simulated_client_that_was_never_drawn_is_not_lost_and_one_that_was_never_counted_is():
    rounds = [line(["a"]), line(["b"], asked=["b", "d"])]
    assert participation(["a", "b", "c", "d"], rounds, sampled=True, always_there=True)["lost"] == ["d"]


def test_a_member_that_never_came_is_named_and_one_that_was_there_throughout_is_not():
    found = participation(["a", "b"], [line(["a"])] * 3)
    assert found["lost"] == ["b"]
    nothing = {"asked": 0, "answered": 0, "counted": 0, "evaluated": 0, "strikes": 0}
    assert found["clients"]["b"] == {**nothing, "rejected": {}, "evaluation_rejected": {}}


def test_strikes_are_what_a_clients_own_signature_vouches_for():
    rejected = [("a", "NONFINITE"), ("b", "LATE"), ("c", "BAD_SIGNATURE"), ("d", "REFUSED")]
    clients = participation([], [line([], asked="abcd", committed=False, rejected=rejected)])["clients"]
    assert {name: facts["strikes"] for name, facts in clients.items()} == {"a": 1, "b": 0, "c": 0, "d": 0}
    assert {name: facts["answered"] for name, facts in clients.items()} == {"a": 1, "b": 0, "c": 1, "d": 1}


def test_updates_of_a_round_that_failed_are_in_no_model_and_not_counted():
    assert participation([], [line(["a"], committed=False)])["clients"]["a"]["counted"] == 0


def test_the_last_receipt_of_each_ledger_counts_and_old_journals_hold_none():
    rounds = [{"receipts": {"b": {"entry": 3}, "a": {"entry": 9}}}, {}, {"receipts": {"b": {"entry": 5}}}]
    assert last_receipts(rounds) == {"a": {"entry": 9}, "b": {"entry": 5}}
    assert last_receipts([{}]) == {}


def test_a_client_that_was_absent_from_rounds_it_was_not_asked_in_answered_what_it_was_asked():
    rounds = [line(["a", "b"])] * 9 + [line(["a"], asked=["a"], rejected=[("b", "ABSENT")])] * 10
    facts = participation([], rounds)["clients"]["b"]
    assert (facts["asked"], facts["answered"], facts["counted"]) == (9, 9, 9)
    assert facts["rejected"] == {"ABSENT": 10}


def test_rejections_of_training_and_of_evaluation_are_apart():
    both = line(["a"], asked=["a", "b"], rejected=[("b", "LATE")])
    both |= {"evaluation_rejected": [{"client": "b", "code": "METRICS"}], "clients": {"a": {"n": 3}}}
    clients = participation([], [both])["clients"]
    assert (clients["a"]["evaluated"], clients["b"]["evaluated"]) == (1, 0)
    assert (clients["b"]["rejected"], clients["b"]["evaluation_rejected"]) == ({"LATE": 1}, {"METRICS": 1})
    assert clients["b"]["strikes"] == 1
    assert codes_in_words(clients["b"]) == "LATE 1, METRICS 1 in evaluation"


def test_the_most_charges_that_one_client_has_receipts_of_are_counted_once_each():
    rounds = [{"receipts": {"a": {"entry": 3}, "b": {"entry": 3}}}, {"receipts": {"a": {"entry": 3}}}]
    assert charges_acknowledged([*rounds, {"receipts": {"a": {"entry": 5}}}, {}]) == 2
    assert charges_acknowledged([{}]) is None
