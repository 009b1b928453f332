// The gallery by keyboard, and the large view of one picture beside its source.

// ---------------------------------------------------------------------------------------- keyboard

function keys(event) {
  if (event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey) return;
  const large = document.getElementById("large");
  if (large.open) return largeKeys(event);
  if (/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName)) return;
  const here = document.activeElement?.closest?.(".pic");
  const row = here?.closest(".scene") ?? document.activeElement?.closest?.(".scene");
  if (event.key === "j" || (here && event.key === "ArrowDown")) move(event, row, here, 1);
  else if (event.key === "k" || (here && event.key === "ArrowUp")) move(event, row, here, -1);
  else if (here && (event.key === "ArrowRight" || event.key === "ArrowLeft")) {
    const pics = [...row.querySelectorAll(".pic")];
    const next = pics[pics.indexOf(here) + (event.key === "ArrowRight" ? 1 : -1)];
    if (next) {
      event.preventDefault();
      next.focus();
    }
  }
}

function move(event, row, here, step) {
  const rows = [...gallery.list.children].filter((child) => child.classList.contains("scene"));
  if (!rows.length) return;
  const at = row
    ? rows.indexOf(row) + step
    : rows.findIndex((other) => other.getBoundingClientRect().bottom > 60);
  const next = rows[Math.min(Math.max(at, 0), rows.length - 1)];
  event.preventDefault();
  fillRow(next);
  const place = here ? [...row.querySelectorAll(".pic")].indexOf(here) : 0;
  const pics = next.querySelectorAll(".pic");
  const target = pics[Math.min(place, pics.length - 1)];
  target.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest", behavior: "instant" });
}

// --------------------------------------------------------------------------------------- large view

function startLarge() {
  const large = document.getElementById("large");
  large.addEventListener("close", () => {
    const back = gallery.rows.get(gallery.large.index);
    if (!back?.isConnected) return;
    fillRow(back);
    const pic =
      back.querySelector(`.pic[data-column="${gallery.large.column}"]`) ??
      back.querySelector(".pic");
    back.scrollIntoView({ block: "nearest", behavior: "instant" });
    pic.focus({ preventScroll: true });
  });
  large.addEventListener("click", (event) => {
    if (event.target === large) large.close();
  });
}

function openLarge(index, column) {
  const large = document.getElementById("large");
  gallery.large = { masks: true, ...gallery.large, index, column };
  showLarge();
  if (!large.open) large.showModal();
  large.querySelector(".close").focus();
}

function stepLarge(across, down) {
  const { index, column } = gallery.large;
  const at = gallery.order.indexOf(index) + down;
  if (at < 0 || at >= gallery.order.length) return;
  const next = gallery.order[at];
  const side = DATA.sides[DATA.scenes[next].side];
  const columns = ["source", ...shownColumns().filter((c) => side.columns.includes(c))];
  const place = Math.max(0, columns.indexOf(column)) + across;
  gallery.large.index = next;
  gallery.large.column = columns[Math.min(Math.max(place, 0), columns.length - 1)];
  const focused = document.activeElement?.dataset?.do;
  showLarge();
  const large = document.getElementById("large");
  (large.querySelector(`[data-do="${focused}"]`) ?? large.querySelector(".close")).focus();
}

function largeKeys(event) {
  const steps = {
    ArrowLeft: [-1, 0],
    ArrowRight: [1, 0],
    ArrowUp: [0, -1],
    ArrowDown: [0, 1],
    k: [0, -1],
    j: [0, 1],
  };
  if (event.target.tagName === "INPUT" && event.key === " ") return;
  if (event.key in steps) {
    event.preventDefault();
    stepLarge(...steps[event.key]);
  }
  if (event.key === "m") {
    gallery.large.masks = !gallery.large.masks;
    showLarge();
    document.querySelector("#large .close").focus();
  }
}

function showLarge() {
  const large = document.getElementById("large");
  const { index, column, masks } = gallery.large;
  const scene = DATA.scenes[index];
  const side = DATA.sides[scene.side];
  const name = column === "source" ? "source" : DATA.columns[column].name;
  const box = make("input", {
    type: "checkbox",
    checked: masks,
    "data-do": "masks",
    onchange: () => {
      gallery.large.masks = box.checked;
      showLarge();
      large.querySelector('[data-do="masks"]').focus();
    },
  });
  const step = (label, text, across, down) =>
    make(
      "button",
      {
        type: "button",
        "aria-label": label,
        "data-do": label,
        onclick: () => stepLarge(across, down),
      },
      text,
    );
  large.replaceChildren(
    make(
      "header",
      {},
      make("h2", { id: "large-title" }, `${scene.id}, ${side.label}`),
      make("label", {}, box, " masks"),
      step("previous picture", "←", -1, 0),
      step("next picture", "→", 1, 0),
      step("previous scene", "↑", 0, -1),
      step("next scene", "↓", 0, 1),
      make(
        "button",
        { type: "button", class: "close", "data-do": "close", onclick: () => large.close() },
        "Close",
      ),
    ),
    make(
      "div",
      { class: "pair" },
      largePicture(index, "source", "source", masks),
      column === "source" ? null : largePicture(index, column, name, masks),
    ),
    column === "source"
      ? make("p", { class: "quiet" }, summary(scene, column))
      : largeTable(scene, column),
    make(
      "p",
      { class: "hint keys" },
      make("kbd", {}, "←"),
      " ",
      make("kbd", {}, "→"),
      " methods, ",
      make("kbd", {}, "↑"),
      " ",
      make("kbd", {}, "↓"),
      " scenes, ",
      make("kbd", {}, "m"),
      " masks, ",
      make("kbd", {}, "Esc"),
      " closes",
    ),
  );
}

function largePicture(index, column, name, masks) {
  const pic = picture(index, column);
  const frame = make(
    "div",
    {
      class: masks ? "pic on" : "pic",
      style: pic.style,
      role: "img",
      "aria-label": `${name}, ${DATA.scenes[index].id}`,
    },
    pic.image,
  );
  addMasks(frame, index, column);
  return make("figure", {}, make("figcaption", {}, name), frame);
}

function largeTable(scene, column) {
  const held = verdicts(scene, column);
  if (!held || !held.length) return make("p", { class: "quiet" }, summary(scene, column));
  return make(
    "div",
    { class: "scroll" },
    make(
      "table",
      { class: "values" },
      make(
        "thead",
        {},
        make(
          "tr",
          {},
          ["Instance", "IoU", "Score", `Verdict (${gallery.state.protocol})`].map((head) =>
            make("th", { scope: "col" }, head),
          ),
        ),
      ),
      make(
        "tbody",
        {},
        held.map(([iou, score, why], place) =>
          make(
            "tr",
            {},
            make("td", {}, badge(place, scene.k[place])),
            make("td", {}, (iou / 1000).toFixed(3)),
            make("td", {}, (score / 1000).toFixed(3)),
            make("td", { class: why ? "why" : null }, why ? DATA.reasons[why] : "matched"),
          ),
        ),
      ),
    ),
  );
}
