"""Fingerprints that two people can compare by phone."""

from __future__ import annotations

import hashlib

_CONSONANTS, _VOWELS = "bdfghjklmnprstvz", "aiou"
_NUM_SYLLABLE_PAIRS = 6


def words(data: bytes) -> str:
    """The first 96 bits of SHA-256 of `data` as six pronounceable words, such as ``lusab-babad-gutih-…``.

    Each word, a proquint, spells 16 bits as consonant, vowel, consonant, vowel, consonant
    (Wilkerson 2009, arXiv 0901.4016). Another input with the same words takes about 2⁹⁶ attempts.
    """
    digest = hashlib.sha256(data).digest()
    return "-".join(proquint(int.from_bytes(digest[2 * i : 2 * i + 2])) for i in range(_NUM_SYLLABLE_PAIRS))


def proquint(number: int) -> str:
    return (
        _CONSONANTS[number >> 12]
        + _VOWELS[number >> 10 & 3]
        + _CONSONANTS[number >> 6 & 15]
        + _VOWELS[number >> 4 & 3]
        + _CONSONANTS[number & 15]
    )
