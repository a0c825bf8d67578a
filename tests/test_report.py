"""The page and the terminal view, on made-up runs in a real run's layout: what they say, what not, and at what size."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import threading
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_run import BEGAN, HOSTILE, make
from rich.console import Console

from raro import terminal
from raro.demonstrations import sheet
from raro.report import charts, critics, curves, page, provenance, reading
from raro.report.live import View
from raro.report.stages import Stages, duration
from raro.tracking import events
from raro.tracking.events import Events

VOID = {"meta", "br", "link", "img", "input", "hr"}
LARGEST = 1_500_000


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    return make(tmp_path_factory.mktemp("runs") / "finished")


class Reader(HTMLParser):
    """Text, ids and attributes of a page; elements close where they were opened, and no level of headings is left out."""

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.headings: list[str] = []
        self.level = 0
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if re.fullmatch("h[1-6]", tag):
            assert int(tag[1]) <= self.level + 1, f"<{tag}> below <h{self.level}>"
            self.level = int(tag[1])
        self.ids += [given["id"]] if "id" in given else []
        self.addresses += [v for k, v in attributes if k in ("src", "href", "xlink:href", "action", "data", "poster")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)
            if self.open[-1] in ("h1", "h2"):
                self.headings.append(data.replace("\u00a0", " "))

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def read_page(run: Path) -> tuple[str, Reader]:
    html = page.write(run).read_text(encoding="utf-8")
    assert len(html.encode()) < LARGEST
    return html, Reader(html)


def plain(width: int = 80, **more) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=False, **more)


def said(console: Console) -> str:
    return console.file.getvalue()


# ------------------------------------------------------------------------------------------------------------------ the page


def test_the_page_answers_in_the_order_a_person_asks(finished):
    html, read = read_page(finished)
    outcome, *sections = read.headings
    assert outcome.startswith("The candidate became champion: sampled, it solves 38.4 % of 2,000 unseen problems")
    assert "base 14.7 %" in outcome and "warm start 15.1 %" in outcome
    assert sections[:4] == ["The gate", "Accuracy", "Evidence besides the score", "Items"]
    assert sections[4:7] == ["Training", "Readings without a verifier", "How well blind signals tracked accuracy"]
    assert sections[7:] == ["Judged pairs", "Data", "Stages", "Provenance"]
    for told in (
        "36.4 to 40.4",
        "+21.3 to +26.1",
        "gate at 60 %",
        "duplicate 19",
        "5:12",
        "raro.gate",
        "models:/countdown-mini@champion",
        "15 of 15 rules passed",
        "it named the expert's in 93.8 %",
        "the expert's got more points from the judge, equal ones counting half, in 90.0 %",
        "guessing gets 20.0 %",
        "Its figures cannot be used: no better than chance.",
        "of the 10 that the base declines, the candidate declines 9",
    ):
        assert told in read.text, told


def test_the_tournament_is_drawn_over_numbers_of_answers(tmp_path):
    """In the layout of scaling.compare, with and without its curve."""
    run = make(tmp_path / "run", steps=2)
    path = run / "evaluation.json"
    evaluation = json.loads(path.read_text())
    scores = {arm: [0.5, 0.4, 0.6] for arm in critics.RIVALS}
    found = {"n": 4, "items": 60, "system": "single", "votes": 2, "ties": "backed", "tokens": {"answers": 75, "critic": 25}}
    found |= {"answers": {"written": 5.5, "all": 9.0}, "scores": scores, "paired": {"tournament-single": [0.1, 0.0, 0.2]}}
    for curve in ({}, {"curve": {"n": [1, 2, 4], "scores": {arm: [[at, 0, 1] for at in (0.2, 0.3, 0.5)] for arm in scores}}}):
        path.write_text(json.dumps(evaluation | {"tournament": found | curve}))
        _, read = read_page(run)
        assert "4 answers to each of 60 test problems" in read.text and "The critic wrote 25.0 %" in read.text
        told = "Score by 1, 2, 4 answers per problem, and for as many tokens: the critic's tournament 20.0, 30.0, 50.0 %"
        assert (told in read.text) == bool(curve)


def test_a_judge_that_failed_leaves_its_reason_and_no_figure(tmp_path):
    run = make(tmp_path / "run", steps=2)
    path = run / "evaluation.json"
    evaluation = json.loads(path.read_text())
    refused = {"status": "refused", "why": "its endpoint is down"}
    path.write_text(json.dumps(evaluation | {"judge": refused, "rubrics": refused}))
    _, read = read_page(run)
    assert read.text.count("Its figures cannot be used: its endpoint is down.") == 2
    assert "cases the judge said for each criterion" not in read.text and "In a single order it named" not in read.text


def test_the_page_needs_no_network(finished):
    html, read = read_page(finished)
    assert all(address.startswith("#") for address in read.addresses)
    assert not re.search(r"url\((?!#)|@import|<link|fetch\(|XMLHttp", html)
    assert len(read.ids) == len(set(read.ids))
    assert set(re.findall(r"url\(#([^)]+)\)", html)) <= set(read.ids)


def test_every_chart_says_in_words_what_it_shows(finished):
    html, _ = read_page(finished)
    drawn = re.findall(r"<svg[^>]*>.{0,12}", html)
    assert len(drawn) >= 18
    assert all('role="img"' in svg and 'aria-label="' in svg and svg.endswith("<title>") or "<title>" in svg for svg in drawn)
    assert "at the end: expert" in html


def test_colours_are_the_pages_own(finished):
    """Nothing of the stand-ins is left, and no colour that dark mode could not change."""
    html, _ = read_page(finished)
    body = html[html.index("</style>") :]
    assert "#0a0b" not in body
    assert not re.search(r"(fill|stroke): ?#[0-9a-f]{3,6}", body)


def luminance(colour: str) -> float:
    """Of #rrggbb, as WCAG 2 defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_words_stand_out_from_their_paper_in_the_light_and_in_the_dark():
    style = (Path(page.__file__).parent / "style.css").read_text(encoding="utf-8")
    light, dark = (dict(re.findall(r"--(\w+): (#\w{6});", part)) for part in style.split("@media")[:2])
    for told in (light, dark):
        for name in ("ink", "soft", "policy", "critic", "accent", "good", "hold", "bad", "plain"):
            lighter, darker = sorted((luminance(told[name]), luminance(told["paper"])), reverse=True)
            assert (lighter + 0.05) / (darker + 0.05) >= 4.5, name


