"""The one normaliser, and the tags both roles speak: what holds for any text."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from raro.text import END_THINK, THINK, normalise, split_thought

TAG = re.compile(r"</?\s*(think|verdict)\s*>", re.IGNORECASE)
PARTS = [
    *(
        THINK,
        END_THINK,
        "<verdict>",
        "</verdict>",
        "<THINK>",
        "< think >",
        "</ think\n>",
        "<thi",
        "nk>",
        "</",
        "think",
        "verdict",
        "<",
        ">",
    ),
    *(
        "\uff1c",
        "\uff1e",
        "\ufe64",
        "\u200b",
        "\u2060",
        "\ufeff",
        "\u00ad",
        "\x00",
        "\x1b",
        "\x85",
        "\u2028",
        "\r",
        "\r\n",
        "\n",
        "\t",
        "\u00a0",
    ),
    *("\u3000", "\u0301", "\u0338", "\u00b4", "e", "first", "\u2014", "\u201c", "\u2019", "42", " ", "  "),
]
anything = st.one_of(st.text(), st.lists(st.sampled_from(PARTS), max_size=12).map("".join))


@given(anything)
@example("e\u200b\u0301")
@example("e<think>\u0301")
@example("<\u200b\u0338")
@example("<thi<think>nk>")
def test_normalising_twice_changes_nothing(text):
    assert normalise(normalise(text)) == normalise(text)


@given(anything)
@example("<thi<think>nk>")
@example("\uff1cthink\uff1e")
@example("<thi\u200bnk>")
@example("<\nthink>")
def test_no_tag_survives(text):
    assert not TAG.search(normalise(text))


@given(anything)
def test_normalised_text_is_tidy(text):
    lines = normalise(text).split("\n")
    assert all(line == line.strip() and "  " not in line for line in lines)
    assert not any(lines[i] == lines[i + 1] == "" for i in range(len(lines) - 1))
    assert lines == [""] or (lines[0] and lines[-1])


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("  a \t b\u00a0c  ", "a b c"),
        ("\u201cit\u2019s\u201d 1\u20132\u20143\u22124", '"it\'s" 1-2-3-4'),
        ("a\r\nb\rc", "a\nb\nc"),
        ("a\n\n\n\nb", "a\n\nb"),
        ("\ufeffa\u200bb\x00c", "abc"),
        ("Haft\u00adung \u2067a\u2069\u061c\U000e0041", "Haftung a"),
        ("\uff34\uff28\uff29\uff33 \u2460", "THIS 1"),
        ("cafe\u0301", "caf\u00e9"),
        ("a <Think>b</THINK> c", "a b c"),
        ("if a < b and c > d", "if a < b and c > d"),
        ("a <b>bold</b> word", "a <b>bold</b> word"),
        ("", ""),
    ],
)
def test_one_spelling_for_what_looks_alike(written, meant):
    assert normalise(written) == meant


@given(anything)
def test_a_split_completion_has_an_answer_without_tags(text):
    parts = split_thought(text)
    assert parts is None or (parts[1] and not TAG.search(parts[1]) and normalise(parts[1]) == parts[1])


@given(anything, anything)
def test_a_well_formed_completion_splits_and_no_other_does(thought, answer):
    text = f"{THINK}{thought}{END_THINK}{answer}"
    clean = not TAG.search(answer) and THINK not in thought and END_THINK not in thought and bool(normalise(answer))
    parts = split_thought(text)
    if text.count(THINK) == text.count(END_THINK) == 1:
        assert parts == ((thought.strip(), normalise(answer)) if clean else None)
    else:
        assert parts is None


@pytest.mark.parametrize(
    "text",
    [
        *("", "42", "<think>", "<think></think>", "<think>a</think>", "<think>a</think> \u200b ", "a</think>b", "<think>a"),
        *(
            "x <think>a</think> b",
            "<think>a</think>b</think>c",
            "<think>a<think>b</think>c",
            "<think>a</think><verdict>first</verdict>",
        ),
        *("</think>a<think>b", "<THINK>a</THINK>b", "<think>a</think>< think >b"),
    ],
)
def test_malformed_completions(text):
    assert split_thought(text) is None


def test_a_thought_may_be_empty_and_an_answer_have_several_lines():
    assert split_thought("<think></think>a") == ("", "a")
    assert split_thought("  <think> is  it? </think>\n\n1\n2\n") == ("is  it?", "1\n2")
