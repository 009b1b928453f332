// Charts, drawn as SVG: axes with units, shapes and dashes beside colours, values as a table too.

const COLOURS = 8;
const DASHES = ["", "6 3", "2 3", "8 3 2 3", "1 4"];
const SHAPES = [
  "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
  "M-3.6 -3.6h7.2v7.2h-7.2z",
  "M0 -4.6l4.4 7.8h-8.8z",
  "M0 -5l4.6 5l-4.6 5l-4.6 -5z",
  "M0 4.6l4.4 -7.8h-8.8z",
  "M-4 -1.4h2.6v-2.6h2.8v2.6h2.6v2.8h-2.6v2.6h-2.8v-2.6h-2.6z",
];

/** Colour, shape and dash number `index`; filled marks first, then hollow ones. */
function look(index) {
  return {
    colour: `var(--c${index % COLOURS})`,
    shape: SHAPES[index % SHAPES.length],
    full: Math.floor(index / SHAPES.length) % 2 === 0,
    dash: DASHES[Math.floor(index / COLOURS) % DASHES.length],
  };
}

function nice(low, high, wanted = 5) {
  if (low === high) {
    low -= Math.abs(low) / 2 || 1;
    high += Math.abs(high) / 2 || 1;
  }
  const raw = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].find((n) => n * power >= raw * (1 - 1e-9)) * power;
  const ticks = [];
  for (let n = Math.floor(low / step + 1e-9); n <= Math.ceil(high / step - 1e-9); n++) {
    ticks.push(Number((n * step).toPrecision(12)));
  }
  return ticks;
}

function said(number) {
  if (number === null || number === undefined) return "--";
  if (number !== 0 && (Math.abs(number) >= 1e5 || Math.abs(number) < 1e-3)) {
    return number.toExponential(1);
  }
  return String(Number(number.toPrecision(3)));
}

function mark(shape, x, y, colour, full) {
  return draw("path", {
    d: shape,
    transform: `translate(${x} ${y})`,
    stroke: colour,
    class: full ? "mark full" : "mark",
    style: `color:${colour}`,
  });
}

/** Ticks inside [low, high]. */
function within(low, high, wanted) {
  return nice(low, high, wanted).filter((v) => v >= low - 1e-9 && v <= high + 1e-9);
}

/** What a chart shows: places of its frame, and scales from values to them. */
function frame(series, { ticks, zero, wide, from }) {
  const width = wide && window.innerWidth > 640 ? 560 : 360;
  const box = {
    left: 46,
    right: width - 12,
    top: 20,
    bottom: (wide ? 250 : 226) - 38,
    width,
    height: wide ? 250 : 226,
  };
  const points = series.flatMap((s) => s.points).filter((p) => p[1] !== null);
  const across = points.map((p) => p[0]);
  const [least, most] = [Math.min(...across), Math.max(...across)];
  const late = points.filter((p) => p[0] >= least + from * (most - least));
  const seen = late.length ? late : points;
  const heights = seen.flatMap((p) => [p[1], p[2] ?? p[1], p[3] ?? p[1]]);
  const yTicks = nice(zero ? 0 : Math.min(...heights), Math.max(...heights), 4);
  const pad = series.some((s) => s.shape) ? 0.04 * (most - least) || 1 : 0;
  const [x0, x1] = ticks ? [ticks[0], ticks[ticks.length - 1]] : [least - pad, most + pad];
  const [y0, y1] = [yTicks[0], yTicks[yTicks.length - 1]];
  return {
    box,
    yTicks,
    xTicks: ticks ?? within(x0, x1, 5),
    atX: (v) => box.left + (x1 === x0 ? 0.5 : (v - x0) / (x1 - x0)) * (box.right - box.left),
    atY: (v) => box.bottom - ((v - y0) / (y1 - y0)) * (box.bottom - box.top),
  };
}

/**
 * A chart. `series`: [{ name, colour, dash, shape, full, points: [[x, y, low, high], ...] }]; null y
 * breaks a line. `ticks`: fixed places on the x axis. `zero`: y starts at 0. `from`: share of the
 * x axis that has no say in the range of y.
 */
