// The gallery: rows that are filled when they come near, and masks that are loaded when asked for.

const ANY = "any";
const DEFAULTS = {
  dir: "all",
  protocol: "",
  of: ANY,
  missed: "",
  low: "",
  a: "",
  b: "",
  sort: "",
  cols: "",
  masks: "",
};
const gallery = { rows: new Map(), order: [], scripts: new Map(), masks: new Map() };

/** Called by the scripts in media/masks. */
function uditMasks(chunk, scenes) {
  gallery.masks.set(chunk, scenes);
}

function startGallery() {
  const place = document.getElementById("scenes");
  if (!place) return;
  DEFAULTS.protocol = DATA.protocols[0];
  DATA.columns.forEach((column) => {
    column.name = column.seed === null ? column.title : `${column.title}, seed ${column.seed}`;
  });
  gallery.all = DATA.columns
    .map((_, index) => index)
    .filter((index) => DATA.sides.some((side) => side.columns.includes(index)));
  const main = gallery.all.filter((index) => DATA.columns[index].main);
  gallery.main = main.length ? main : gallery.all;
  gallery.state = { ...DEFAULTS };
  gallery.list = make("div", { class: "list" });
  gallery.status = make("p", { class: "status", role: "status", "aria-live": "polite" });
  gallery.panel = make("details", { class: "panel", open: window.innerWidth > 640 });
  place.append(gallery.panel, gallery.status, keysHint(), gallery.list);
  gallery.near = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) if (entry.isIntersecting) fillRow(entry.target);
    },
    { rootMargin: "700px 0px" },
  );
  fromHash();
  window.addEventListener("hashchange", fromHash);
  document.addEventListener("keydown", keys);
  document.addEventListener("pointerdown", (event) => {
    gallery.touch = event.pointerType === "touch";
  });
  startLarge();
}

function keysHint() {
  return make(
    "p",
    { class: "quiet" },
    make(
      "span",
      { class: "keys" },
      "Point at a picture for its masks, press it for a large view. ",
    ),
    make("span", { class: "taps" }, "Tap a picture for its masks, tap it again for a large view. "),
    "Below each: mean IoU, then per instance IoU and score of its detection, and why it was missed. ",
    make(
      "span",
      { class: "keys" },
      "Keys: ",
      make("kbd", {}, "j"),
      " ",
      make("kbd", {}, "k"),
      " next and previous scene, ",
      make("kbd", {}, "←"),
      " ",
      make("kbd", {}, "→"),
      " along a scene, ",
      make("kbd", {}, "Enter"),
      " large view.",
    ),
  );
}

// ----------------------------------------------------------------------------------------- the rows

function rowOf(index) {
  let row = gallery.rows.get(index);
  if (!row) {
    const scene = DATA.scenes[index];
    const side = DATA.sides[scene.side];
    const count = scene.k.length;
    row = make(
      "article",
      { class: "scene", id: `scene-${index}`, "aria-label": `${scene.id}, ${side.label}` },
      make(
        "header",
        {},
        make("h3", {}, scene.id),
        make("p", {}, `${side.label}, ${count} ${count === 1 ? "instance" : "instances"}`),
      ),
      make("div", { class: "tiles" }),
    );
    row.dataset.index = index;
    gallery.rows.set(index, row);
    gallery.near.observe(row);
  }
  return row;
}

function clearRows() {
  for (const row of gallery.rows.values()) {
    gallery.near.unobserve(row);
    row.querySelector(".tiles").replaceChildren();
    delete row.dataset.full;
    gallery.near.observe(row);
  }
}

function fillRow(row) {
  if (row.dataset.full) return;
  row.dataset.full = "1";
  const index = Number(row.dataset.index);
  const side = DATA.sides[DATA.scenes[index].side];
  const columns = shownColumns().filter((column) => side.columns.includes(column));
  gallery.list.style.setProperty("--across", columns.length + 1);
  row
    .querySelector(".tiles")
    .replaceChildren(tile(index, "source", 0), ...columns.map((column) => tile(index, column, -1)));
  if (gallery.state.masks === "1") rowMasks(row);
  if (!gallery.measured || gallery.measured !== window.innerWidth) {
    gallery.measured = window.innerWidth;
    document.documentElement.style.setProperty(
      "--row",
      `${Math.round(row.getBoundingClientRect().height)}px`,
    );
  }
}

