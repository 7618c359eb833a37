"""Prompts that are made of a set's text: their names say all, and what begins alike is said to."""

from __future__ import annotations

import pytest

from testbed.workload.made import Piece, Text, made_id, pieces_of

SET = [("a", tuple(range(10, 20))), ("b;2", tuple(range(20, 26)))]
MADE = [
    (Piece("a", 3),),
    (Piece("a", 3, 0), Piece("a", 12)),
    (Piece("b;2", 4, 7),),
    (Piece("b;2", 4, 7), Piece("a", 1), Piece("b;2", 30, 123456)),
    (Piece("x#1+2", 5),),
]


@pytest.mark.parametrize("pieces", MADE, ids=[made_id(*one) for one in MADE])
def test_a_name_says_what_it_is_made_of(pieces: tuple[Piece, ...]) -> None:
    assert pieces_of(made_id(*pieces)) == pieces


@pytest.mark.parametrize("name", ["a", "", "a+", "+", "a+3;", "a+3;b", "a#x", "a+-3"])
def test_other_names_are_made_of_nothing(name: str) -> None:
    assert pieces_of(name) is None


def test_a_piece_goes_on_into_the_set_and_begins_again_at_its_end() -> None:
    text = Text(SET)
    assert text.tokens("a+4") == (10, 11, 12, 13)
    assert text.tokens("b;2+8") == (20, 21, 22, 23, 24, 25, 10, 11)
    assert len(text.tokens("a+100")) == 100
    assert text.tokens("a+2;b;2+3") == (10, 11, 20, 21, 22)
    with pytest.raises(KeyError):
        text.tokens("c+4")


def test_marked_texts_begin_differently_and_are_as_long() -> None:
    text = Text(SET)
    made = [text.tokens(f"a#{number}+8") for number in range(1000)]
    assert len({one[:3] for one in made}) == 1000
    assert {len(one) for one in made} == {8}
    assert text.tokens("a#77+2") == text.tokens("a#77+8")[:2]


def test_texts_with_the_same_pieces_begin_alike() -> None:
    text = Text(SET)
    one = text.tokens("a#4+9")
    assert text.tokens("a#4+9;b;2#5+6")[:9] == one
    assert text.tokens("a#4+5") == one[:5]
