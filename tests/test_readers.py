"""Readers: the packaged configurations and every format on fixtures written by hand, in the public data sets' own columns."""

from __future__ import annotations

import io
import json
import pickle
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_demonstrations import gather, write_csv, write_jsonl

from raro.config import load
from raro.demonstrations import archives, collect, load_split, sources
from raro.demonstrations.filters import filters
from raro.demonstrations.html import as_text
from raro.demonstrations.windows import windowed
from raro.errors import BadInput, ServiceFailed
from raro.text import normalise

FIXTURES = Path(__file__).parent / "fixtures"
HOLDING_ASKED = (
    "What did the cited case hold? Write what belongs in the place of <HOLDING>.\n\n"
    "The clause was not conspicuous. See Ash v. Yew, 4 U.S. 5 (1802) (<HOLDING>)."
)


def as_parquet(name: str, folder: Path) -> Path:
    """A fixture of lines as the Parquet file that the hub serves: numbers, lists and nulls keep their types."""
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    rows = [json.loads(line) for line in (FIXTURES / f"{name}.jsonl").read_text("utf-8").splitlines()]
    if name == "casehold":
        rows = [row | {"label": int(row["label"])} for row in rows]
    folder.mkdir(exist_ok=True)
    parquet.write_table(arrow.Table.from_pylist(rows), folder / f"{name}.parquet")
    return folder / f"{name}.parquet"


def configured(name: str, source: Path, folder: Path):
    """(card, demonstrations by question) of a packaged configuration's own settings on another source."""
    settings = load(name, [f"demonstrations.source={source}", "demonstrations.benchmarks=[]"]).demonstrations
    folder.mkdir(exist_ok=True)
    card = collect(settings, sources(settings.source), folder)
    return card, {d.question: d for split in ("train", "dev", "test") for d in load_split(folder, split)}


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize(
    ("name", "fixture", "expected", "left_out"),
    [
        (
            "deepmath",
            "deepmath",
            {"Find the limit of $(1+1/n)^n$ as $n$ grows.": "e", "Is the group $\\mathbb{Z}/6$ cyclic?": "Yes"},
            {"filter": 1},
        ),
        (
            "countdown",
            "countdown",
            {"Make 24 from 1, 3, 8.": "1 * ( 3 * 8 )", "Make 98 from 19, 35, 44.": None},
            {"unsolvable": 1},
        ),
        ("poetry", "poems", {'Write a poem with the title "The Well" about these themes: nature, night.': None}, {"filter": 1}),
        (
            "medical",
            "medcasereasoning",
            {
                "A 60-year-old farmer has fatigable weakness and double vision by evening. Strength returns after rest.": (
                    "Myasthenia gravis"
                )
            },
            {},
        ),
        (
            "legal",
            "casehold",
            {
                HOLDING_ASKED: "holding that a waiver hidden in small print does not bind",
            },
            {},
        ),
    ],
)
def test_the_packaged_configurations_read_their_data(name, fixture, expected, left_out, kind, tmp_path):
    source = FIXTURES / f"{fixture}.jsonl" if kind == "jsonl" else as_parquet(fixture, tmp_path / "in")
    card, found = configured(name, source, tmp_path / "out")
    assert card.left_out == left_out
    for question, answer in expected.items():
        assert question in found and (answer is None or found[question].answer == answer)
    assert card.rows == card.kept + card.quarantined + card.left_out.total()


def test_a_folder_of_data_does_not_hide_the_packaged_configuration_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "medical").mkdir()
    assert load("medical").name == "medical"


def test_every_packaged_configuration_is_valid():
    for name in ("countdown", "deepmath", "legal", "medical", "poetry", "stackexchange"):
        config = load(name)
        assert config.name == config.registry.model == name and config.base.licence == "Apache-2.0"
    assert (
        load("deepmath").demonstrations.benchmarks
        and {load(name).privacy.show_text for name in ("medical", "legal")} == {"none"}
        and load("legal").gate.require_approval
    )


# ---------------------------------------------------------------------------------------------------------- Stack Exchange


