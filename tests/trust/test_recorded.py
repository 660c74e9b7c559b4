"""Documents that an earlier version wrote are read, verified, and written as they were."""

from pathlib import Path

from fedcore.trust.invitation import Invitation, JoinResponse
from fedcore.trust.roster import Roster

RECORDED = Path(__file__).parent / "recorded"


def test_an_old_invitation_its_response_and_the_roster_verify_and_are_written_as_they_were():
    texts = {name: (RECORDED / f"{name}.json").read_text() for name in ("invitation", "response", "roster")}
    invitation, response = Invitation.from_json(texts["invitation"]), JoinResponse.from_json(texts["response"])
    response.verify(invitation)
    roster = Roster.read(texts["roster"], invitation.coordinator)

    assert (invitation.to_json(), response.to_json()) == (texts["invitation"], texts["response"])
    assert texts["roster"].startswith(roster.to_json().removesuffix("\n}\n"))
    assert roster.member("hospital-a").fingerprint == response.fingerprint
    assert invitation.digest == "84428abc731ed62bc55f651bcbc373ed691cf2d143f1fc3c7cef0d7fa96f94e1"