function tile(index, column, tab) {
  const scene = DATA.scenes[index];
  const name = column === "source" ? "source" : DATA.columns[column].name;
  const pic = picture(index, column);
  const button = make(
    "button",
    {
      type: "button",
      class: "pic",
      tabindex: tab,
      "aria-label": `${name}, ${scene.id}: ${summary(scene, column)}`,
      style: pic.style,
      onpointerenter: () => addMasks(button, index, column),
      onfocus: () => reached(button, index, column),
      onclick: () => press(button, index, column),
    },
    pic.image,
  );
  button.dataset.column = column;
  return make(
    "figure",
    { class: "tile" },
    button,
    make(
      "figcaption",
      {},
      make("span", { class: "name" }, name),
      make("span", { class: "sum" }, summary(scene, column)),
      lines(scene, column),
    ),
  );
}

/** Focus came to a picture: its masks, and the next row, so that there is something to tab to. */
function reached(button, index, column) {
  addMasks(button, index, column);
  const next = button.closest(".scene")?.nextElementSibling;
  if (next?.dataset.index) fillRow(next);
}

function picture(index, column) {
  const [height, width] = DATA.sides[DATA.scenes[index].side].size;
  return {
    style: `aspect-ratio:${width}/${height}`,
    image: make("img", {
      src: `media/${column}/${index}.webp`,
      alt: "",
      loading: "lazy",
      decoding: "async",
      width,
      height,
      class: Math.max(width, height) <= 128 ? "crisp" : null,
    }),
  };
}

function summary(scene, column) {
  if (column === "source")
    return scene.k.length === 1 ? "1 instance" : `${scene.k.length} instances`;
  if (!scene.k.length) return "nothing to judge";
  const held = verdicts(scene, column);
  if (!held) return "not judged";
  const matched = held.filter((line) => line[2] === 0).length;
  return `IoU ${meanIoU(scene, column).toFixed(2)}, ${matched} of ${held.length} matched`;
}

function lines(scene, column) {
  const held = column === "source" ? null : verdicts(scene, column);
  if (!held || !held.length) return null;
  return make(
    "ol",
    { class: "verdicts" },
    held.map(([iou, score, why], place) =>
      make(
        "li",
        {},
        badge(place, scene.k[place]),
        make("span", {}, `IoU ${(iou / 1000).toFixed(2)} · score ${(score / 1000).toFixed(2)}`),
        why ? make("span", { class: "why" }, DATA.reasons[why]) : null,
      ),
    ),
  );
}

function colourOf(place) {
  return DATA.palette[place % DATA.palette.length];
}

function badge(place, number) {
  return make("span", { class: "key", style: `background:${colourOf(place)}` }, String(number));
}

/** Mouse and keyboard: the large view. Finger: the masks first, the large view when pressed again. */
function press(button, index, column) {
  if (gallery.touch && !button.classList.contains("on")) {
    document.querySelectorAll(".pic.on").forEach((other) => other.classList.remove("on"));
    button.classList.add("on");
    addMasks(button, index, column);
    return;
  }
  openLarge(index, column);
}

// ------------------------------------------------------------------------------------------- masks

function masksOf(index) {
  const chunk = Math.floor(index / DATA.chunk);
  if (!gallery.scripts.has(chunk)) {
    gallery.scripts.set(
      chunk,
      new Promise((done) => {
        document.head.append(
          make("script", { src: `media/masks/${chunk}.js`, onload: done, onerror: done }),
        );
      }),
    );
  }
  return gallery.scripts
    .get(chunk)
    .then(() => gallery.masks.get(chunk)?.[index % DATA.chunk] ?? {});
}

async function addMasks(button, index, column) {
  if (button.dataset.masks) return;
  button.dataset.masks = "1";
  const held = (await masksOf(index))[column];
  if (held) button.append(overlay(held, DATA.scenes[index].k));
}

function rowMasks(row) {
  const index = Number(row.dataset.index);
  for (const button of row.querySelectorAll(".pic")) addMasks(button, index, button.dataset.column);
}

function overlay([width, height, shapes], numbers) {
  const svg = draw(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
    shapes.map(
      (shape, place) =>
        shape && draw("path", { d: shape[0], fill: colourOf(place), stroke: colourOf(place) }),
    ),
  );
  const scale = Math.max(width, height) / 150;
  for (const [place, shape] of shapes.entries()) {
    if (shape)
      svg.append(
        draw(
          "text",
          { transform: `translate(${shape[1]} ${shape[2]}) scale(${scale})` },
          String(numbers[place]),
        ),
      );
  }
  return svg;
}
