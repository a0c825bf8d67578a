"""A study: arms and seeds as runs of their own, equal budgets, one table, resumable; and each method on the loop."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_report import Reader

from raro.config import load
from raro.errors import BadInput
from raro.methods import METHODS
from raro.study import arms, page, pay, picture, plan, run, table

SMALL = """
config: countdown-mini
seeds: [0, 1]
budget: raro
set:
  base.uri: package://countdown-mini
  resources.processes: 1
  warmstart.steps: 1
  warmstart.questions: 4
  warmstart.thoughts: 2
  raro.steps: 3
  raro.questions: 4
  raro.rollouts: 3
  raro.pairs: 8
  raro.verdicts: 2
  raro.gate: 0.0
  raro.tau_ramp: 0
  raro.snapshots: 3
  evaluation.sft_steps: 0
  evaluation.track_every: 0
  evaluation.track_items: 4
  probes.select_items: 8
  probes.select_level: 0.0
  probes.matrix_items: 4
  evaluation.max_items: 30
  evaluation.tournament_items: 30
  evaluation.samples: 2
arms:
  raro: {}
  rlvr: {method: rlvr, raro.steps: 1000, seeds: [1]}
  sft: {method: sft, warmstart.steps: 0, raro.questions: 8}
  frozen: {raro.control: frozen, raro.lambda_crit: 0.0, seeds: [0]}
