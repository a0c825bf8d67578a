"""The manifest, the card for people, and the data gate with drift against an earlier manifest."""

from __future__ import annotations

import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_demonstrations import ingest, many, whole_config, write_jsonl

from raro.config import parse
from raro.demonstrations import Card, sheet
from raro.demonstrations import card as card_module
from raro.demonstrations.drift import distance, drift, moved
from raro.errors import BadInput, GateRefused
from raro.records import Demonstration
from raro.storage import read_json

pytestmark = pytest.mark.usefixtures("untracked")

EVIL = "# <script>alert(1)</script> [x](http://x) | `code`\nsecond line"


def told(source, **keys):
    return parse({"demonstrations": {"source": str(source), "dev_share": 0.1, **keys}})


def test_the_card_in_both_forms_says_what_the_manifest_says(tmp_path):
    rows = [*many(60), {"question": EVIL, "answer": EVIL + " answered", "topic": "x"}, "broken", *many(3)]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    settings = {"personal_data": {"email": "mask"}, "filters": ["topic != t39"], "max_quarantined_share": 0.2, "leak_chars": 0}
    outputs = ingest(told(path, **settings), tmp_path / "run")
    folder = tmp_path / "run" / "ingest"
    content = read_json(folder / "data.json")
    assert content["rows"] == content["kept"] + content["quarantined"] + sum(content["left_out"].values()) == 65
    assert content["left_out"] == {"filter": 1} and content["digest"] == outputs["digest"]
    assert content["settings"]["filters"] == ["topic != t39"] and content["versions"]["unicode"]
    assert sum(content["kept_of"].values()) == content["kept"]
    for name in ("data-card.md", "data-card.html"):
        text = (folder / name).read_text(encoding="utf-8")
        for piece in (content["digest"], content["sources"][0]["sha256"], "duplicate", "filter", "email", "not asked for"):
            assert piece in text.replace("\\", ""), (name, piece)
    sample = Demonstration(question=EVIL, answer="a", source="s", licence="MIT", group="g", attribution="https://x")
    drawn = sheet.sections(content, [sample])
    for text in (sheet.markdown(EVIL, drawn), sheet.html(EVIL, drawn)):
        assert "<script>" not in text and "\n# " not in text
    assert "[x](" not in sheet.markdown(EVIL, drawn)


def test_no_sample_is_shown_where_privacy_forbids_it(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"question": f"secret {i}?", "answer": f"hidden {i}"} for i in range(40)])
    ingest(parse({"demonstrations": {"source": str(path)}, "privacy": {"show_text": False}}), tmp_path / "run")
    for name in ("data-card.md", "data-card.html", "data.json"):
        text = (tmp_path / "run" / "ingest" / name).read_text(encoding="utf-8")
        assert "secret" not in text and "hidden" not in text
    ingest(parse({"demonstrations": {"source": str(path)}}), tmp_path / "open")
    assert (tmp_path / "open" / "ingest" / "data-card.md").read_text().count("| secret") == 10


def test_samples_and_manifest_do_not_depend_on_order(tmp_path):
    contents = []
    for name, rows in (("a", many(80)), ("b", many(80)[::-1])):
        path = write_jsonl(tmp_path / "rows.jsonl", rows)
        ingest(whole_config(path), tmp_path / name)
        content = read_json(tmp_path / name / "ingest" / "data.json")
        card = (tmp_path / name / "ingest" / "data-card.md").read_text().partition("## Samples")[2]
        shown = [line.split(" | ")[0] for line in card.splitlines()]
        contents.append(({key: value for key, value in content.items() if key != "sources"}, shown))
    assert contents[0] == contents[1]


# ------------------------------------------------------------------------------------------------------------------ drift


@given(
    st.lists(st.integers(0, 50), min_size=4, max_size=4).filter(any),
    st.lists(st.integers(0, 50), min_size=4, max_size=4).filter(any),
)
def test_distances_are_distances(one, other):
    assert distance(one, one) < 1e-6 and 0 <= distance(one, other) <= 1 + 1e-9
    assert abs(distance(one, other) - distance(other, one)) < 1e-12
    names = [dict(zip("abcd", counts, strict=True)) for counts in (one, other)]
    assert moved(names[0], names[0]) == 0 and 0 <= moved(*names) <= 1 + 1e-9
    assert distance([1, 0], [0, 1]) == 1 == moved({"a": 3}, {"b": 4})


def test_drift_stops_the_run_with_the_figures(tmp_path):
    first = write_jsonl(tmp_path / "first.jsonl", many(100))
    ingest(told(first), tmp_path / "one")
    before = tmp_path / "one" / "ingest" / "data.json"
    rows = [
        {"question": f"Tell the long story of number {i}", "answer": "Once upon a time there was " * 5 + str(i)}
        for i in range(99)
    ]
    other = write_jsonl(tmp_path / "other.jsonl", rows)
    with pytest.raises(GateRefused) as caught:
        ingest(told(other, drift_against=str(before)), tmp_path / "two")
    assert "lengths" in caught.value.line and "vocabulary" in caught.value.line and "max_length_drift" in caught.value.remedy
    assert read_json(tmp_path / "two" / "failure.json")["code"] == 3 and not (tmp_path / "two" / "ingest").exists()
    meant = {"max_length_drift": 1000, "max_vocabulary_drift": 1, "drift_against": str(before)}
    ingest(told(other, **meant), tmp_path / "three")
    noted = read_json(tmp_path / "three" / "ingest" / "data.json")["drift"]
    assert noted["figures"]["sources"] == 1 and noted["digest"] == read_json(before)["digest"]
    assert "Drift" in (tmp_path / "three" / "ingest" / "data-card.md").read_text()
    with pytest.raises(GateRefused, match="sources 1.00"):
        ingest(told(other, **meant, max_source_drift=0.5), tmp_path / "four")


def test_a_little_growth_is_no_drift_and_an_older_manifest_is_compared_as_far_as_it_goes(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", many(300))
    ingest(told(path), tmp_path / "one")
    before = read_json(tmp_path / "one" / "ingest" / "data.json")
    write_jsonl(path, many(330))
    ingest(told(path, drift_against=str(tmp_path / "one" / "ingest" / "data.json")), tmp_path / "two")
    figures = read_json(tmp_path / "two" / "ingest" / "data.json")["drift"]["figures"]
    assert figures["lengths"] < 0.1 and figures["vocabulary"] < 0.2 and figures["sources"] == 0
    older = {key: before[key] for key in ("kept", "lengths", "digest")}
    assert list(drift(before, older)) == ["lengths"] and json.dumps(older)


@pytest.mark.parametrize("content", ["[1]", '{"a": 1}', "{", None])
def test_what_is_no_manifest_is_not_compared_with(content, tmp_path):
    named = tmp_path / "named"
    named.write_text(content) if content else named.mkdir()
    with pytest.raises(BadInput, match="drift_against '.*named' is no data.json"):
        ingest(told(write_jsonl(tmp_path / "a.jsonl", many(100)), drift_against=str(named)), tmp_path / "run")


def test_words_are_counted_in_their_buckets():
    rows = [
        Demonstration(question=f"Is {i} odd?", answer="Yes no " * (i % 3), source="a#1", licence="", group="")
        for i in range(50)
    ]
    card = Card()
    for row in rows:
        card.keep(row, "train", card_module.buckets(row))
    expected = [0] * card_module.WORDS
    for word in " ".join(f"{row.question} {row.answer}" for row in rows).casefold().split():
        expected[zlib.crc32(word.encode()) % card_module.WORDS] += 1
    assert card.vocabulary == expected