function chart({ title, x, y, series, ticks = null, zero = false, wide = false, from = 0 }) {
  const { box, xTicks, yTicks, atX, atY } = frame(series, { ticks, zero, wide, from });
  const text = (attributes, content) => draw("text", attributes, content);
  const line = (kind, x1, x2, y1, y2) => draw("line", { class: kind, x1, x2, y1, y2 });
  const clip = `clip${(chart.count = (chart.count ?? 0) + 1)}`;
  const read = text({ class: "read", x: box.right, y: 11, "text-anchor": "end" }, "");
  const svg = draw(
    "svg",
    {
      viewBox: `0 0 ${box.width} ${box.height}`,
      role: "img",
      "aria-label": describe(title, x, y, series),
    },
    draw(
      "clipPath",
      { id: clip },
      draw("rect", {
        x: box.left - 6,
        y: box.top - 6,
        width: box.right - box.left + 12,
        height: box.bottom - box.top + 12,
      }),
    ),
    yTicks.flatMap((v) => [
      line("grid", box.left, box.right, atY(v), atY(v)),
      text({ x: box.left - 6, y: atY(v) + 4, "text-anchor": "end" }, said(v)),
    ]),
    xTicks.flatMap((v) => [
      line("axis", atX(v), atX(v), box.bottom, box.bottom + 4),
      text({ x: atX(v), y: box.bottom + 16, "text-anchor": "middle" }, said(v)),
    ]),
    line("axis", box.left, box.right, box.bottom, box.bottom),
    text({ x: (box.left + box.right) / 2, y: box.height - 6, "text-anchor": "middle" }, x),
    y ? text({ x: 4, y: 11 }, y) : null,
    draw(
      "g",
      { "clip-path": `url(#${clip})` },
      series.flatMap((s) => drawn(s, atX, atY)),
    ),
    read,
  );
  follow(svg, read, box, series, atX, atY);
  return make("figure", { class: "chart" }, make("figcaption", {}, title), svg);
}

/** Writes the value nearest to the pointer into the chart's corner. */
function follow(svg, read, box, series, atX, atY) {
  const near = (event) => {
    const rect = svg.getBoundingClientRect();
    const x = ((event.clientX - rect.left) / rect.width) * box.width;
    const y = ((event.clientY - rect.top) / rect.height) * box.height;
    let best = { far: 900 };
    for (const s of series) {
      for (const p of s.points) {
        const far = p[1] === null ? Infinity : (atX(p[0]) - x) ** 2 + (atY(p[1]) - y) ** 2;
        if (far < best.far) best = { far, s, p };
      }
    }
    read.textContent = best.s ? `${best.s.name}: ${said(best.p[1])} at ${said(best.p[0])}` : "";
  };
  svg.addEventListener("pointermove", near);
  svg.addEventListener("pointerdown", near);
  svg.addEventListener("pointerleave", () => {
    read.textContent = "";
  });
}

function drawn(s, atX, atY) {
  const parts = [];
  let path = "",
    pen = "M";
  for (const [px, py] of s.points) {
    if (py !== null) path += `${pen}${atX(px).toFixed(1)} ${atY(py).toFixed(1)}`;
    pen = py === null ? "M" : "L";
  }
  parts.push(
    draw("path", {
      class: s.faint ? "series faint" : "series",
      d: path,
      stroke: s.colour,
      "stroke-dasharray": s.dash || null,
    }),
  );
  for (const [px, py, low, high] of s.points) {
    if (py === null || !s.shape) continue;
    if (low !== null && low !== undefined && high !== null && high !== undefined) {
      parts.push(
        draw("line", {
          class: "span",
          stroke: s.colour,
          x1: atX(px),
          x2: atX(px),
          y1: atY(low),
          y2: atY(high),
        }),
      );
    }
    parts.push(mark(s.shape, atX(px).toFixed(1), atY(py).toFixed(1), s.colour, s.full));
  }
  return parts;
}

function describe(title, x, y, series) {
  const lines = series.slice(0, 12).map((s) => {
    const values = s.points.filter((p) => p[1] !== null);
    const last = values[values.length - 1];
    return last ? `${s.name}: ${said(last[1])} at ${said(last[0])}` : `${s.name}: no value`;
  });
  return `${title}. ${y || "value"} against ${x}. Last points: ${lines.join("; ")}.`;
}