def test_a_stack_exchange_site_with_licence_and_attribution(tmp_path):
    card, found = configured("stackexchange", FIXTURES / "Posts.xml", tmp_path / "out")
    assert card.rows == 3 and card.kept == 2 and card.left_out == {"unanswered": 1}
    accepted = found["Sums of decimals\n\nWhy does `0.1 + 0.2` not give $0.3$?"]
    assert accepted.answer == (
        "A tenth has no finite binary form. Compare with a tolerance:\n\n"
        "```\ndef close(a, b):\n    return abs(a - b) < 1e-9\n```"
    )
    assert accepted.licence == "CC-BY-SA-4.0 AND CC-BY-SA-3.0" and accepted.source.endswith("Posts.xml#1")
    where = "https://math.stackexchange.com/posts"
    assert accepted.attribution == f"{where}/1 by user 7; {where}/3 by ada"
    best = found["Reversing\n\nHow do I reverse a list in place?"]
    assert best.answer == "Call `values.reverse()`.\n\n- It returns nothing.\n- It changes the list."


def posts(path: Path, body: str, head: str = '<?xml version="1.0"?>') -> Path:
    path.write_text(f"{head}\n{body}", encoding="utf-8")
    return path


BOMB = (
    "<!DOCTYPE posts ["
    + '<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(9))
    + "]>"
)


@pytest.mark.parametrize(
    ("head", "body", "line"),
    [
        (BOMB, '<posts><row Id="1" PostTypeId="1" Body="&j;"/></posts>', "declares a document type"),
        (
            '<!DOCTYPE posts [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
            '<posts><row Id="1" PostTypeId="1" Title="&x;"/></posts>',
            "declares a document type",
        ),
        ("<!DOCTYPE posts SYSTEM 'http://127.0.0.1:9/x.dtd'>", "<posts/>", "declares a document type"),
        ("", '<users><row Id="1"/></users>', "is a list of users, not of posts"),
        ("", '<posts><row Id="1" PostTypeId="1"', "is damaged XML, line 2"),
        ("", "<posts></posts>", "holds no question and no answer"),
        ("", "<posts>&undefined;</posts>", "is damaged XML"),
    ],
)
def test_hostile_and_broken_xml_is_one_clear_line(head, body, line, tmp_path):
    with pytest.raises(BadInput, match=line) as caught:
        gather(posts(tmp_path / "Posts.xml", body, head), tmp_path / "out")
    assert "\n" not in str(caught.value) and caught.value.remedy


def test_an_attribute_without_end_fills_no_memory(tmp_path):
    with (tmp_path / "Posts.xml").open("w") as file:
        file.write('<posts><row Id="1" PostTypeId="1" Body="')
        for _ in range(20):
            file.write("x" * 2**20)
    tracemalloc.start()
    with pytest.raises(BadInput, match="single entry of more than"):
        gather(tmp_path / "Posts.xml", tmp_path / "out")
    assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    tracemalloc.stop()


def test_two_posts_of_one_id_are_both_accounted_for(tmp_path):
    row = '<row Id="{}" PostTypeId="{}" {} Score="5" Body="{}" Title="T" />'
    posts = [
        row.format(1, 1, 'AcceptedAnswerId="2"', "What is it?"),
        row.format(2, 2, 'ParentId="1"', "The first."),
        row.format(2, 2, 'ParentId="1"', "Another."),
        row.format(1, 1, "", "What else is it?"),
    ]
    path = tmp_path / "Posts.xml"
    path.write_text(f"<posts>{''.join(posts)}</posts>", "utf-8")
    card, kept, quarantine = gather(path, tmp_path / "out")
    assert kept == {("T\n\nWhat is it?", "The first.")}
    assert [(one["row"], one["reason"]) for one in quarantine] == [(1, "duplicate_id"), (2, "duplicate_id")] and card.rows == 3


def test_posts_that_lack_what_they_should_have_are_left_out(tmp_path):
    rows = [
        '<row Id="1" PostTypeId="1" AcceptedAnswerId="99" Title="t" Body="b"/>',  # its answer is not there
        '<row Id="x" PostTypeId="1" Title="t" Body="b"/>',
        '<row Id="2" PostTypeId="2" ParentId="77" Score="5" Body="of another question"/>',
        '<row Id="3" PostTypeId="1" AcceptedAnswerId="2" Title="t" Body="b"/>',  # accepts another question's answer
    ]
    card, kept, _ = gather(posts(tmp_path / "Posts.xml", f"<posts>{''.join(rows)}</posts>"), tmp_path / "out")
    assert not kept and card.left_out == {"unanswered": 2}


