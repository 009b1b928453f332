// What the gallery shows: the controls, the state they stand for, filters and sorting.

// --------------------------------------------------------------------------- state and its controls

function fromHash() {
  const given = readHash();
  if (given === null && gallery.order.length) return;
  const state = { ...DEFAULTS };
  for (const [key, value] of given ?? []) if (key in DEFAULTS) state[key] = value;
  if (!DATA.protocols.includes(state.protocol)) state.protocol = DEFAULTS.protocol;
  gallery.state = state;
  showControls();
  refresh(false);
  if (given !== null) document.getElementById("gallery").scrollIntoView({ behavior: "instant" });
}

function change(key, value) {
  gallery.state[key] = value;
  if (["cols", "protocol", "of", "a", "b"].includes(key)) clearRows();
  refresh(true);
}

function refresh(write) {
  if (write) {
    const parameters = new URLSearchParams();
    for (const [key, value] of Object.entries(gallery.state))
      if (value !== DEFAULTS[key]) parameters.set(key, value);
    writeHash(parameters);
  }
  gallery.list.classList.toggle("masks", gallery.state.masks === "1");
  if (gallery.state.masks === "1")
    for (const row of gallery.rows.values()) if (row.dataset.full) rowMasks(row);
  gallery.order = chosenScenes();
  gallery.list.replaceChildren(...gallery.order.map(rowOf));
  if (gallery.order.length) fillRow(gallery.list.firstElementChild);
  gallery.status.textContent = `${gallery.order.length} of ${DATA.scenes.length} scenes`;
  if (!gallery.order.length)
    gallery.list.append(make("p", { class: "note" }, "No scene passes these filters."));
}

function columnNamed(name) {
  return gallery.all.find((index) => DATA.columns[index].name === name);
}

/** Columns ticked under "methods shown". */
function tickedColumns() {
  const { cols } = gallery.state;
  if (!cols) return gallery.main;
  const wanted = new Set(cols.split("|"));
  return gallery.all.filter((index) => cols === "all" || wanted.has(DATA.columns[index].name));
}

/** Those, and the ones that the filters speak of. */
function shownColumns() {
  const named = ["of", "a", "b"].map((key) => columnNamed(gallery.state[key]));
  const ticked = tickedColumns();
  return gallery.all.filter((index) => ticked.includes(index) || named.includes(index));
}

function showControls() {
  const s = gallery.state;
  const columns = gallery.all.map((index) => [DATA.columns[index].name, DATA.columns[index].name]);
  const none = [["", "–"], ...columns];
  const low = make("input", {
    type: "range",
    min: "0.05",
    max: "1",
    step: "0.05",
    value: s.low || "0.5",
    "aria-label": "IoU threshold",
    oninput: () => {
      value.textContent = Number(low.value).toFixed(2);
      on.checked = true;
      change("low", low.value);
    },
  });
  const value = make("output", {}, Number(low.value).toFixed(2));
  const on = make("input", {
    type: "checkbox",
    id: "f-low",
    checked: s.low !== "",
    onchange: () => change("low", on.checked ? low.value : ""),
  });
  const missed = make("input", {
    type: "checkbox",
    id: "f-missed",
    checked: s.missed === "1",
    onchange: () => change("missed", missed.checked ? "1" : ""),
  });
  const masks = make("input", {
    type: "checkbox",
    id: "f-masks",
    checked: s.masks === "1",
    onchange: () => change("masks", masks.checked ? "1" : ""),
  });
  const sides = DATA.sides.map((side, index) => [
    String(index),
    DATA.sides.length > 2 ? `${side.label} (${side.dataset})` : side.label,
  ]);
  const part = (id, made) => {
    made.select.id = id;
    return made.label;
  };
  gallery.panel.replaceChildren(
    make("summary", {}, "Filters, sorting, methods shown"),
    make(
      "div",
      { class: "controls" },
      sides.length > 1
        ? part(
            "f-dir",
            chooser("Direction", [["all", "both"], ...sides], s.dir, (v) => change("dir", v)),
          )
        : null,
      DATA.protocols.length > 1
        ? part(
            "f-protocol",
            chooser(
              "Protocol",
              DATA.protocols.map((p) => [p, p]),
              s.protocol,
              (v) => change("protocol", v),
            ),
          )
        : null,
      part(
        "f-of",
        chooser("Method", [[ANY, "any shown"], ...columns], s.of, (v) => change("of", v)),
      ),
      part(
        "f-sort",
        chooser(
          "Sort",
          [
            ["", "as in the data"],
            ["up", "lowest IoU first"],
            ["down", "highest IoU first"],
          ],
          s.sort,
          (v) => change("sort", v),
        ),
      ),
    ),
    make(
      "div",
      { class: "controls" },
      make("label", {}, missed, "with a missed instance"),
      make("span", { class: "controls" }, make("label", {}, on, "with an IoU below"), low, value),
      make("label", {}, masks, "show all masks"),
    ),
    make(
      "div",
      { class: "controls" },
      part(
        "f-a",
        chooser("Where", none, s.a, (v) => change("a", v)),
      ),
      part(
        "f-b",
        chooser("beats", none, s.b, (v) => change("b", v)),
      ),
      make("button", { type: "button", id: "f-reset", onclick: reset }, "Reset"),
    ),
    columnPanel(),
  );
}

