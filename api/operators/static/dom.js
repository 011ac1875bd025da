// Functions that build the page. Values become text or attributes, never markup.

import { t } from "./text.js";

const SVG = "http://www.w3.org/2000/svg";

/** Make an element: h("a", {href: "#/", class: "x", onclick: f}, "text", node). */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** Make an SVG element. */
export function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Replace the content of a node; the focus and open details are restored. */
export function put(node, ...children) {
  const held = node.contains(document.activeElement) ? keyOf(document.activeElement) : null;
  const open = new Set([...node.querySelectorAll("details[open]")].map(keyOf));
  node.replaceChildren(...children.flat(9).filter(Boolean));
  for (const each of node.querySelectorAll("details")) {
    if (open.has(keyOf(each))) each.open = true;
  }
  if (held === null) return;
  const again = [...node.querySelectorAll("a, button, input, select, summary, [tabindex]")];
  again.find((each) => keyOf(each) === held)?.focus({ preventScroll: true });
}

function keyOf(node) {
  return node.dataset.key || node.getAttribute("href") || node.id || node.textContent;
}

/**
 * Make a table; `columns` are {title, cell(row), num, wide, phone}. On a narrow page each row is a card, in
 * which a column is a part of the first line (`lead`) or of another (`line`), a line (`full`) or nothing
 * (`hide`); without `phone` it is a line with its title. `rowClass(row)` returns a class or null.
 */
export function table(caption, columns, rows, empty, rowClass = () => null) {
  if (!rows.length) return h("p", { class: "empty" }, empty);
  const head = columns.map((each) =>
    h("th", { scope: "col", class: each.num ? "num" : each.wide && "wide" }, each.title));
  const body = rows.map((row) =>
    h("tr", { class: rowClass(row) }, columns.map((each) =>
      h("td", { "data-label": each.title, class: cellClass(each) }, oneOf(each.cell(row))))));
  return h("div", { class: "scroll" },
    h("table", {},
      h("caption", { class: "unseen" }, caption),
      h("thead", {}, h("tr", {}, head)),
      h("tbody", {}, body)));
}

/** Return one node for the content of a cell: on a narrow page, each node is an item of a grid. */
function oneOf(content) {
  return Array.isArray(content) ? h("div", {}, content) : content;
}

function cellClass({ num, wide, phone }) {
  return [num ? "num" : wide && "wide", phone && `on-${phone}`].filter(Boolean).join(" ") || null;
}

export function panel(title, ...content) {
  return h("section", { class: "panel" }, title && h("h2", {}, title), content);
}

/** Show a confirmation dialog; return whether the action was confirmed. */
export function confirmed({ title, text, action, danger }) {
  return new Promise((resolve) => {
    const dialog = h("dialog", { "aria-labelledby": "dialog-title", "aria-describedby": "dialog-text" },
      h("h2", { id: "dialog-title" }, title),
      h("p", { id: "dialog-text" }, text),
      h("div", { class: "buttons" },
        h("button", { type: "button", autofocus: true, onclick: () => dialog.close("") }, t("shell.cancel")),
        h("button", {
          type: "button", class: danger ? "danger" : "primary", onclick: () => dialog.close("yes"),
        }, action)));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

let fading;

/** Show a message for a few seconds; longer, and in another colour, if its tone is "bad". */
export function toast(text, tone = "") {
  const node = document.getElementById("toast");
  node.classList.toggle("bad", tone === "bad");
  node.textContent = text;
  node.classList.add("shown");
  clearTimeout(fading);
  fading = setTimeout(() => node.classList.remove("shown"), tone === "bad" ? 15_000 : 6_000);
}