@given(st.text("ab <>&/'\"`pre code li ul blockquote div\n", max_size=200))
def test_any_html_becomes_text(html):
    assert isinstance(as_text(html), str)


def test_html_nested_beyond_reason_is_still_read():
    assert "x" in as_text("<p>a</p>" + "<blockquote>a" * 100 + "x" + "</blockquote>" * 100)
    assert len(as_text("<blockquote>a" * 3000)) < 2**20
    assert as_text("<p>a</p><script>steal()</script><p>b &amp; c</p>") == "a\n\nb & c"


# ------------------------------------------------------------------------------------------------------------ SQuAD and CUAD


def test_a_contract_is_windowed_around_each_clause(tmp_path):
    card, kept, _ = gather(FIXTURES / "cuad.json", tmp_path / "out", reader="squad", group="title", window=200)
    answers = {answer: question for question, answer in kept}
    assert card.left_out == {"unanswered": 1} and len(kept) == 2
    both = "Neither party may assign this agreement without consent.\nAny attempt to do so is void."
    assert set(answers) == {both, "This agreement is governed by the laws of Ireland."}
    asked = answers[both]
    assert "LICENCE AGREEMENT" not in asked and 'related to "Anti-Assignment"' in asked and "without consent. Any" in asked
    assert {d.group for s in ("train", "dev", "test") for d in load_split(tmp_path / "out", s)} == {"ALDER_BIRCH_LICENCE"}