function reset() {
  gallery.state = { ...DEFAULTS };
  clearRows();
  showControls();
  refresh(true);
  document.getElementById("f-reset").focus();
}

/** Which rows and seeds stand beside the source. */
function columnPanel() {
  const shown = new Set(tickedColumns());
  const boxes = new Map();
  const summary = make("summary");
  const tell = () => {
    summary.textContent = `Methods shown: ${tickedColumns().length} of ${gallery.all.length}`;
  };
  const changed = () => {
    const held = gallery.all.filter((index) => boxes.get(index).checked);
    const same = (other) =>
      held.length === other.length && held.every((index) => other.includes(index));
    change(
      "cols",
      same(gallery.main)
        ? ""
        : same(gallery.all)
          ? "all"
          : held.map((index) => DATA.columns[index].name).join("|") || "none",
    );
    tell();
  };
  const every = (set) => () => {
    boxes.forEach((box, index) => {
      box.checked = set.includes(index);
    });
    changed();
  };
  const titles = once(gallery.all.map((index) => DATA.columns[index].title));
  const rows = titles.map((title) =>
    make(
      "fieldset",
      { class: "seeds" },
      make("legend", {}, title),
      gallery.all
        .filter((index) => DATA.columns[index].title === title)
        .map((index) => {
          const box = make("input", {
            type: "checkbox",
            checked: shown.has(index),
            onchange: changed,
          });
          boxes.set(index, box);
          return make(
            "label",
            {},
            box,
            DATA.columns[index].seed === null ? "shown" : `seed ${DATA.columns[index].seed}`,
          );
        }),
    ),
  );
  tell();
  return make(
    "details",
    { id: "f-cols" },
    summary,
    rows,
    make(
      "div",
      { class: "controls" },
      make("button", { type: "button", onclick: every(gallery.all) }, "All"),
      make("button", { type: "button", onclick: every(gallery.main) }, "First seeds"),
    ),
  );
}

// ------------------------------------------------------------------------------- filters and sorting

function verdicts(scene, column) {
  return scene.v[gallery.state.protocol]?.[column] ?? null;
}

/** Mean IoU of a column over a scene's instances, null without any. */
function meanIoU(scene, column) {
  const held = verdicts(scene, column);
  if (!held || !held.length) return null;
  return held.reduce((sum, line) => sum + line[0], 0) / held.length / 1000;
}

function chosenScenes() {
  const s = gallery.state;
  const of = s.of === ANY ? shownColumns() : [columnNamed(s.of)].filter((c) => c !== undefined);
  const [a, b] = [columnNamed(s.a), columnNamed(s.b)];
  const some = (scene, test) => of.some((column) => (verdicts(scene, column) ?? []).some(test));
  const low = Number(s.low) * 1000;
  let found = DATA.scenes
    .map((_, index) => index)
    .filter((index) => {
      const scene = DATA.scenes[index];
      if (s.dir !== "all" && String(scene.side) !== s.dir) return false;
      if (s.missed && !some(scene, (line) => line[2] !== 0)) return false;
      if (s.low && !some(scene, (line) => line[0] < low)) return false;
      if (a !== undefined && b !== undefined) {
        const [x, y] = [meanIoU(scene, a), meanIoU(scene, b)];
        if (x === null || y === null || x <= y) return false;
      }
      return true;
    });
  if (s.sort) {
    const sign = s.sort === "up" ? 1 : -1;
    const keyed = found.map((index) => {
      const values = of
        .map((column) => meanIoU(DATA.scenes[index], column))
        .filter((v) => v !== null);
      return [index, values.length ? values.reduce((x, y) => x + y, 0) / values.length : null];
    });
    keyed.sort((p, q) => (p[1] === null) - (q[1] === null) || sign * (p[1] - q[1]) || p[0] - q[0]);
    found = keyed.map(([index]) => index);
  }
  return found;
}