function legend(entries) {
  return make(
    "ul",
    { class: "legend" },
    entries.map((s) =>
      make(
        "li",
        {},
        draw(
          "svg",
          { viewBox: "-17 -7 34 14", "aria-hidden": "true" },
          s.faint
            ? null
            : draw("path", {
                class: "series",
                d: "M-16 0H16",
                stroke: s.colour,
                "stroke-dasharray": s.dash || null,
              }),
          s.shape ? mark(s.shape, 0, 0, s.colour, s.full) : null,
        ),
        s.name,
      ),
    ),
  );
}

function valueTable(summary, heads, rows) {
  return make(
    "details",
    {},
    make("summary", { class: "quiet" }, summary),
    make(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": summary },
      make(
        "table",
        { class: "values" },
        make(
          "thead",
          {},
          make(
            "tr",
            {},
            heads.map((head) => make("th", { scope: "col" }, head)),
          ),
        ),
        make(
          "tbody",
          {},
          rows.map((row) =>
            make(
              "tr",
              {},
              row.map((cell) => make("td", {}, cell)),
            ),
          ),
        ),
      ),
    ),
  );
}

function startCharts() {
  const places = { points: startPoints, losses: startLosses, costs: startCosts };
  for (const [id, start] of Object.entries(places)) {
    const place = document.getElementById(id);
    if (place) start(place);
  }
}

// ----------------------------------------------------------------------- metric against training time

function startPoints(place) {
  const state = { metric: DATA.metrics[0].name, protocol: DATA.protocols[0] };
  const body = make("div");
  const show = () => body.replaceChildren(...pointCharts(state));
  const choose = (name) => (value) => {
    state[name] = value;
    show();
  };
  const measured = DATA.metrics.filter((m) => DATA.points.some((p) => p.metric === m.name));
  state.metric = measured[0].name;
  place.append(
    make(
      "div",
      { class: "controls" },
      chooser(
        "Metric",
        measured.map((m) => [m.name, m.title]),
        state.metric,
        choose("metric"),
      ).label,
      DATA.protocols.length > 1
        ? chooser(
            "Protocol",
            DATA.protocols.map((p) => [p, p]),
            state.protocol,
            choose("protocol"),
          ).label
        : null,
    ),
    make(
      "p",
      { class: "quiet" },
      "One point per training seed; bars are the 95 % intervals of the records. A line joins seeds of one row, it is no training curve.",
    ),
    body,
  );
  show();
}

function pointCharts({ metric, protocol }) {
  const points = DATA.points.filter((p) => p.metric === metric && p.protocol === protocol);
  const head = DATA.metrics.find((m) => m.name === metric);
  const longest = Math.max(...points.map((p) => p.seconds));
  const [unit, scale] = longest > 7200 ? ["h", 3600] : longest > 600 ? ["min", 60] : ["s", 1];
  const rows = DATA.rows.filter((row) => points.some((p) => p.title === row));
  const styles = Object.fromEntries(
    rows.map((row) => [
      row,
      { name: row, ...look(DATA.rows.indexOf(row)), dash: "1 3", faint: true },
    ]),
  );
  const sides = once(points.map((p) => p.side.join(" ")));
  const label = head.title + (head.unit ? ` (${head.unit})` : "");
  const charts = sides.map((side) =>
    chart({
      title: DATA.labels[side],
      x: `training time (${unit})`,
      y: label,
      wide: true,
      series: rows.map((row) => ({
        ...styles[row],
        points: points
          .filter((p) => p.title === row && p.side.join(" ") === side)
          .sort((a, b) => a.seconds - b.seconds)
          .map((p) => [p.seconds / scale, p.value, p.low, p.high]),
      })),
    }),
  );
  const table = valueTable(
    "The same as a table",
    ["Row", "Seed", "Direction", `Time (${unit})`, label],
    points.map((p) => [
      p.title,
      String(p.seed ?? ""),
      DATA.labels[p.side.join(" ")],
      said(p.seconds / scale),
      said(p.value),
    ]),
  );
  return [
    legend(rows.map((row) => styles[row])),
    make("div", { class: "charts wide" }, charts),
    make(
      "p",
      { class: "quiet" },
      [head.better, `protocol ${protocol}`].filter(Boolean).join("; ") + ".",
    ),
    table,
  ];
}

