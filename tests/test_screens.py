"""Screens beyond the plain ones: near-duplicates, benchmarks, personal data, language, licences; and splits when data grows."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_demonstrations import gather, ingest, many, write_jsonl

from raro.config import parse
from raro.demonstrations import load_split
from raro.demonstrations.likeness import alike, signature
from raro.demonstrations.personal import PersonalData, possible
from raro.demonstrations.seen import Seen, Sorted
from raro.errors import BadInput

pytestmark = pytest.mark.usefixtures("untracked")

LONG = (
    "The patient was a farmer who had worked in the fields all summer, and came to the clinic in autumn because his hands "
    "would not close around a tool in the evening, though in the morning they were as strong as ever. What should be tested?"
)


def reasons(quarantine: list[dict]) -> list[tuple[int, str]]:
    return [(one["row"], one["reason"]) for one in quarantine]


# ---------------------------------------------------------------------------------------------------------------- memory


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=4), st.integers(0, 9)), max_size=60))
def test_what_is_seen_on_disk_is_a_dictionary_that_keeps_its_first_values(pairs):
    seen, twin = Seen("things", "others"), {}
    for key, value in pairs:
        assert seen.first("things", key, value) == twin.get(key)
        twin.setdefault(key, value)
    assert seen.first("others", b"x") is None


@given(st.lists(st.binary(max_size=8), max_size=40))
def test_digests_come_back_in_order(digests):
    kept = Sorted()
    for one in digests:
        kept.add(one)
    assert list(kept) == sorted(digests)


# --------------------------------------------------------------------------------------------------------------- likeness


def test_likeness_is_the_jaccard_index_and_the_same_everywhere():
    one, other = LONG.split(), LONG.split()
    other[5:7] = ["in", "vineyards"]
    triples = [{tuple(words[i : i + 3]) for i in range(len(words) - 2)} for words in (one, other)]
    exact = len(triples[0] & triples[1]) / len(triples[0] | triples[1])
    assert abs(alike(signature(" ".join(one)), signature(" ".join(other))) - exact) < 0.15
    assert signature(LONG)[:3].tolist() == [14862663, 12306196, 117144761]
    assert alike(signature("x + 2"), signature("x - 2")) < 0.5 and alike(signature("a"), signature("A")) == 1


def test_near_duplicates_are_quarantined_and_other_answers_kept(tmp_path):
    rows = [
        {"question": LONG, "answer": "Test the strength again after rest, and look for antibodies against the receptor."},
        {"question": LONG.replace("autumn", "fall"), "answer": "Test the strength again after rest and look for antibodies "
         "against the receptor."},
        {"question": LONG.replace("autumn", "spring"), "answer": "Nothing at all."},
        {"question": "How long do eggs boil?", "answer": "Eight minutes."},
    ]  # fmt: skip
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    shares = {"dev_share": 0.0, "test_share": 0.0}
    _, kept, quarantine = gather(path, tmp_path / "out", near_duplicates=0.5, **shares)
    assert len(kept) == 3 and reasons(quarantine) == [(2, "near_duplicate")]
    assert len(gather(path, tmp_path / "off", **shares)[1]) == 4


def test_a_question_alike_to_one_in_another_split_is_a_leak(tmp_path):
    rows = [{"question": LONG, "answer": "a", "fold": "train"}]
    rows += [{"question": LONG.replace("autumn", "spring"), "answer": "b", "fold": "test"}]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    _, kept, quarantine = gather(path, tmp_path / "out", near_duplicates=0.7, split="fold")
    assert len(kept) == 1 and reasons(quarantine) == [(2, "split_leak")]


def test_benchmarks_are_kept_out_and_reported(tmp_path):
    exam = [{"problem": LONG}, {"problem": "What is 6 times 7?"}, {"problem": " ".join(f"word{i}" for i in range(40))}]
    write_jsonl(tmp_path / "exam.jsonl", exam)
    reworded = LONG.replace("autumn", "fall").replace("as strong", "as firm")
    rows = [
        {"question": "Consider this case. " + LONG, "answer": "a"},
        {"question": "what is  6 TIMES 7?", "answer": "42"},
        {"question": " ".join(f"word{i}" + (", " if i % 24 == 23 else "") for i in range(40)), "answer": "b"},
        {"question": "What is 6 times 8?", "answer": "48"},
        {"question": reworded, "answer": "c"},
    ]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    named = f"{tmp_path}/exam.jsonl#problem"
    card, kept, quarantine = gather(path, tmp_path / "out", benchmarks=(named,), benchmark_similarity=0.6, benchmark_words=25)
    assert kept == {("What is 6 times 8?", "48")} and [one["reason"] for one in quarantine] == ["contaminated"] * 4
    (report,) = card.benchmarks
    assert (report["rows"], report["same_words"], report["alike"]) == (3, 3, 1) and len(report["files"][0]["sha256"]) == 64
    assert "row 1 of the benchmark" in quarantine[0]["detail"]


@pytest.mark.parametrize(
    ("named", "line"),
    [
        ("exam.jsonl", "names no column"),
        ("gone.jsonl#x", "does not exist"),
        ("exam.jsonl#question", "has no text in 'question'"),
    ],
)
def test_a_benchmark_that_cannot_be_read_stops_everything(named, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "exam.jsonl", [{"problem": "p"}])
    path = write_jsonl(tmp_path / "a.jsonl", many(3))
    with pytest.raises(BadInput, match=line):
        gather(path, tmp_path / "out", benchmarks=(named,))


# ---------------------------------------------------------------------------------------------------------- personal data

FOUND = [
    ("email", "write to ann.lee+x@clinic.example.org.", "write to [email]."),
    ("url", "see https://example.org/a?b=c for more", "see [url] for more"),
    ("phone", "call (012) 555-0142 now", "call (012) 555-0142 now"),  # no such area
    ("phone", "call (212) 736-5000 now", "call [phone] now"),
    ("phone", "call +44 20 7946 0018 now", "call [phone] now"),
    ("national_id", "SSN 536-90-4399", "SSN [national id]"),
    ("national_id", "SSN 000-90-4399", "SSN 000-90-4399"),
    ("national_id", "NHS 943 476 5919", "NHS [national id]"),
    ("account", "card 4111 1111 1111 1111", "card [account]"),
    ("account", "card 4111 1111 1111 1112", "card 4111 1111 1111 1112"),
    ("account", "to DE89 3704 0044 0532 0130 00 please", "to [account] please"),
    ("ip", "from 10.2.3.4 and fe80::1", "from [ip] and [ip]"),
    ("ip", "version 10.2.3.400", "version 10.2.3.400"),
    ("date", "seen on 03/14/2021, 2021-03-14, March 14, 2021 and 14 March", "seen on [date], [date], [date] and [date]"),
    ("date", "in 2021, at 3/4 of the dose, ratio 1:2", "in 2021, at 3/4 of the dose, ratio 1:2"),
    ("age", "a 93-year-old and a 60-year-old", "a [age]-year-old and a 60-year-old"),
    ("name", "Dr. Ann Lee saw Mrs Roe", "Dr. [name] saw Mrs [name]"),
    ("name", "Patient: John Q. Public", "Patient: [name]"),
    ("name", "Patient: Jane Roe, MRN: 880001", "Patient: [name], MRN: 880001"),
    ("name", "Patient: DOE, JANE DOB 1970", "Patient: [name] DOB 1970"),
    ("record_number", "MRN: 00123456, policy number A-77812", "MRN: [record number], policy number [record number]"),
    ("record_number", "the case number is unknown", "the case number is unknown"),
    ("address", "at 12 Old Mill Street, Springfield, IL 62704", "at [address], Springfield, [address]"),
    ("device", "MAC 00:1A:2B:3C:4D:5E", "MAC [device]"),
]


@pytest.mark.parametrize(("kind", "text", "masked"), FOUND)
def test_each_kind_of_personal_data(kind, text, masked):
    assert PersonalData({kind: "mask"}, "US").clean(text).text == masked


@given(st.text("ab1234567890-/.:@ +()DrMs", max_size=80))
@settings(deadline=None)
def test_masking_twice_changes_nothing_more(text):
    everything = PersonalData(dict.fromkeys([kind for kind, _, _ in FOUND], "mask"), "US")
    once = everything.clean(text).text
    assert everything.clean(once).text == once


@given(
    st.sampled_from(sorted({kind for kind, _, _ in FOUND})),
    st.lists(st.sampled_from([text for _, text, _ in FOUND]) | st.text("09\u0663aZ-/.:@w +()", max_size=40), max_size=4).map(
        " ".join
    ),
)
@settings(deadline=None, max_examples=300)
def test_what_is_passed_over_without_a_look_holds_nothing(kind, text):
    personal = PersonalData({kind: "mask"}, "US")
    assert possible(kind, text, sum(map(str.isdecimal, text))) or not list(personal._spans(kind, text))


def test_drop_mask_and_keep_are_counted(tmp_path):
    rows = [
        {"question": "Mail ann@x.org?", "answer": "Yes, from 10.0.0.1 or 10.0.0.2."},
        {"question": "Her number?", "answer": "536-90-4399"},
        {"question": "Plain?", "answer": "Plain."},
    ]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    actions = {"email": "mask", "ip": "keep", "national_id": "drop"}
    card, kept, quarantine = gather(path, tmp_path / "out", personal_data=actions)
    assert kept == {("Mail [email]?", "Yes, from 10.0.0.1 or 10.0.0.2."), ("Plain?", "Plain.")}
    assert card.personal == {"email": 1, "ip": 2} and reasons(quarantine) == [(2, "personal_data")]
    assert "536" not in json.dumps(quarantine)


def test_two_patients_of_one_question_become_one_group(tmp_path):
    rows = [{"question": f"What ails {name}?", "answer": f"Gout {i}."} for i, name in enumerate(["Mr. Roe", "Mr. Doe"])]
    gather(write_jsonl(tmp_path / "a.jsonl", rows), tmp_path / "out", personal_data={"name": "mask"})
    assert len({d.group for split in ("train", "dev", "test") for d in load_split(tmp_path / "out", split)}) == 1


@pytest.mark.parametrize(
    ("told", "line"),
    [
        ({"personal_data": {"emial": "mask"}}, "must be one of name"),
        ({"personal_data": {"email": "hide"}}, "must be one of drop, mask, keep"),
        ({"personal_data": ["email"]}, "must be a mapping"),
        ({"languages": "en"}, "must be a list"),
    ],
)
def test_settings_that_cannot_be_are_refused(told, line):
    with pytest.raises(BadInput, match=line):
        parse({"demonstrations": told})


def test_names_that_libraries_do_not_know(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", many(3))
    with pytest.raises(BadInput, match="'xx' is not known"):
        gather(path, tmp_path / "out", languages=("xx",))
    with pytest.raises(BadInput, match="'USA' is not a country's code"):
        gather(path, tmp_path / "out", personal_data={"phone": "mask"}, phone_region="USA")


# ------------------------------------------------------------------------------------------------- language, licence, tags


def test_languages(tmp_path):
    rows = [
        {"question": "How is a sauce thickened without any flour in the pan?", "answer": "Reduce it."},
        {"question": "Wie wird eine Sauce angedickt, wenn kein Mehl im Haus ist?", "answer": "Einkochen."},
        {"question": "Comment peut-on lier une sauce quand il n'y a plus de farine?", "answer": "La laisser r\u00e9duire."},
        {"question": "7 * 6 = ?", "answer": "42"},
    ]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    _, kept, quarantine = gather(path, tmp_path / "out", languages=("en", "fr"))
    assert len(kept) == 3 and reasons(quarantine) == [(2, "language")]


def test_licences(tmp_path):
    rows = [{"question": f"q{i}", "answer": "a", "terms": terms} for i, terms in enumerate(["MIT", "CC-BY-4.0", "", "GPL-3.0"])]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    card, _, quarantine = gather(path, tmp_path / "out", licence_column="terms", licences=("MIT", "CC-BY-4.0"))
    assert card.licences == {"MIT": 1, "CC-BY-4.0": 1} and reasons(quarantine) == [(3, "empty"), (4, "licence")]


@pytest.mark.parametrize("text", ["x [/INST] first", "<<SYS>> obey", "a <end_of_turn>", "\uff3bINST\uff3d", "<|eot_id|>"])
def test_control_tokens_of_other_models_are_refused_too(text, tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"question": "q", "answer": text}, {"question": "q", "answer": "a [1] b"}])
    assert reasons(gather(path, tmp_path / "out")[2]) == [(1, "tags")]


# -------------------------------------------------------------------------------------------------------------- stability


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 500), min_size=1, max_size=40, unique=True), st.lists(st.integers(0, 500), max_size=40))
def test_whatever_is_added_no_row_changes_its_split(tmp_path_factory, first, more):
    """Groups by hash, by column, and with near-duplicates screened: a row that was kept is kept, in the split it had."""
    place = tmp_path_factory.mktemp("grow")
    for keys in ({}, {"group": "topic"}, {"near_duplicates": 0.8}):
        placed = []
        for name, numbers in (("small", first), ("grown", [*first, *more])):
            rows = [row for i in numbers for row in many(1, i)]
            gather(write_jsonl(place / f"{name}.jsonl", rows), place / name, dev_share=0.2, test_share=0.3, **keys)
            placed.append({(d.question, d.answer): s for s in ("train", "dev", "test") for d in load_split(place / name, s)})
        assert placed[0].items() <= placed[1].items()


def test_the_default_writes_what_it_always_wrote(tmp_path):
    """No screen that is off leaves a trace in the files."""
    gather(write_jsonl(tmp_path / "a.jsonl", many(5)), tmp_path / "out")
    lines = [line for path in (tmp_path / "out").glob("t*.jsonl") for line in path.read_text().splitlines()]
    assert set(json.loads(lines[0])) == {"question", "answer", "source", "licence", "group"}


@pytest.mark.parametrize(
    ("told", "seen", "screened"),
    [("full", True, False), ("masked", False, False), ("none", False, False), (True, True, False), ("full", False, True)],
)
def test_what_people_may_see_of_personal_data(told, seen, screened, tmp_path):
    rows = [{"question": f"Mail ann{i}@x.org?", "answer": "Yes, mail her."} for i in range(30)]
    rows += [{"question": "To bob@x.org?", "answer": 7}, "broken bob@x.org"]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    data = {"source": str(path), "max_quarantined_share": 1, "personal_data": {"phone": "drop"} if screened else {}}
    config = parse({"demonstrations": data, "privacy": {"show_text": told}})
    ingest(config, tmp_path / "run")
    folder = tmp_path / "run" / "ingest"
    for name in ("quarantine.jsonl", "data-card.md", "data-card.html", "data.json"):
        text = (folder / name).read_text(encoding="utf-8").replace("\\", "")
        assert ("@x.org" in text) == (seen and name != "data.json"), name
        assert ("[email]" in text) == (not seen and told != "none" and name != "data.json"), name
    assert parse(config.canonical()) == config


def test_show_text_takes_three_words_and_the_old_two():
    assert parse({"privacy": {"show_text": False}}).privacy.show_text == "none"
    for wrong in ("all", 1, None, ["full"]):
        with pytest.raises(BadInput, match="must be one of full, masked, none"):
            parse({"privacy": {"show_text": wrong}})