def test_squad_rows_of_the_hub_read_the_same(tmp_path):
    rows = []
    for article in json.loads((FIXTURES / "cuad.json").read_text())["data"]:
        for paragraph in article["paragraphs"]:
            for asked in paragraph["qas"]:
                answers = {key: [one[key] for one in asked["answers"]] for key in ("text", "answer_start")}
                row = {"title": article["title"], "context": paragraph["context"], "question": asked["question"]}
                rows.append(row | {"id": asked["id"], "answers": answers})
    _, document, _ = gather(FIXTURES / "cuad.json", tmp_path / "a", reader="squad", window=200)
    _, lines, _ = gather(write_jsonl(tmp_path / "rows.jsonl", rows), tmp_path / "b", reader="squad", window=200)
    assert document == lines


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"data": [{"title": "t", "paragraphs": [', "is damaged JSON"),
        ('{"data": [{"title": "t"}]}', "is not in SQuAD's form"),
        ('{"rows": []}', "holds no questions"),
        ('{"data": [7]}', "is not in SQuAD's form"),
    ],
)
def test_broken_squad_is_one_clear_line(text, line, tmp_path):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(BadInput, match=line):
        gather(tmp_path / "a.json", tmp_path / "out", reader="squad")


@given(st.text("ab. \n", min_size=1, max_size=400), st.data(), st.integers(20, 200))
def test_the_window_holds_the_answer_and_no_more_than_asked(context, data, size):
    start = data.draw(st.integers(0, len(context) - 1))
    text = context[start : start + data.draw(st.integers(1, 60))]
    found = windowed(context, [text], [start], size)
    if not text.strip():
        assert found is None
    else:
        shown, answer = found
        assert answer == text.strip() and answer in shown and len(shown) <= max(size, len(text)) and shown in context


def test_an_answer_that_is_not_where_it_should_be_is_refused(tmp_path):
    row = {"question": "q", "context": "some context", "answers": {"text": ["context"], "answer_start": [0]}}
    _, _, quarantine = gather(write_jsonl(tmp_path / "a.jsonl", [row]), tmp_path / "out", reader="squad")
    assert [one["reason"] for one in quarantine] == ["not_squad"]


# ------------------------------------------------------------------------------------------------------ chat, choice, columns


def test_conversations(tmp_path):
    card, kept, quarantine = gather(FIXTURES / "chat.jsonl", tmp_path / "out", reader="chat")
    assert kept == {
        ("How long do eggs boil?", "Eight minutes for firm yolks."),
        ("User: Name a prime.\n\nAssistant: Seven.\n\nUser: Another, larger one?", "Ninety-seven."),
    }
    assert [(one["row"], one["reason"]) for one in quarantine] == [(3, "not_a_chat"), (4, "not_a_chat"), (5, "not_a_chat")]
    _, kept, _ = gather(FIXTURES / "sharegpt.jsonl", tmp_path / "b", reader="chat", messages="conversations")
    assert kept == {("What thaws ice fastest?", "Moving water.")}
    with pytest.raises(BadInput, match="has no column 'messages'"):
        gather(FIXTURES / "sharegpt.jsonl", tmp_path / "c", reader="chat")


def test_multiple_choice_becomes_free_form(tmp_path):
    _, kept, _ = gather(FIXTURES / "medqa.jsonl", tmp_path / "a", reader="choice", choices="options", answer="answer_idx")
    assert {answer for _, answer in kept} == {"Parainfluenza virus", "Vitamin C"}
    offers = [["x", "y"], {"A": "x", "B": "y"}, [{"key": "A", "value": "x"}, {"key": "B", "value": "y"}]]
    rows = [
        {"question": f"{i} {j}", "choices": choices, "answer": named}
        for i, choices in enumerate(offers)
        for j, named in enumerate([1, "1", "B", "y"])
    ]
    wrong = [{"question": "w", "choices": ["x"], "answer": named} for named in (1, -1, "B", True, None, 0.5)]
    wrong += [{"question": "w", "choices": choices, "answer": 0} for choices in ([], "x", None)]
    _, kept, quarantine = gather(write_jsonl(tmp_path / "a.jsonl", [*rows, *wrong]), tmp_path / "b", reader="choice")
    assert len(kept) == 12 and {answer for _, answer in kept} == {"y"}
    assert [one["reason"] for one in quarantine] == ["no_choice"] * len(wrong)


@pytest.mark.parametrize(
    ("text", "passing"),
    [
        ("level >= 5", {5, 9}),
        ("level < 9", {1, 5}),
        ("level != 5", {1, 9}),
        ("kind == a b", {1, 5}),
        ("kind == 'a b'", {1, 5}),
        ("note == null", {1, 9}),
        ("note != null", {5}),
        ("note > 3", set()),
    ],
)
def test_filters(text, passing):
    rows = [
        {"level": 1, "kind": "a b", "note": None},
        {"level": "5", "kind": "a b", "note": "x"},
        {"level": 9.0, "kind": "c"},
    ]
    (condition,) = filters([text])
    assert {int(row["level"]) for row in rows if condition.holds(row)} == passing


def test_numbers_as_strings(tmp_path):
    """Compared as the numbers they are, but no problem is made of them: a digit too many would go unseen."""
    rows = [{"question": f"q {n}", "answer": "a", "level": n} for n in ("4", "5", 5, "5.0", "five", None)]
    card, kept, _ = gather(write_jsonl(tmp_path / "a.jsonl", rows), tmp_path / "out", filters=("level >= 5",))
    assert {question for question, _ in kept} == {"q 5", "q 5.0"} and card.left_out == {"filter": 3}
    problems = write_jsonl(tmp_path / "b.jsonl", [{"nums": ["3", "8"], "target": "24"}, {"nums": [3, 8], "target": 24}])
    card, kept, _ = gather(problems, tmp_path / "out", reader="countdown")
    assert len(kept) == 1 and card.reasons == {"not_countdown": 1}


def test_parquet_in_deepmath_s_own_schema(tmp_path):
    """zwhe99/DeepMath-103K as the hub serves it: large strings, difficulty a double, several row groups, zstd."""
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    texts = ["question", "final_answer", "topic", "r1_solution_1", "r1_solution_2", "r1_solution_3"]
    schema = arrow.schema([*((name, arrow.large_string()) for name in texts), ("difficulty", arrow.float64())])
    rows = [
        dict.fromkeys(texts, "...") | {"question": f"What is ${i} + 1$?", "final_answer": str(i + 1), "difficulty": 3.0 + i % 5}
        for i in range(2000)
    ]
    place = tmp_path / "train-00000-of-00001.parquet"
    parquet.write_table(arrow.Table.from_pylist(rows, schema), place, row_group_size=500, compression="zstd")
    card, found = configured("deepmath", place, tmp_path / "out")
    assert card.rows == 2000 and card.left_out == {"filter": 800}
    assert found["What is $2 + 1$?"].answer == "3" and "What is $1 + 1$?" not in found


def test_a_filter_that_cannot_be_read_or_a_column_that_is_not_there(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"question": "q", "answer": "a"}])
    with pytest.raises(BadInput, match="'level' is not a condition"):
        gather(path, tmp_path / "out", filters=("level",))
    with pytest.raises(BadInput, match="has no column 'level'"):
        gather(write_csv(tmp_path / "a.csv", [{"question": "q", "answer": "a"}]), tmp_path / "out", filters=("level > 1",))