def test_what_models_and_users_wrote_is_shown_not_run(tmp_path):
    html, read = read_page(make(tmp_path / "run", hostile=True))
    assert HOSTILE in read.text
    assert (
        html.count("<script") == 3 and html.count("</script>") == 3 and "<b>&quot;bold" not in html and '<b>"bold' not in html
    )


def test_half_a_character_in_a_quarantined_row_does_not_cost_the_page(tmp_path):
    run = make(tmp_path / "run", steps=2)
    row = {"row": 52, "reason": "encoding", "detail": "", "text": {"question": "Stra\udcdfe"}}
    (run / "ingest" / "quarantine.jsonl").write_text(json.dumps(row) + "\n")
    assert "Stra\\udcdfe" in page.write(run).read_text("utf-8")


def test_private_text_stays_out(tmp_path):
    run = make(tmp_path / "run", show_text=False)
    texts = ("question", "expert", "policy", "policy_thought")
    private = {"step": 0, "outcome": "tie"} | dict.fromkeys(texts, "SECRET")
    (run / "train" / "pairs.jsonl").write_text(json.dumps(private) + "\n")
    (run / "ingest" / "quarantine.jsonl").write_text(
        json.dumps({"row": 1, "reason": "tags", "detail": "", "text": "SECRET"}) + "\n"
    )
    html, read = read_page(run)
    assert "SECRET" not in html
    assert "does not show questions and answers" in read.text
    assert "38.4 %" in read.text
    (run / "config.json").unlink()  # nobody said that text may be shown
    assert "SECRET" not in read_page(run)[0]


@pytest.mark.parametrize(
    ("decision", "badge", "sentence"),
    [
        ("promote", "Promoted", "became champion"),
        ("hold", "Held", "waits for a person"),
        ("reject", "Rejected", "was rejected"),
        ("nothing-new", "Nothing new", "nothing new to train on"),
    ],
)
def test_each_outcome_has_its_sentence(tmp_path, decision, badge, sentence):
    _, read = read_page(make(tmp_path / "run", steps=20, decision=decision))
    assert sentence in read.headings[0] and badge in read.text


def test_a_failed_run_says_what_failed_why_and_what_to_do(tmp_path):
    _, read = read_page(make(tmp_path / "run", fail_at="ingest"))
    assert read.headings[0].startswith("The run failed in ingest: 812 of 4,000 rows are quarantined")
    assert "What to do: fill the column in every row" in read.text
    assert "Accuracy" not in read.headings and "Training" not in read.headings
    assert "missing column" in read.text and "not reached" in read.text


