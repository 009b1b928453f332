"use strict";
// Helpers, the theme, and the state in the address; the other scripts follow in the same scope.

const DATA = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";

/** An element: attributes ("on..." are listeners), then children; text is never read as HTML. */
function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** A labelled select; options are [value, text]. */
function chooser(text, options, value, change) {
  const select = make(
    "select",
    { onchange: () => change(select.value) },
    options.map(([key, shown]) => make("option", { value: key }, shown)),
  );
  select.value = value;
  return { select, label: make("label", { class: "choice" }, make("span", {}, text), select) };
}

function once(values) {
  return [...new Set(values)];
}

// ---------------------------------------------------------------------------------------- theme

const THEMES = ["auto", "light", "dark"];

function stored(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

function setTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  const button = document.getElementById("theme");
  button.textContent = `Theme: ${theme}`;
  button.dataset.now = theme;
  try {
    localStorage.setItem("udit-bench-theme", theme);
  } catch {
    /* kept for this page only */
  }
}

function startTheme() {
  const button = document.getElementById("theme");
  button.hidden = false;
  const kept = stored("udit-bench-theme");
  setTheme(THEMES.includes(kept) ? kept : "auto");
  button.addEventListener("click", () => {
    setTheme(THEMES[(THEMES.indexOf(button.dataset.now) + 1) % THEMES.length]);
  });
}

// ------------------------------------------------------------------------------ state in the hash

const PREFIX = "#gallery?";

function readHash() {
  if (!location.hash.startsWith(PREFIX)) return null;
  return new URLSearchParams(location.hash.slice(PREFIX.length));
}

function writeHash(parameters) {
  const text = parameters.toString();
  const hash = text ? PREFIX + text : "#gallery";
  if (location.hash !== hash) history.replaceState(null, "", hash);
}

startTheme();
document.addEventListener("DOMContentLoaded", () => {
  startCharts();
  startGallery();
});