// ------------------------------------------------------------------------------------------ losses

function startLosses(place) {
  const rows = once(DATA.losses.map((run) => run.title));
  const state = { row: rows[0], from: 0.05 };
  const body = make("div");
  const show = () =>
    body.replaceChildren(
      ...lossCharts(
        DATA.losses.filter((run) => run.title === state.row),
        state.from,
      ),
    );
  const whole = make("input", {
    type: "checkbox",
    onchange: () => {
      state.from = whole.checked ? 0 : 0.05;
      show();
    },
  });
  place.append(
    make(
      "div",
      { class: "controls" },
      chooser(
        "Losses of",
        rows.map((row) => [row, row]),
        rows[0],
        (row) => {
          state.row = row;
          show();
        },
      ).label,
      make("label", {}, whole, "whole range"),
    ),
    make(
      "p",
      { class: "quiet" },
      "Unweighted terms, each the mean since the log line before. Every chart has its own scale; ",
      "the first twentieth of the steps may leave its frame unless the whole range is asked for.",
    ),
    body,
  );
  show();
}

function lossCharts(runs, from) {
  const styles = runs.map((run, index) => ({
    ...look(index),
    shape: null,
    dash: DASHES[index % DASHES.length],
    name: `seed ${run.seed}`,
  }));
  const phases = once(runs.flatMap((run) => run.phases.map((phase) => phase.name)));
  const blocks = phases.flatMap((name) => {
    const held = runs.map((run) => run.phases.find((phase) => phase.name === name));
    const finite = (phase) =>
      Object.keys(phase.losses).filter((term) =>
        phase.losses[term].some((value) => value !== null),
      );
    const terms = once(held.flatMap((phase) => (phase ? finite(phase) : [])));
    return [
      phases.length > 1 ? make("h4", {}, `Phase ${name}`) : null,
      make(
        "div",
        { class: "charts" },
        terms.map((term) =>
          chart({
            title: term,
            x: "step",
            y: "",
            from,
            series: held.map((phase, index) => ({
              ...styles[index],
              points: phase
                ? phase.steps.map((step, at) => [step, phase.losses[term]?.[at] ?? null])
                : [],
            })),
          }),
        ),
      ),
    ].filter(Boolean);
  });
  return runs.length > 1 ? [legend(styles), ...blocks] : blocks;
}

// ------------------------------------------------------------------------------------------- costs

function startCosts(place) {
  for (const bench of DATA.costs) {
    const names = once(bench.costs.map((cost) => named(cost)));
    const ticks = once(bench.costs.map((cost) => cost.instances)).sort((a, b) => a - b);
    const styles = names.map((name, index) => ({ name, ...look(index) }));
    const series = (field) =>
      styles.map((style) => ({
        ...style,
        points: bench.costs
          .filter((cost) => named(cost) === style.name)
          .sort((a, b) => a.instances - b.instances)
          .map((cost) => [cost.instances, cost[field]]),
      }));
    const what = bench.what === "train" ? "training step" : "batch translated";
    place.append(
      make("h3", {}, bench.what === "train" ? "Training" : "Translating"),
      make("p", { class: "quiet" }, `Measured on made-up scenes: ${bench.about}.`),
      legend(styles),
      make(
        "div",
        { class: "charts wide" },
        chart({
          title: `Seconds per ${what}`,
          x: "instances per picture",
          y: "s",
          series: series("seconds"),
          ticks,
          zero: true,
          wide: true,
        }),
        chart({
          title: "Peak memory",
          x: "instances per picture",
          y: "MiB",
          series: series("memory"),
          ticks,
          zero: true,
          wide: true,
        }),
      ),
      valueTable(
        "The same as a table",
        ["Method and phase", "Instances", "s", "MiB"],
        bench.costs.map((cost) => [
          named(cost),
          String(cost.instances),
          said(cost.seconds),
          said(cost.memory),
        ]),
      ),
    );
  }
}

function named(cost) {
  return cost.phase && cost.phase !== "train" ? `${cost.title}, ${cost.phase}` : cost.title;
}