def test_an_interrupted_run_shows_its_curves_so_far(tmp_path):
    _, read = read_page(make(tmp_path / "run", fail_at="train"))
    assert read.headings[0] == "The run was interrupted in train."
    assert "Training" in read.headings and "checkpoints/step-000100" in read.text


def test_any_file_may_be_missing_or_broken(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "panels", lambda record: [])  # seconds each time; the interrupted run lacks half of them
    monkeypatch.setattr(charts, "intervals", lambda *rows, **more: "")
    monkeypatch.setattr(charts, "curves", lambda *rows, **more: "")
    finished = make(tmp_path / "finished", steps=20)
    names = [path.relative_to(finished) for path in finished.rglob("*") if path.is_file() and path.name != "report.html"]
    assert len(names) > 15
    run = shutil.copytree(finished, tmp_path / "run")
    for name in names:
        whole = (run / name).read_bytes()
        for broken in (None, whole[: len(whole) // 2]):
            (run / name).unlink()
            if broken is not None:
                (run / name).write_bytes(broken)
            record = reading.read(run)
            assert page.content(record)["headline"]["sentence"]
            (run / name).write_bytes(whole)
    (tmp_path / "empty").mkdir()
    _, read = read_page(tmp_path / "empty")
    assert read.headings[0] == "The run has not reached a decision."


def test_a_long_run_makes_no_large_page(tmp_path):
    html, _ = read_page(make(tmp_path / "run", steps=4000))
    assert len(html) < 800_000


def test_a_resumed_step_counts_once(finished):
    record = reading.read(finished)
    again = {"stage": "train", "kind": "metrics", "step": 7, "values": {"policy/reward": 9.0, "broken": float("nan")}}
    record.happened.append(again)
    series = record.series("train")
    assert len(series["policy/reward"]) == 200 and dict(series["policy/reward"])[7] == 9.0 and "broken" not in series


def test_settings_that_differ_from_the_defaults_come_first(finished):
    rows = provenance.settings(reading.read(finished).config)
    differing = [row["differs"] for row in rows]
    assert differing == sorted(differing, reverse=True)
    gate = next(row for row in rows if row["key"] == "raro.gate")
    assert (gate["value"], gate["default"]) == ("0.6", "0") and "the policy waits" in gate["doc"]


def test_a_list_in_a_file_is_the_tuple_of_its_default(finished):
    """JSON has no tuples: what was left alone does not count as changed."""
    config = json.loads((finished / "config.json").read_text())
    untouched = provenance.settings({"resources": {"processes": 1}, "demonstrations": {"licences": [], "split": "half"}})
    assert [row["key"] for row in untouched if row["differs"]] == ["demonstrations.split"]
    rows = provenance.settings(config)
    assert not [
        row["key"] for row in rows if row["differs"] and row["value"] in ("[]", "()") and row["default"] in ("[]", "()")
    ]
    assert "(O) our choice" in page.html(finished)


def test_what_the_blind_signals_say_stands_in_the_headline(tmp_path):
    run = make(tmp_path / "run", steps=20)
    path = run / "train" / "train.json"
    alarms = [{"guard": "tie", "step": 96, "why": "ties of .95", "action": "warn"}]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"alarms": alarms}))
    html = page.html(run)
    box = html[html.index('class="headline') : html.index('id="gate"')]
    tones = [row["tone"] for row in page.readings(reading.read(run))]
    assert f"{tones.count('amber')} amber of {len(tones)} readings</a>" in box and 'href="#readings"' in box
    assert '<a href="#alarms" class="tone-bad">1 alarm in training (tie, step 96)</a>' in box
    nav = html[html.index("<nav") : html.index("</nav>")]
    shown = [id for id in ("readings", "critics", "selection", "matrix", "tournament") if f'<section id="{id}"' in html]
    assert "readings" in shown and [id for id in shown if f'href="#{id}"' not in nav] == []
    assert page.signs([], []) is None
    assert page.signs([{"tone": "red"}, {"tone": "green"}], alarms * 5) == {
        "tone": "bad",
        "readings": "1 red of 2 readings",
        "alarms": "5 alarms in training (tie, step 96; tie, step 96; tie, step 96; 2 more)",
    }


def cells(html: str) -> list[list[str]]:
    """The text of each row's cells in the table of items."""
    table = html[html.index('id="items-table"') :]
    body = table[table.index("<tbody>") : table.index("</tbody>")]
    words = lambda cell: re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", cell)).strip()  # noqa: E731
    return [[words(cell) for cell in row.split("<td>")[1:]] for row in body.split("<tr>")[1:]]


