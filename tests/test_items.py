"""The report's comparisons and its table of items: what is shown, in which order, of whom, and how it behaves in a browser."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest
from made_evaluation import drawn
from made_run import HOSTILE, make

from raro.report import comparison, page, reading
from raro.report.items import CHARACTERS, MOST, items
from raro.report.template import embedded

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    return make(tmp_path_factory.mktemp("runs") / "finished", steps=20)


def held(html: str) -> dict:
    """The data that the page's script reads."""
    return json.loads(re.search(r'id="items-data">(.*?)</script>', html, re.S).group(1))


def rewrite(run: Path, rows: list[dict]) -> None:
    (run / "evaluate" / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


# ---------------------------------------------------------------------------------------------------------------- comparisons


def test_every_rule_is_shown_with_its_reason_and_all_its_figures(finished):
    record = reading.read(finished)
    rules = record.decision["evidence"]["rules"]
    rows = comparison.gate(record)
    assert {row["rule"] for row in rows} == {rule["rule"] for rule in rules} and len(rules) > 8
    html = unescape(page.write(finished).read_text())
    for rule in rules:
        assert rule["why"] in html
        shown = next(row for row in rows if row["rule"] == rule["rule"])
        numbers = [value for _, value in reading.flatten(rule["figures"]) if isinstance(value, (int, float))]
        assert len(shown["figures"]) >= len(numbers)
        assert all(f"{value:.4g}" in [text for _, text in shown["figures"]] for value in numbers)


def test_rules_that_failed_come_first(finished):
    record = reading.read(finished)
    rules = record.decision["evidence"]["rules"]
    rules[-1]["outcome"], rules[3]["outcome"] = "reject", "hold"
    outcomes = [row["outcome"] for row in comparison.gate(record)]
    assert outcomes[:3] == ["failed: reject", "failed: hold", "passed"]


def test_tests_show_the_corrected_chance_only_of_rivals_that_must_be_beaten(finished):
    rows = comparison.tests(reading.read(finished))
    assert len(rows) == 8 and all(row["p"] for row in rows)
    assert {row["arm"] for row in rows if not row["corrected"]} == {"SFT rival"}
    found = drawn()[0]["tests"]["sampled"]["base"]
    row = next(row for row in rows if (row["way"], row["arm"]) == ("sampled", "base"))
    assert (row["wins"], row["losses"]) == (found["mcnemar"]["wins"], found["mcnemar"]["losses"])


@pytest.mark.parametrize(("p", "told"), [(None, ""), (0.0005, "< 0.001"), (0.001, "0.001"), (0.0312, "0.031"), (1.0, "1.000")])
def test_a_chance_is_never_shown_as_nothing(p, told):
    assert comparison.chance(p) == told


def test_one_drawn_answer_has_no_curve(finished):
    record = reading.read(finished)
    assert comparison.pass_at(record)["ks"] == [1, 2, 4] and comparison.pass_at(record)["svg"]
    record.evaluation["pass_at"] = {arm: curve[:1] for arm, curve in record.evaluation["pass_at"].items()}
    assert comparison.pass_at(record) is None
    record.evaluation["pass_at"] = {}
    assert comparison.pass_at(record) is None


def test_a_judge_that_failed_has_no_figures(finished):
    record = reading.read(finished)
    judge = record.evaluation["judge"]
    record.evaluation["judge"] = {key: judge[key] for key in ("judge", "prompt", "spent")} | {
        "status": "refused",
        "why": "it did not answer",
    }
    shown = page.content(record)["evidence"]["judge"]
    assert shown["why"] == "it did not answer" and not {"chart", "rows", "n"} & shown.keys()
    (finished / "evaluation.json").write_text(json.dumps(record.evaluation))
    assert "Its figures cannot be used: it did not answer." in page.write(finished).read_text()


def test_an_evaluation_of_an_earlier_version_is_shown_as_far_as_it_goes(tmp_path):
    run = make(tmp_path / "run", steps=20)
    evaluation = json.loads((run / "evaluation.json").read_text())
    old = {key: evaluation[key] for key in ("benchmark", "n", "samples", "greedy", "sampled", "paired", "decision")}
    (run / "evaluation.json").write_text(json.dumps(old))
    (run / "decide" / "decision.json").write_text(json.dumps({"decision": "promote", "reasons": [], "evidence": {}}))
    (run / "evaluate" / "items.jsonl").write_text(json.dumps({"question": "q", "greedy": {"candidate": 1.0}}) + "\n")
    html = page.write(run).read_text()
    assert "38.4 %" in html and not re.search(r'id="(gate|evidence|items|strata)"', html)


# ---------------------------------------------------------------------------------------------------------------------- items


def test_items_on_which_the_two_arms_differ_come_first(finished):
    shown = items(reading.read(finished))
    data = shown["data"]
    assert (data["arms"][data["first"]], data["arms"][data["second"]]) == ("candidate", "former champion")
    gaps = [abs(row[4][0][data["first"]] - row[4][0][data["second"]]) for row in data["rows"]]
    assert gaps == sorted(gaps, reverse=True) and 0 < sum(gaps) < len(gaps) == 400
    by_line = dict(enumerate(drawn()[1], 1))
    for line, question, expert, answers, scores, labels in data["rows"][:50]:
        row = by_line[line]
        assert (question, expert, answers[data["first"]]) == (row["question"], row["expert"], row["answers"]["candidate"])
        assert scores[1][data["second"]] == row["sampled"]["champion"]
        assert data["strata"]["difficulty"][labels[0]] == row["strata"]["difficulty"]


def test_the_table_without_a_script_is_the_first_rows(finished):
    html = page.write(finished).read_text()
    table = html[html.index('id="items-table"') : html.index("</table>", html.index('id="items-table"'))]
    first = held(html)["rows"][0]
    assert table.count("<tr>") == 1 + 25 and first[1] in table and ("✓ right" in table) and ("✕ wrong" in table)


def test_text_stays_out_of_the_page_where_it_may_not_be_shown(tmp_path):
    run = make(tmp_path / "run", steps=20, show_text=False)
    rows = [dict(row, question="SECRET", expert="SECRET", answers={"candidate": "SECRET"}) for row in drawn()[1]]
    rewrite(run, rows)  # whatever the file holds
    html = page.write(run).read_text()
    assert "SECRET" not in html and held(html)["text"] is False and len(held(html)["rows"]) == 400
    assert "does not show questions and answers" in html


def test_nothing_that_was_written_ends_the_data(tmp_path):
    html = page.write(make(tmp_path / "run", steps=20, hostile=True)).read_text()
    assert any(HOSTILE in row[1:4] for row in held(html)["rows"])
    evil = {"</script><script>": "<!-- & \u2028 ]]> \\u003c \udc00"[:-1]}
    assert not re.search("[<>&\u2028]", embedded(evil)) and json.loads(embedded(evil)) == evil


def test_likeness_calls_nothing_right_or_wrong_even_where_it_is_none(tmp_path):
    run = make(tmp_path / "run", steps=20)
    assert items(reading.read(run))["data"]["checked"]
    evaluation = json.loads((run / "evaluation.json").read_text("utf-8"))
    (run / "evaluation.json").write_text(json.dumps(evaluation | {"benchmark": "held_out"}), "utf-8")
    rewrite(run, [row | {"greedy": dict.fromkeys(row["greedy"], 0.0)} for row in drawn()[1][:5]])
    assert not items(reading.read(run))["data"]["checked"]


def test_a_critic_without_a_verdict_is_told_so_without_figures(tmp_path):
    run = make(tmp_path / "run", steps=20)
    evaluation = json.loads((run / "evaluation.json").read_text("utf-8"))
    critic = {"health": {"n": 0, "told": None, "by_kind": {}}, "status": "refused", "why": "none could be read"}
    evaluation["experts"]["critics"] = {"candidate": critic}
    (run / "evaluation.json").write_text(json.dumps(evaluation), "utf-8")
    html = page.write(run).read_text("utf-8")
    assert "critic of the candidate: no verdict" in html and "critic of the candidate: recognised" not in html


def test_the_page_stays_small_whatever_the_answers_are(tmp_path):
    run, rng = make(tmp_path / "run", steps=20), random.Random(3)
    arms = list(drawn()[1][0]["greedy"])
    text = "x" * 600
    rows = [
        {"question": text, "expert": text, "answers": dict.fromkeys(arms, text), "greedy": {arm: rng.random() for arm in arms}}
        for _ in range(MOST + 500)
    ]
    rewrite(run, rows)
    shown = items(reading.read(run))
    assert (shown["n"], shown["shown"], shown["data"]["checked"]) == (MOST + 500, MOST, False)
    assert len(embedded(shown["data"])) < 4 * CHARACTERS
    rewrite(run, rows[:100])
    shown = items(reading.read(run))
    assert shown["longest"] is None and len(embedded(shown["data"])) < CHARACTERS


# -------------------------------------------------------------------------------------------------------------- in a browser

DRIVER = """
<script>
const said = [], at = id => document.getElementById("items-" + id);
const rows = () => [...at("table").tBodies[0].rows].map(row => [...row.cells].map(cell => cell.innerText));
const pick = (id, value) => { at(id).value = value; at(id).dispatchEvent(new Event("change")); };
const press = text => [...at("outcomes").children].find(one => one.textContent.startsWith(text)).click();
const buttons = () => [...at("outcomes").children].map(one => one.textContent);
const look = name => said.push([name, at("where").textContent, buttons(), rows()]);
look("start");
press("only candidate right"); look("only candidate");
press("all"); at("next").click(); look("second page");
pick("stratum", "0 1"); look("hard");
pick("stratum", ""); pick("second", 0); pick("way", 1); look("base, sampled");
at("words").value = "MAKE 14"; at("words").dispatchEvent(new Event("input")); look("make 14");
const before = performance.now();
for (let i = 0; i < 20; i++) pick("way", i % 2);
said.push(["ms", (performance.now() - before) / 20]);
const out = document.createElement("pre"); out.id = "said"; out.textContent = JSON.stringify(said); document.body.append(out);
</script>
"""


@pytest.mark.check
@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")
def test_the_table_filters_in_a_browser(finished, tmp_path):
    html = page.write(finished).read_text()
    (tmp_path / "driven.html").write_text(html.replace("</body>", DRIVER + "</body>"))
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'browser'}", "--dump-dom"]
    address = (tmp_path / "driven.html").as_uri()
    found = subprocess.run([CHROMIUM, *options, address], capture_output=True, text=True, timeout=120)
    said = json.loads(unescape(re.search(r'<pre id="said">(.*?)</pre>', found.stdout, re.S).group(1)))
    seen = {name: rest for name, *rest in said}
    rows = drawn()[1]
    wins = [i for i, row in enumerate(rows, 1) if row["greedy"]["candidate"] > row["greedy"]["champion"]]
    where, buttons, shown = seen["start"]
    assert where == "1 to 25 of 400" and f"only candidate right {len(wins)}" in buttons
    assert sum(int(button.split()[-1].replace(",", "")) for button in buttons[1:]) == 400
    assert seen["only candidate"][0] == f"1 to 25 of {len(wins)}"
    assert all(int(row[0].split()[-1]) in wins and "right" in row[3] and "wrong" in row[4] for row in seen["only candidate"][2])
    assert seen["second page"][0] == "26 to 50 of 400" and seen["second page"][2][0] != shown[0]
    hard = [row for row in rows if row["strata"]["difficulty"] == "hard"]
    assert seen["hard"][0] == f"1 to 25 of {len(hard)}" and all("hard" in row[1] for row in seen["hard"][2])
    better = sum(row["sampled"]["candidate"] > row["sampled"]["base"] for row in rows)
    assert f"candidate better {better}" in [button.replace(",", "") for button in seen["base, sampled"][1]]
    assert seen["make 14"][2] and all(
        row[1].removeprefix("Question").strip().startswith("Make 14") for row in seen["make 14"][2]
    )
    assert seen["ms"][0] < 500