def test_a_dump_has_no_columns_to_filter_by(tmp_path):
    for keys in ({"filters": ("Score > 3",)}, {"split": "fold"}, {"licence_column": "terms"}):
        with pytest.raises(BadInput, match="has no columns for"):
            gather(FIXTURES / "Posts.xml", tmp_path / "out", reader="stackexchange", **keys)


def _zipped(name: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, '{"question": "q", "answer": "a"}\n')
    return packed.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("rows.pkl", pickle.dumps([{"question": "q"}]), "the format of"),
        ("rows.jsonl", pickle.dumps([{"question": "q"}]), "binary data"),
        ("rows.7z", b"7z\xbc\xaf\x27\x1c", "not a whole 7z archive"),
        ("Posts.xml", b"7z\xbc\xaf\x27\x1c" + b"\0" * 40, "is not XML, but 7z"),
        ("rows.zip", b"PK\x03\x04", "the format of"),
        ("rows.jsonl", _zipped("../../evil.jsonl"), "a zip archive"),
        ("rows.csv", _zipped("/evil.jsonl"), "a zip archive"),
        ("rows.parquet", _zipped("../../evil.jsonl"), "a zip archive"),
    ],
)
def test_archives_and_pickles_are_never_opened(name, content, line, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=line):
        gather(tmp_path / name, tmp_path / "out")
    assert not list(tmp_path.parent.rglob("*evil*"))


def _packed(path: Path, members: dict[str, str], **options: object) -> Path:
    """A .7z. Names that py7zr would not write are put into its list of files afterwards."""
    py7zr = pytest.importorskip("py7zr")
    with py7zr.SevenZipFile(path, "w", **options) as archive:
        for number, content in enumerate(members.values()):
            archive.writestr(content.encode(), f"member {number}")
        for entry, name in zip(archive.header.files_info.files, members, strict=True):
            entry["filename"] = name
    return path


def test_a_dump_is_read_as_it_is_downloaded(tmp_path, monkeypatch):
    monkeypatch.setenv("RARO_CACHE", str(tmp_path / "cache"))
    posts = (FIXTURES / "Posts.xml").read_text("utf-8")
    path = _packed(tmp_path / "site.7z", {"Users.xml": "<users/>", "Posts.xml": posts})
    (tmp_path / "plain").mkdir()
    plain, expected, _ = gather(FIXTURES / "Posts.xml", tmp_path / "plain")
    card, kept, _ = gather(path, tmp_path / "out")
    assert kept == expected and card.digest() == plain.digest()
    (source,) = sources(str(path))
    assert source.uri == f"{path}/Posts.xml" and source.path.read_text("utf-8") == posts
    assert {file.name for file in (tmp_path / "cache").rglob("*") if file.is_file()} == {"Posts.xml", ".Posts.xml.lock"}
    assert len(sources(str(tmp_path / "*.7z"))) == 1


@pytest.mark.parametrize(
    ("members", "line"),
    [
        ({"Users.xml": "<users/>"}, "holds no file named Posts.xml"),
        ({"a/Posts.xml": "<posts/>", "b/Posts.xml": "<posts/>"}, "several entries named Posts.xml"),
        ({"../../Posts.xml": "<posts/>"}, "points out of its folder|not a whole 7z archive"),
        ({"/Posts.xml": "<posts/>"}, "points out of its folder|not a whole 7z archive"),
    ],
)
def test_archives_that_are_not_as_they_should_be(members, line, tmp_path, monkeypatch):
    monkeypatch.setenv("RARO_CACHE", str(tmp_path / "in" / "deep" / "cache"))
    path = _packed(tmp_path / "site.7z", members)
    with pytest.raises(BadInput, match=line):
        sources(str(path))
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["site.7z"]