@pytest.mark.parametrize("scripted", [False, pytest.param(True, marks=pytest.mark.check)])
def test_no_arms_mark_stands_under_the_experts_answer(finished, tmp_path, scripted):
    html = page.html(finished)
    if scripted:
        chromium = shutil.which("chromium") or pytest.skip("needs Chromium")
        (tmp_path / "page.html").write_text(html, encoding="utf-8")
        options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'browser'}", "--dump-dom"]
        address = (tmp_path / "page.html").as_uri()
        html = subprocess.run([chromium, *options, address], capture_output=True, text=True, timeout=120).stdout
    rows = cells(html)
    assert len(rows) == 25 and all(len(row) == 6 for row in rows)
    for _, _, expert, candidate, champion, others in rows:
        assert (
            not re.search("right|wrong", expert) and re.search("right|wrong", candidate) and re.search("right|wrong", champion)
        )
        assert re.fullmatch(
            r"Other arms base (✓ right|✕ wrong) warm start (✓ right|✕ wrong) SFT rival (✓ right|✕ wrong)", others
        )


def test_the_gate_is_marked_where_it_opened():
    shut = {"game/gate_open": [(1, 0.0), (2, 0.0), (3, 1.0), (4, 1.0)]}
    assert curves.gate_opened(shut) == (3, "gate opens")
    assert curves.gate_opened({"game/gate_open": [(1, 1.0), (2, 1.0)]}) is None
    assert curves.gate_opened({}) is None


def test_the_data_card_fits_a_phone_the_dark_and_its_numbers():
    html = sheet.html("x", [sheet.Section("Lengths", "", ("part", "mean"), [("question", 41.5)])])
    assert '<meta name="viewport"' in html and '<meta name="color-scheme" content="light dark">' in html
    assert "<th>part</th>" in html and '<th class="number">mean</th>' in html and "prefers-color-scheme:dark" in html
    report = (Path(page.__file__).parent / "style.css").read_text(encoding="utf-8")
    assert "unicode-bidi:plaintext" in html and "unicode-bidi: plaintext" in report  # Arabic begins at the right


# -------------------------------------------------------------------------------------------------------------------- charts

points = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=900).map(lambda values: list(enumerate(values, 1)))


@given(points, st.integers(3, 400))
def test_thinning_keeps_the_ends_and_the_range(line, most):
    thin = charts.thinned(line, most)
    assert len(thin) <= max(most, 1) and thin[0][0] == 1 and thin[-1][0] == len(line)
    values = [value for _, value in line]
    assert all(min(values) - 1e-6 <= value <= max(values) + 1e-6 for _, value in thin)


@given(points)
def test_smoothing_keeps_the_steps_and_the_range(line):
    smooth = charts.smoothed(line)
    assert [step for step, _ in smooth] == [step for step, _ in line]
    values = [value for _, value in line]
    assert all(min(values) - 1e-3 <= value <= max(values) + 1e-3 for _, value in smooth)


def test_smoothing_reaches_no_further_where_points_lie_far_apart():
    """Every step until 25, then one in five: a fall at step 60 is drawn there, not before."""
    line = [(step, 1.0 if step < 60 else 0.0) for step in [*range(1, 26), *range(30, 121, 5)]]
    smooth = dict(charts.smoothed(line))
    assert smooth[50] == 1.0 and smooth[55] == pytest.approx(2 / 3) and smooth[65] == 0.0
    even = [(step, float(step % 7)) for step in range(200)]
    mean = sum(value for _, value in even[93:108]) / 15  # 8 % of the steps
    assert dict(charts.smoothed(even))[100] == pytest.approx(mean)


def test_a_chart_names_its_axis_and_its_lines_and_reaches_what_it_is_told():
    low = charts.Line(label="low", points=[(0, 0.1), (9, 0.2)], colour="policy", style="dashed")
    lead = charts.Line(label="lead", points=[(0, 0.1), (9, 0.21)], colour="accent", strong=True)
    drawn = charts.curves([low, lead], title="t", kind="share", x_label="training step", top=0.55, ends=True)
    assert ">training step</text>" in drawn and ">60 %</text>" in drawn and ">lead</text>" in drawn and ">low</text>" in drawn
    heights = {name: float(re.search(rf'y="([\d.]+)"[^>]*>{name}</text>', drawn)[1]) for name in ("lead", "low")}
    assert heights["low"] - heights["lead"] > 10, "names do not lie over one another"
    widths = {name: re.search(rf"stroke: var\(--{name}\); stroke-width: ([\d.]+)", drawn)[1] for name in ("accent", "policy")}
    assert float(widths["accent"]) > float(widths["policy"])
    assert [key["style"] for key in charts.legend([low, lead])] == ["dashed", "solid strong"]
    alone = charts.curves([low], title="t", kind="share", mark=(3, "gate opens"))
    assert float(re.search(r'y="([\d.]+)"[^>]*>gate opens</text>', alone)[1]) < 20, "above every line"


