(() => {
  const data = JSON.parse(document.getElementById("items-data").textContent);
  const at = id => document.getElementById("items-" + id), size = matchMedia("(max-width: 720px)").matches ? 8 : 25;
  const sampled = Math.max(0, data.ways.indexOf("sampled"));
  const [LINE, QUESTION, EXPERT, ANSWERS, SCORES, LABELS] = [0, 1, 2, 3, 4, 5];
  const names = Object.keys(data.strata);
  const chosen = {first: data.first, second: data.second, way: 0, stratum: "", words: "", outcome: ""};
  let page = 0, fitting = [];
  document.documentElement.classList.add("js");

  const made = (tag, text, kind) => {
    const found = document.createElement(tag);
    if (text !== undefined) found.textContent = text;
    if (kind) found.className = kind;
    return found;
  };
  const options = (select, entries) => { for (const [value, text] of entries) select.append(new Option(text, value)); };
  options(at("first"), data.arms.map((arm, i) => [i, arm]));
  options(at("second"), data.arms.map((arm, i) => [i, arm]));
  options(at("way"), data.ways.map((way, i) => [i, way === "judge" ? "the judge" : way + " answers"]));
  options(at("stratum"), [["", "all problems"]]);
  names.forEach((name, i) => {
    const group = made("optgroup");
    group.label = name;
    options(group, data.strata[name].map((label, j) => [i + " " + j, label]));
    at("stratum").append(group);
  });

  const score = (row, arm, way = chosen.way) => row[SCORES][way][arm];
  const rightOrWrong = () => data.checked && data.ways[chosen.way] === "greedy";
  function outcome(row) {
    const a = score(row, chosen.first), b = score(row, chosen.second);
    if (a === null || b === null) return null;
    return a > b ? "first" : b > a ? "second" : !rightOrWrong() ? "equal" : a ? "right" : "wrong";
  }
  function outcomes() {
    const [a, b] = [data.arms[chosen.first], data.arms[chosen.second]];
    return rightOrWrong()
      ? [["", "all"], ["first", `only ${a} right`], ["second", `only ${b} right`], ["right", "both right"], ["wrong", "both wrong"]]
      : [["", "all"], ["first", `${a} better`], ["second", `${b} better`], ["equal", "equal"]];
  }
  function within(row) {
    if (chosen.stratum) {
      const [name, label] = chosen.stratum.split(" ");
      if (row[LABELS][name] !== +label) return false;
    }
    return !chosen.words || [row[QUESTION], row[EXPERT], ...row[ANSWERS]].some(text => text.toLowerCase().includes(chosen.words));
  }

  function filter() {
    const gap = (row, way) => Math.abs(score(row, chosen.first, way) - score(row, chosen.second, way));
    const inside = data.rows.map(row => ({row, outcome: outcome(row)})).filter(one => one.outcome && within(one.row));
    const counts = {"": inside.length};
    for (const one of inside) counts[one.outcome] = (counts[one.outcome] || 0) + 1;
    if (!outcomes().some(([value]) => value === chosen.outcome)) chosen.outcome = "";
    fitting = inside.filter(one => !chosen.outcome || one.outcome === chosen.outcome).map(one => one.row);
    fitting.sort((x, y) => gap(y, chosen.way) - gap(x, chosen.way) || gap(y, sampled) - gap(x, sampled) || x[LINE] - y[LINE]);
    at("outcomes").replaceChildren(...outcomes().map(([value, text]) => {
      const button = made("button", `${text} ${(counts[value] || 0).toLocaleString("en")}`);
      button.type = "button";
      button.setAttribute("aria-pressed", value === chosen.outcome);
      button.onclick = () => { chosen.outcome = value; filter(); at("outcomes").querySelector("[aria-pressed=true]").focus(); };
      return button;
    }));
    page = 0;
    show();
  }

  function mark(row, arm, way) {
    const value = score(row, arm, way), name = data.ways[way];
    if (value === null) return ["", "plain"];
    if (name === "judge") return [`judge: ${value === 1 ? "better than the expert's" : value ? "a tie" : "worse"}`, "plain"];
    if (name === "sampled") return [`sampled ${data.checked ? Math.round(100 * value) + "\u00a0%" : value.toFixed(2)}`, "plain"];
    return data.checked ? (value ? ["✓ right", "good"] : ["✕ wrong", "bad"]) : [value.toFixed(2), "plain"];
  }
  function cell(tag, text, kind = "") {
    const found = made("td");
    found.append(made("span", tag, "tag"), data.text ? made("div", text, "text" + kind) : "");
    return found;
  }
  function arm(row, i) {
    const found = cell(data.arms[i], row[ANSWERS][i], " answer");
    data.ways.forEach((_, way) => {
      const [text, tone] = mark(row, i, way);
      if (text) found.append(made("small", text, "mark tone-" + tone));
    });
    return found;
  }
  function line(row) {
    const labels = names.map((name, i) => row[LABELS][i] < 0 ? "" : `${name} ${data.strata[name][row[LABELS][i]]}`);
    const alike = made("small", labels.filter(Boolean).join(", "), "soft");
    const found = made("tr"), number = made("td");
    number.append(made("span", "Item ", "tag"), row[LINE]);
    found.append(number);
    if (data.text) {
      const question = cell("Question", row[QUESTION]), expert = cell("Expert's answer", row[EXPERT]);
      question.append(alike);
      found.append(question, expert);
    } else number.append(" ", alike);
    found.append(arm(row, chosen.first), arm(row, chosen.second));
    if (data.arms.length > 2) found.append(others(row));
    return found;
  }
  function others(row) {
    const found = made("td");
    found.append(made("span", "Other arms", "tag"));
    data.arms.forEach((name, i) => {
      if (i === chosen.first || i === chosen.second) return;
      const [text, tone] = mark(row, i, 0), told = made("small", name + " ", "other");
      told.append(made("span", text, "tone-" + tone));
      found.append(told);
    });
    return found;
  }
  function show() {
    const last = Math.min(fitting.length, (page + 1) * size), heads = at("table").tHead.rows[0].cells;
    const first = data.text ? 3 : 1;
    at("table").tBodies[0].replaceChildren(...fitting.slice(page * size, last).map(line));
    heads[first].textContent = data.arms[chosen.first];
    heads[first + 1].textContent = data.arms[chosen.second];
    at("where").textContent = last ? `${page * size + 1} to ${last} of ${fitting.length.toLocaleString("en")}` : "none";
    at("back").disabled = page === 0;
    at("next").disabled = last === fitting.length;
  }

  for (const key of ["first", "second", "way"]) {
    at(key).value = chosen[key];
    at(key).onchange = event => { chosen[key] = +event.target.value; filter(); };
  }
  at("stratum").onchange = event => { chosen.stratum = event.target.value; filter(); };
  if (at("words")) at("words").oninput = event => { chosen.words = event.target.value.trim().toLowerCase(); filter(); };
  at("back").onclick = () => { page--; show(); };
  at("next").onclick = () => { page++; show(); };
  filter();
})();