def test_archives_damaged_encrypted_or_too_large(tmp_path, monkeypatch):
    monkeypatch.setenv("RARO_CACHE", str(tmp_path / "cache"))
    posts = {"Posts.xml": (FIXTURES / "Posts.xml").read_text("utf-8")}
    whole = _packed(tmp_path / "site.7z", posts).read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 40)):  # a bit turned anywhere, and a cut anywhere
        for bad in (whole[:place], whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :]):
            (tmp_path / "bad.7z").write_bytes(bad)
            try:
                (source,) = sources(str(tmp_path / "bad.7z"))
            except BadInput:
                continue
            assert source.path.read_text("utf-8") == posts["Posts.xml"]  # what was turned says nothing of the content
    with pytest.raises(BadInput, match="is encrypted"):
        sources(str(_packed(tmp_path / "locked.7z", posts, password="x")))
    monkeypatch.setattr(archives, "SPARE", 2**60)
    with pytest.raises(ServiceFailed, match="has no room"):
        sources(str(_packed(tmp_path / "large.7z", {"Posts.xml": "<posts></posts>"})))
    monkeypatch.setattr(archives, "MEMORY", 2**10)
    with pytest.raises(BadInput, match="MiB of memory for unpacking"):
        sources(str(_packed(tmp_path / "hungry.7z", {"Posts.xml": "<posts> </posts>"})))


def test_templates_take_only_what_is_there(tmp_path):
    rows = [
        {"title": "Rain", "year": 1890, "tags": ["a", "b"], "answer": "x"},
        {"title": "Snow", "year": None, "tags": [], "answer": "y"},
        {"title": "{year}", "year": 3, "tags": ["{title}"], "answer": "z"},
    ]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    _, kept, quarantine = gather(path, tmp_path / "out", template="{title}, {year}: {tags}")
    assert kept == {("Rain, 1890: a, b", "x"), ("{year}, 3: {title}", "z")} and quarantine[0]["reason"] == "unfilled"


def test_a_templates_place_may_be_left_empty_where_it_says_so(tmp_path):
    """Alpaca's rows: an instruction, an input that most of them lack, an output."""
    rows = [
        {"instruction": "Name it.", "input": "", "output": "a"},
        {"instruction": "Add.", "input": "1, 2", "output": "b"},
        {"instruction": "Sort.", "input": None, "output": "c"},
        {"instruction": "List.", "input": [], "output": "d"},
        {"instruction": "Go.", "output": "e"},
        {"instruction": "", "input": "x", "output": "f"},
    ]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    _, kept, quarantine = gather(path, tmp_path / "out", template="{instruction}\n{input?}", answer="output")
    assert kept == {("Name it.", "a"), ("Add.\n1, 2", "b"), ("Sort.", "c"), ("List.", "d"), ("Go.", "e")}
    assert [row["reason"] for row in quarantine] == ["unfilled"]
    (tmp_path / "none.jsonl").write_text('{"input": "", "output": "a"}\n', encoding="utf-8")
    _, kept, quarantine = gather(tmp_path / "none.jsonl", tmp_path / "out2", template="{input?}", answer="output")
    assert not kept and quarantine[0]["reason"] == "unfilled"


def test_zstd_is_read_and_a_cut_stream_is_told(tmp_path):
    zstd = pytest.importorskip("backports.zstd")
    data = "".join(json.dumps({"question": f"q{i}", "answer": f"a{i}"}) + "\n" for i in range(5000)).encode()
    (tmp_path / "a.jsonl.zst").write_bytes(zstd.compress(data[:50_000]) + zstd.compress(data[50_000:]))
    assert len(gather(tmp_path / "a.jsonl.zst", tmp_path / "out")[1]) == 5000
    (tmp_path / "b.jsonl.zst").write_bytes(zstd.compress(data)[:-9])
    with pytest.raises(BadInput, match="truncated or damaged: its zstd"):
        gather(tmp_path / "b.jsonl.zst", tmp_path / "out")
    (tmp_path / "c.jsonl.zst").write_bytes(data)
    with pytest.raises(BadInput, match="is named .zst, but is not zstd"):
        gather(tmp_path / "c.jsonl.zst", tmp_path / "out")


def test_at_most_so_many_rows_are_read(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"question": f"q{i}", "answer": "a"} for i in range(50)])
    assert gather(path, tmp_path / "out", max_rows=7)[0].rows == 7


@given(st.lists(st.sampled_from(["```", "```py", "  x =  1", "\ty", "", "text  of  words", "   ```"]), max_size=12))
def test_code_keeps_its_blanks_and_normalising_twice_changes_nothing(lines):
    text = "\n".join(lines)
    assert normalise(normalise(text)) == normalise(text)
    assert normalise("a\n```\nif x:\n    y =  1  \n```\nb  c") == "a\n```\nif x:\n    y =  1\n```\nb c"