@pytest.mark.parametrize("values", [[0.5], [0.0, 0.0], [1e-9, 2e-9], [5e6, 6e6], [-3.0, 4.0]])
def test_a_chart_of_any_range_is_drawn(values):
    line = charts.Line(label="a", points=list(enumerate(values)), colour="policy")
    for kind in ("number", "share"):
        assert charts.curves([line], title="<a & b>", kind=kind).count("&lt;a &amp; b&gt;") == 2
    assert charts.curves([line], title="same") == charts.curves([line], title="same")


# -------------------------------------------------------------------------------------------------------------------- stages


def event(stage: str, kind: str, at: float, **fields) -> dict:
    return {"time": BEGAN + at, "stage": stage, "kind": kind, **fields}


def test_time_left_follows_the_recent_speed():
    stages = Stages().take([event("train", "start", 0, total=None), event("train", "start", 1, total=100)])
    stages.take([event("train", "progress", 10 + 2 * i, done=50 + i, total=100) for i in range(11)])  # resumed at 50
    assert stages["train"].left(BEGAN + 30) == pytest.approx(2 * 40)
    assert stages["train"].left(BEGAN + 35) == pytest.approx(2 * 40 - 5)
    stages.take([event("train", "progress", 31, done=0, total=30)])  # another chunk of work begins
    assert stages["train"].left(BEGAN + 31) is None


def test_a_new_launch_forgets_the_last_one():
    first = [event("preflight", "start", 0), event("preflight", "done", 1, seconds=1.0), event("train", "start", 2)]
    stages = Stages().take([*first, event("train", "failed", 3, failure={"line": "no"})])
    assert stages["train"].status == "failed"
    stages.take([event("preflight", "start", 100), event("preflight", "done", 101, seconds=1.0)])
    assert stages["train"].status == "waiting" and stages.began == BEGAN + 100
    stages.take([event("ingest", "skipped", 102), event("evaluate", "start", 103)])
    assert stages["ingest"].status == "kept" and stages.passed_over(stages["warmstart"])
    assert stages.overhead() == pytest.approx((2.0, 1.0))


def test_a_launch_that_kept_every_stage_has_no_overhead(tmp_path):
    stages = Stages().take([event("ingest", "skipped", 1), event("train", "skipped", 1)])
    assert stages.overhead() is None
    run = make(tmp_path / "run", steps=2)
    names = ("ingest", "warmstart", "train", "evaluate", "decide", "register")
    events = [event("preflight", "start", 900)] + [event(name, "skipped", 900) for name in names]
    with (run / "events.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(one) + "\n" for one in events)
    _, read = read_page(run)
    assert "from the first event to the last" not in read.text and "already done" in read.text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1:00"), (125, "2:05"), (3725, "1:02:05"), (None, "")],
)
def test_durations_are_short(seconds, text):
    assert duration(seconds) == text


# ------------------------------------------------------------------------------------------------------------------ terminal


def test_without_a_terminal_one_line_tells_each_end(finished):
    console = plain()
    terminal.follow(finished, lambda: False, console)
    lines = said(console).splitlines()
    assert lines[0] == "preflight done in 1.4 s" and "train done in 5:12" in lines
    assert any("quarantined" in line for line in lines)
    assert len(lines) < 12


def test_plain_lines_are_no_more_than_one_each_quiet_spell(tmp_path, monkeypatch):
    monkeypatch.setattr(terminal, "QUIET", 0.5)
    monkeypatch.setattr(terminal, "PAUSE", 0.02)
    pen, console = Events(tmp_path, "train"), plain()
    pen.start(60)

    def work():
        for done in range(1, 61):
            pen.metrics(done, {"policy/reward": 0.3, "critic/accuracy": 0.7, "game/gate_open": 1.0})
            pen.progress(done, 60)
            time.sleep(0.02)
        pen.done({}, 1.2)

    worker = threading.Thread(target=work)
    worker.start()
    terminal.follow(tmp_path, worker.is_alive, console)
    *going, end = said(console).splitlines()
    assert 1 <= len(going) <= 3 and end == "train done in 1.2 s"
    assert re.fullmatch(r"train \d+/60: .* left, policy reward 0.30, critic accuracy 70 %, gate open", going[0])