"""


def studied(output: Path, source: Path, *more: str) -> str:
    command = [sys.executable, "-m", "raro.cli", "study", str(source), "--output", str(output), *more]
    done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> tuple[Path, Path, str]:
    """(the study's file, its output, what it printed)."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "small.yaml").write_text(SMALL + "axes:\n  questions a step: {sft: 8, raro: 4}\n", encoding="utf-8")
    return folder / "small.yaml", folder / "out", studied(folder / "out", folder / "small.yaml")


def trained(output: Path, arm: str, seed: int) -> dict:
    return json.loads((output / arm / f"seed-{seed}" / "train" / "train.json").read_text())


def test_one_table_of_all_arms(study):
    _, output, said = study
    content = json.loads((output / "table.json").read_text())
    assert list(content["arms"]) == ["raro", "base", "warmstart", "rlvr", "sft", "frozen"]
    assert content["n_test"] == 30 and content["seeds"] == [0, 1]
    for name, found in content["arms"].items():
        assert len(found["sampled"]) == len(found["greedy"]) == len(found["seeds"]), name
        assert all(0 <= value <= 1 for way in ("sampled", "greedy") for value in found[way])
    assert content["arms"]["rlvr"]["seeds"] == [1]
    for difference in content["paired"].values():
        mean, low, high = difference["sampled"]
        assert low <= mean <= high
    assert (output / "table.md").read_text() in said
    evaluation = json.loads((output / "raro" / "seed-1" / "evaluate" / "evaluation.json").read_text())
    assert content["arms"]["raro"]["greedy"][1] == pytest.approx(evaluation["greedy"]["candidate"][0])
    assert content["arms"]["base"]["sampled"][1] == pytest.approx(evaluation["sampled"]["base"][0])


def test_the_page_shows_every_arm_and_needs_nothing_beside_it(study):
    _, output, _ = study
    content = json.loads((output / "table.json").read_text())
    shown = (output / "table.html").read_text()
    names = arms.called(content)
    assert names["raro"] == "RARO" and names["warmstart"] == "warm start"
    for name, interval in content["intervals"].items():
        assert f'<th scope="row">{names[name]}' in shown and f"{100 * interval['sampled'][0]:.1f}" in shown
    assert shown.count("<svg") == 3 and "Accuracy by questions a step" in shown
    assert "http" not in shown.replace("http-equiv", "")


def committed(name: str) -> tuple[dict, dict]:
    """(content, curves) of a table in results/."""
    folder = Path(__file__).parents[1] / "results"
    return json.loads((folder / f"{name}.json").read_text()), json.loads((folder / f"{name}-curves.json").read_text())


def test_the_first_screen_tells_what_came_out():
    shown = page.shown(*committed("study-countdown-mini"))
    (sentence,) = shown["headline"]
    assert sentence.startswith("RARO solves 50.8 % sampled (")
    assert sentence.endswith("): 91 % of the gain of the oracle (RLVR, which is paid by the exact checker); base 16.0 %.")
    assert shown["reasons"] == [
        "RARO is surely above SFT (+20.5), RL-Logit (+5.0), rationalization (+9.3), rationalization-of-8 (+26.4) and "
        "DPO (+33.1)",
        "RARO is surely below RLVR (-3.6)",
        "No sure difference between RARO and similarity (+0.2)",
    ]
    assert shown["title"].startswith("RARO, RLVR, SFT") and shown["title"].endswith("study countdown-mini-rivals")
    assert [tile["label"] for tile in shown["tiles"]] == ["base", "warm start", "RARO", "RLVR"]
    assert shown["taught"] and not shown["uneven"] and all(row["says"] for row in shown["rows"])


def test_the_lead_is_not_compared_with_itself(tmp_path):
    html = page.write(*committed("study-countdown-mini"), tmp_path / "t.html").read_text("utf-8")
    beside = html[html.index('<section id="paired">') :].partition("</section>")[0]
    assert re.findall(r'<th scope="row">([^<]*)', beside)[:2] == ["RLVR", "similarity"] and ">RARO<" not in beside
    assert "RARO itself has 91 % sampled and 93 % greedy of the oracle&#39;s gain." in beside
    assert not re.search(r'</th>\s*<td class="number"></td>', beside), "each row has its difference"


def test_likeness_is_not_called_accuracy_and_arms_without_a_budget_have_none_in_common(tmp_path, recwarn):
    content, curves = committed("study-countdown-mini")
    assert "have spent the" in page.write(content, curves, tmp_path / "page.html").read_text("utf-8")
    nothing = {name: dict.fromkeys(found, [0.0, 0.0, 0.0]) for name, found in content["intervals"].items()}
    zeros = {name: found | dict.fromkeys(table.WAYS, [0.0] * len(found["seeds"])) for name, found in content["arms"].items()}
    content |= {"measure": "likeness", "equal": False, "intervals": nothing, "arms": zeros, "share_of_oracle": {}}
    shown = page.write(content, curves, tmp_path / "page.html").read_text("utf-8")
    assert page.shown(content, curves)["headline"][0].startswith("RARO reaches 0.0 % likeness, sampled (")
    assert "Likeness on the test split" in shown
    assert "Test likeness by arm, %" in picture.charts_alone(shown)
    assert "Accuracy" not in shown and "solves" not in shown and "sets no common budget" in shown
    assert "likeness in %" in table.markdown(content)
    assert not [one for one in recwarn if "identical low and high" in str(one.message)]


def test_arms_of_fewer_seeds_or_problems_say_so(tmp_path):
    content, curves = committed("unseen-seeds")
    rows = {row["name"]: row for row in page.shown(content, curves)["rows"]}
    assert (rows["RARO"]["seeds"], rows["RARO"]["problems"]) == (10, "1,000")
    assert (rows["too-fast"]["seeds"], rows["too-fast"]["problems"], rows["too-fast"]["common"]) == (4, "200", (4, 200))
    html = page.write(content, curves, tmp_path / "t.html").read_text()
    assert html.count("<small>one seed: over problems only</small>") == 2 and '<td class="number">1 / 200</td>' in html
    assert "so not the difference of the means" in html and "Seconds" not in html
    given = content | {"problems": dict.fromkeys(content["arms"], 7), "says": {"raro": "told by the table"}}
    told = arms.completed(given)
    assert told["problems"]["too-fast"] == 7 and told["says"]["raro"] == "told by the table"
    unknown = arms.completed(content | {"study": "elsewhere.yaml"})["problems"]
    assert unknown["raro"] == 1000 and "rambling" in unknown, "a multiple of what it was asked is all that can be told"


def test_a_study_says_what_its_arms_are_and_is_the_same_study(tmp_path):
    text = "arms: {raro: {}, other: {raro.steps: 90, seeds: [1]%s}}"
    for name, more in (("said", ', says: "ends sooner"'), ("bare", "")):
        (tmp_path / f"{name}.yaml").write_text(text % more, encoding="utf-8")
    said, bare = (plan.read(str(tmp_path / f"{name}.yaml")) for name in ("said", "bare"))
    assert said.arms[1].says == "ends sooner" and bare.arms[1].says == ""
    assert said.digest == bare.digest and said.arms[1].changes == {"raro.steps": 90}


def test_the_lead_has_one_colour_and_nobody_elses_in_every_chart():
    content, curves = committed("study-countdown-mini")
    shown = page.shown(content, curves)
    for panel in shown["progress"]:
        keys = {key["label"]: (key["colour"], key["style"]) for key in panel["keys"]}
        assert keys.pop("RARO") == ("accent", "solid strong") and "accent" not in {colour for colour, _ in keys.values()}
        assert len(set(keys.values())) == len(keys), "colour and style together name an arm"
        assert ">thousand rollout tokens</text>" in panel["chart"]
    for chart in shown["accuracy"]:
        assert chart.count("var(--accent)") and not [
            hue for hue in page.HUES if f"stroke: var(--{hue})" in chart and hue != "ink"
        ]
    ticks = [re.findall(r">(\d+ %|0)</text>", chart) for chart in shown["accuracy"]]
    assert ticks[0] == ticks[1]
    scales = [re.findall(r">(\d+ %|0)</text>", panel["chart"]) for panel in shown["progress"]]
    assert scales[0] == scales[1]


def test_pages_are_drawn_again_from_their_tables(study, tmp_path, capsys):
    _, output, _ = study
    drawn = (output / "table.html").read_text()
    (output / "table.html").unlink()
    assert page.main([str(output / "table")]) == 0 and (output / "table.html").read_text() == drawn
    assert page.main([]) == 2 and page.main([str(tmp_path / "none")]) == 2 and "none.json" in capsys.readouterr().err


def test_a_picture_holds_the_pages_charts_and_nothing_else(tmp_path, capsys):
    html = page.write(*committed("study-countdown-mini"), tmp_path / "t.html").read_text()
    assert Reader(html).level
    alone = picture.charts_alone(html)
    assert alone.count("<figure>") == alone.count("<svg") == 4
    assert alone.index("Test accuracy by arm, %") < alone.index("On the way there: dev accuracy")
    assert "<table" not in alone and "prefers-color-scheme" not in alone
    assert picture.main([]) == 2 and "remedy" in capsys.readouterr().err
    if picture.main([str(tmp_path / "t")]) == 0:  # where there is a browser
        assert (tmp_path / "t.png").read_bytes()[1:4] == b"PNG"


def test_tournaments_are_pooled_over_seeds(study, capsys):
    from raro.study import tournaments

    _, output, _ = study
    runs = [output / "raro" / f"seed-{seed}" for seed in (0, 1)]
    found = [tournaments.played(run, 2) for run in runs]
    assert set(found[0]["spent"]) == {"written", "all"} and len(found[0]["spent"]["all"]) == found[0]["items"]
    content = tournaments.pooled(found)
    assert content["seeds"] == [0, 1] and content["items"] == len(found[0]["per_item"]["single"])
    mean, low, high = content["paired"]["tournament-single"]
    assert mean == pytest.approx(sum(one["paired"]["tournament-single"][0] for one in found) / 2) and low <= mean <= high
    again = ["--answers", "2", "--seeds", "1", "--system", "swiss"]
    tournaments.main([str(output / "swiss"), str(output), *again])
    told = json.loads((output / "swiss.json").read_text())
    assert (told["system"], told["seeds"]) == ("swiss", [1])
    tournaments.main([str(output / "played"), str(output), "--answers", "2", "--rivals", "raro"])
    told = json.loads((output / "played.json").read_text())
    assert told["scores"].items() >= content["scores"].items()
    assert len(told["scores"]["raro_majority_all"]) == 2 and "tournament-raro_majority_all" in told["paired"]
    assert "tournament" in capsys.readouterr().out


def test_every_arm_once_for_each_budget(tmp_path):
    text = SMALL.replace("budget: raro", "budgets: [500, 1500]").replace("seeds: [0, 1]", "seeds: [0]")
    text = text[: text.index("  sft:")].replace("seeds: [1]", "seeds: [0]").replace("raro.steps: 3", "raro.steps: 1000")
    (tmp_path / "budgets.yaml").write_text(text, encoding="utf-8")
    studied(tmp_path / "out", tmp_path / "budgets.yaml")
    content = json.loads((tmp_path / "out" / "table.json").read_text())
    assert [name for name in content["arms"] if name not in ("base", "warmstart")] == [
        "raro, 0.0005 M", "raro, 0.0015 M", "rlvr, 0.0005 M", "rlvr, 0.0015 M",
    ]  # fmt: skip
    assert {"raro, 0.0005 M-rlvr, 0.0005 M", "raro, 0.0015 M-rlvr, 0.0015 M"} <= set(content["paired"])
    assert "raro, 0.0005 M-rlvr, 0.0015 M" not in content["paired"]
    small, large = (content["spent"][f"raro, {budget} M"]["tokens"] for budget in (0.0005, 0.0015))
    assert 500 <= small < large and large >= 1500
    with pytest.raises(BadInput, match="budget and budgets"):
        (tmp_path / "both.yaml").write_text(text + "budget: raro\n", encoding="utf-8")
        plan.read(str(tmp_path / "both.yaml"))


def test_the_curves_lie_beside_the_table(study):
    _, output, _ = study
    curves = json.loads((output / "table-curves.json").read_text())
    assert set(curves["raro"]) == {"0", "1"} and list(curves["rlvr"]) == ["1"]
    written = curves["rlvr"]["1"]["game/written"]
    assert [step for step, _ in written] == sorted(step for step, _ in written) and all(step % 5 == 0 for step, _ in written)


def test_budgets_are_equal(study):
    _, output, _ = study
    for arm, seed in (("rlvr", 1), ("sft", 0)):
        told, budget = trained(output, arm, seed), trained(output, "raro", seed)["tokens"]
        longest = 4 * 3 * 80 if arm == "rlvr" else 8 * 20
        assert told["tokens"] <= budget + longest, "the last step may go over it, no other"
        assert told["tokens"] >= budget or told["steps"] == 3


def test_a_study_goes_on_where_it_was(study):
    source, output, said = study
    models = {path: path.stat().st_mtime_ns for path in output.rglob("model.safetensors")}
    assert studied(output, source) == said
    assert {path: path.stat().st_mtime_ns for path in output.rglob("model.safetensors")} == models


def test_what_the_policy_is_paid_is_held_against_what_is_right(study, capsys):
    _, output, _ = study
    seeds = [str(output / arm / "seed-1") for arm in ("raro", "rlvr")]
    assert pay.main([*seeds, "--items", "20"]) == 0
    game, oracle = map(json.loads, capsys.readouterr().out.splitlines())
    assert (game["run"], game["step"], game["questions"], game["rollouts"]) == ("raro/seed-1", 3, 20, 3)
    assert 0 <= game["low"] <= game["share"] <= game["high"] < 1 and game["right"] > 0
    assert oracle["share"] == pytest.approx(1) and (oracle["pay_right"], oracle["pay_wrong"]) == (1.0, 0.0)
    assert pay.main([seeds[0], "--items", "20", "--set", "raro.ceiling=0.1"]) == 0
    capped = json.loads(capsys.readouterr().out)
    assert capped["right"] == game["right"] and max(capped["pay_right"], capped["pay_wrong"]) <= 0.1 < game["pay_wrong"]
    for wrong, line in ((["--step", "77"], "no weights of step 77"), (["--set", "raro.colour=3"], "raro.colour")):
        assert pay.main([seeds[0], *wrong]) == 2 and line in capsys.readouterr().err
    assert pay.main([str(output / "sft" / "seed-0")]) == 2 and "pays no answer" in capsys.readouterr().err
    assert pay.main([seeds[0], "--set", "method=dpo"]) == 2 and "pays no answer" in capsys.readouterr().err
    for apart in ([str(output / "frozen" / "seed-0")], [seeds[0], "--set", "raro.critic_model=separate"]):
        assert pay.main(apart) == 2 and "not among its snapshots" in capsys.readouterr().err


def test_the_explained_share_is_that_of_a_regression_within_questions():
    rng, config = np.random.default_rng(0), load("countdown-mini")
    right = (rng.random((200, 8)) < 0.4).astype(float)
    level = rng.random((200, 1))  # a question's own: no part of the share
    exact = pay.explained_share(level + 0.3 * right, right, config)
    assert exact["share"] == pytest.approx(1) and exact["low"] == pytest.approx(1)
    noisy = level + 0.4 * right + rng.normal(0, 0.2, right.shape)
    found = pay.explained_share(noisy, right, config)
    within = [values - values.mean(axis=1, keepdims=True) for values in (noisy, right)]
    assert found["share"] == pytest.approx(np.corrcoef(within[0].ravel(), within[1].ravel())[0, 1] ** 2)
    assert found["low"] < found["share"] < found["high"] and found["high"] - found["low"] < 0.1
    assert pay.explained_share(rng.random(right.shape), right, config)["share"] < 0.01
    assert pay.explained_share(np.ones_like(right), right, config)["share"] == 0


def test_a_run_that_fails_by_bad_input_fails_the_study_so(tmp_path):
    (tmp_path / "lost.yaml").write_text("arms: {raro: {demonstrations.source: nowhere.jsonl}}", encoding="utf-8")
    with pytest.raises(BadInput, match="raro, seed 0: .*'nowhere.jsonl' does not exist"):
        run.run(plan.read(str(tmp_path / "lost.yaml")), tmp_path / "out", 1)


@pytest.mark.parametrize("side_by_side", [1, 2])
def test_a_run_of_another_configuration_is_not_taken(study, tmp_path, side_by_side):
    source, output, _ = study
    other = tmp_path / "small.yaml"
    other.write_text(SMALL.replace("raro.questions: 4", "raro.questions: 5"), encoding="utf-8")
    with pytest.raises(BadInput, match="holds another run \\(raro.questions: 4, now 5\\)"):
        run.run(plan.read(str(other)), output, side_by_side)


def test_the_candidate_is_chosen_among_snapshots_without_a_verifier(study):
    _, output, _ = study
    selection = trained(output, "raro", 0)["selection"]
    assert selection["steps"] == [1, 2, 3] == selection["judges"]
    assert len(selection["win_rates"]) == 3 and all(len(row) == 3 for row in selection["win_rates"])
    worst = [min(row) for row in selection["win_rates"]]
    assert worst[selection["steps"].index(selection["chosen"])] == max(worst)
    assert trained(output, "sft", 0)["selection"] is None


def test_the_selected_snapshot_is_the_model(study):
    import torch
    from safetensors.torch import load_file

    _, output, _ = study
    folder = output / "raro" / "seed-0"
    chosen = trained(output, "raro", 0)["selected_step"]
    ours = load_file(folder / "train" / "model" / "model.safetensors")
    kept = load_file(folder / "checkpoints" / f"weights-{chosen:06d}.safetensors")
    assert all(torch.equal(ours[name], kept[name]) for name in kept)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("arms: {}", "has no arms"),
        ("arms: {a: {}}\ncolour: red", "unknown key 'colour'"),
        ("arms: {a: {raro.stepz: 3}}", "unknown config key 'raro.stepz'"),
        ("arms: {a: {}}\nbudget: b", "budget 'b' is no arm"),
        ("arms: {a: {seeds: [x]}}", "not whole numbers"),
        ("arms: {a: {}}\nseeds: 3", "seeds of 'a' are not whole numbers"),
        ("arms: {0.5: {raro.tau_crit: 0.5}}", "'0.5' cannot be an arm's name"),
        ("arms: {raro: {}, base: {raro.steps: 1}}", "'base' cannot be an arm's name"),
        ("arms: {a/b: {}}", "'a/b' cannot be an arm's name"),
        ("arms: {a: sft}", "'a' holds no settings"),
        ("arms: {a: {}}\nset: [raro.steps]", "'set' holds no settings"),
        ("arms: {a: {}}\nbudget: [a]", "is no arm"),
        ("arms: {a: {}}\nconfig: 5", "config '5' does not exist"),
        ("arms: {a: {}}\nseeds: [0, 1, 0]", "a seed of 'a' is listed twice"),
        ("arms: {a: {}}\nbudgets: [500, 500]", "two of its budgets are the same"),
        ("arms: [", "not valid YAML"),
        ("arms: {a: {}}\naxes: {size: {b: 3}}", "axis 'size' names no arm: 'b'"),
        ("arms: {a: {}}\naxes: {size: {a: big}}", "axis 'size' is not a number"),
        ("arms: {a: {}}\naxes: [size]", "axis 'axes' is not a number"),
    ],
)
def test_a_bad_study_is_refused_in_one_line(text, line, tmp_path):
    (tmp_path / "bad.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=line):
        plan.read(str(tmp_path / "bad.yaml"))


def test_an_axis_is_drawn_for_each_budget_in_the_order_of_its_numbers(tmp_path):
    text = "budgets: [1000000, 2000000]\naxes: {tokens: {long: 104, short: 52}}\narms: {long: {}, short: {}, other: {}}"
    (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
    axes = table._axes(plan.read(str(tmp_path / "s.yaml")))
    assert [(a["axis"], a["budget"], a["places"]) for a in axes] == [
        ("tokens", 1_000_000, [[52, "short, 1 M"], [104, "long, 1 M"]]),
        ("tokens", 2_000_000, [[52, "short, 2 M"], [104, "long, 2 M"]]),
    ]
    measured = {arm: {way: [0.3, 0.2, 0.4] for way in ("sampled", "greedy")} for _, arm in axes[0]["places"]}
    (panel, _) = page._along({"axes": axes, "intervals": measured | {a: measured["short, 1 M"] for _, a in axes[1]["places"]}})
    assert panel["title"] == "Accuracy by tokens, 1 M rollout tokens" and panel["chart"].count("<svg") == 1


def test_arms_are_compared_on_the_problems_that_both_were_asked():
    scores = {"raro": {"greedy": [[1.0, 0.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0]]}, "fall": {"greedy": [[0.0, 0.0]]}}
    mean, low, high = table._paired(scores, {"raro": [5, 6], "fall": [6]}, "raro", "fall", "greedy")
    assert mean == low == high == 1.0


def test_arms_and_seeds_can_be_narrowed():
    whole = plan.read("countdown-mini")
    some = whole.narrowed(["raro", "sft"], [3, 3])
    assert [(arm.name, arm.seeds) for arm in some.arms] == [("raro", (3,)), ("sft", (3,))]
    with pytest.raises(BadInput, match="no arm 'gan'"):
        whole.narrowed(["gan"], None)
    with pytest.raises(BadInput, match="budget from 'raro'"):
        whole.narrowed(["sft"], None)


def test_every_method_has_its_place_in_the_configuration():
    for name in METHODS:
        assert load("countdown-mini", [f"method={name}"]).method == name


def test_the_table_is_readable():
    content = {
        "command": "raro study x",
        "n_test": 10,
        "share_of_oracle": {"raro": {"sampled": 0.9}},
        "arms": {"raro": {"sampled": [0.5, 0.3], "greedy": [0.4, 0.4]}, "base": {"sampled": [0.1], "greedy": [0.2]}},
        "spent": {"raro": {"tokens": 2_500_000, "seconds": 61.2}},
        "paired": {"raro-base": dict.fromkeys(table.WAYS, (0.3, 0.1, 0.5))},
    }
    text = table.markdown(content)
    assert "| raro | 40.0 (50.0, 30.0) | 40.0 (40.0, 40.0) | 2.50 M | 61 |" in text
    assert "| raro-base | +30.0 (+10.0 to +50.0) |" in text and "| raro | 90 % | - |" in text


@pytest.mark.check
def test_four_numbers_by_one_command(tmp_path):
    """`make study-gpu` at two steps of everything, with the library found as on a lent machine; a second call resumes."""
    repository = Path(__file__).parents[1]
    small = (repository / "configs" / "study-countdown-four.yaml").read_text(encoding="utf-8")
    for key, value in {"raro.steps: 200": "raro.steps: 2", "raro.questions: 64": "raro.questions: 4"}.items():
        assert key in small
        small = small.replace(key, value)
    small = small.replace("build/countdown-four", str(tmp_path)).replace("raro.questions: 512", "raro.questions: 4")
    small = small.replace("raro.steps: 400", "raro.steps: 2").replace("max_items: 2000", "max_items: 30")
    small = small.replace("track_every: 25", "track_every: 0").replace("raro.pairs: 512", "raro.pairs: 8")
    small = small.replace("[0, 1, 2]", "[0]").replace("set:", "set:\n  demonstrations.max_rows: 2000\n  raro.gate: 0.0", 1)
    (tmp_path / "small.yaml").write_text(small, encoding="utf-8")
    command = [
        *("make", "-s", "-C", str(repository), "study-gpu", f"GPU_PYTHON={sys.executable}", f"FOUR={tmp_path}"),
        "FOUR_BASE=--width 32 --layers 1 --steps 2 --batch 32",
        f"FOUR_STUDY={tmp_path}/small.yaml --methods raro,similarity --output {tmp_path}/runs --table {tmp_path}/table",
    ]
    for _ in range(2):
        done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
    content = json.loads((tmp_path / "table.json").read_text())
    assert {"base", "raro", "similarity"} <= set(content["arms"]) and content["n_test"] == 30


def test_every_arm_of_a_page_has_a_colour_in_its_key():
    style = (Path(page.__file__).parents[1] / "report" / "style.css").read_text(encoding="utf-8")
    assert all(f".c-{colour} {{" in style for colour in (page.LEAD, *page.HUES))