def test_the_choice_of_the_candidate_is_not_told_as_steps(tmp_path):
    pen, stages = Events(tmp_path, "train"), Stages()
    pen.start(6)
    pen.metrics(6, {"policy/reward": 0.3})
    pen.progress(6, 6, "steps")
    told = stages.take(events.read(tmp_path)[0])["train"]
    assert "policy reward 0.30" in terminal._going(told, time.time())
    pen.progress(4, 42, "choosing the candidate")
    view, console = View(tmp_path, Console(file=io.StringIO(), width=80, height=30, force_terminal=True)), plain()
    view.look()
    console.print(view)
    assert "choosing the candidate" in said(console) and "train, step 6 " in said(console) and "step 6 of" not in said(console)
    assert re.fullmatch(r"train 4/42: .*, choosing the candidate", terminal._going(view.stages["train"], time.time()))


@pytest.mark.parametrize("width", [24, 40, 80, 200])
@pytest.mark.parametrize("fail_at", ["", "ingest", "train"])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_live_view_fits_its_window(tmp_path, width, fail_at, encoding):
    run = make(tmp_path / "run", steps=30, fail_at=fail_at)
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=file, width=width, height=30, force_terminal=True, color_system=None)
    view = View(run, console)
    view.look(going=False)
    with console.capture() as capture:
        console.print(view)
    shown = capture.get()
    assert all(len(line) <= width for line in shown.splitlines())
    shown.encode(encoding)
    if width >= 80:
        assert ("warm start" in shown) and (fail_at != "ingest" or "812 of 4,000" in shown)


def test_the_live_view_tells_the_game(tmp_path):
    run = make(tmp_path / "run", fail_at="train")
    console = Console(file=io.StringIO(), width=80, height=30, force_terminal=True, color_system=None)
    view = View(run, console)
    view.look()
    with console.capture() as capture:
        console.print(view)
    shown = capture.get()
    for told in (
        "step 100 of 200",
        "rewards",
        "expert",
        "malformed",
        "gate",
        "open",
        "tie reward 0.55",
        "dev",
        "tokens/s",
        "interrupted",
    ):
        assert told in shown, told


def test_the_live_view_ends_by_itself_and_forgets_an_earlier_launch(tmp_path):
    run = make(tmp_path / "run", steps=20)
    Events(run, "finish").done({}, 1.0)
    console = Console(file=io.StringIO(), width=80, height=30, force_terminal=True, color_system=None)
    turns = iter([True, False])
    terminal.follow(run, lambda: next(turns), console)
    assert "promote" not in said(console)
    terminal.follow(run, lambda: False, console)
    assert "promote" in said(console)


def test_the_summary_ends_with_what_to_open_and_type(finished, monkeypatch):
    page.write(finished)
    (finished / "mlflow.db").touch()
    monkeypatch.chdir(finished.parent)
    console = plain()
    terminal.summary(finished, console)
    told = said(console)
    (finished / "mlflow.db").unlink()
    assert re.search(r"candidate +30\.1 +28\.2 to 32\.0 +38\.4 +36\.4 to 40\.4", told)
    assert "Promoted" in told and "It becomes champion." in told
    assert "report:        finished/report.html" in told
    mlflow = Path(sys.executable).parent / "mlflow"
    assert f"{mlflow} ui --backend-store-uri sqlite:///finished/mlflow.db" in told
    assert max(len(line) for line in told.splitlines() if "mlflow" not in line and "init" not in line) <= 80


def test_the_summary_of_a_failure_says_how_to_go_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    console = plain()
    terminal.summary(make(tmp_path / "a run", fail_at="train"), console)
    told = said(console)
    assert "Interrupted in train." in told and "start again with the same --output" in told
    assert "run --output 'a run'" in told and "checkpoints/step-000100" in told
    console = plain()
    terminal.summary(make(tmp_path / "b", fail_at="ingest"), console)
    assert "Failed in ingest: 812 of 4,000 rows" in said(console) and "fill the column" in said(console)
    assert "once fixed:" in said(console)


def test_the_summary_of_nothing_is_no_error(tmp_path):
    console = plain()
    terminal.summary(tmp_path, console)
    assert "not reached a decision" in said(console)
