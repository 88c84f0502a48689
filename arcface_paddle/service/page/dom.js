// Elements without HTML strings: text only ever becomes a text node, so a name cannot become markup.

import { plain, say, sayAttribute } from "./i18n.js";

/**
 * Make an element.
 *
 * @param {string} tag
 * @param {object} attributes `text`: key of a text (or [key, values]); `label`, `placeholder`, `title`: likewise, as an
 *   attribute; `on`: listeners by event; a boolean sets the property of that name; anything else is an attribute
 * @param {...(Node|string|null)} children strings become text nodes, see `plain`
 */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) set(element, name, value);
  const shown = children.filter((child) => child !== null);
  element.append(...shown.map((child) => (typeof child === "string" ? plain(child) : child)));
  return element;
}

const SPOKEN = { label: "aria-label", placeholder: "placeholder", title: "title" };

function set(element, name, value) {
  if (name === "text") say(element, ...[value].flat());
  else if (name in SPOKEN) sayAttribute(element, SPOKEN[name], ...[value].flat());
  else if (name === "on") listen(element, value);
  else if (typeof value === "boolean") element[name] = value;
  else if (value !== null && value !== undefined) element.setAttribute(name, value);
}

function listen(element, listeners) {
  for (const [event, listener] of Object.entries(listeners)) element.addEventListener(event, listener);
}

/** A button that tells by itself when its work runs, and takes no second press until the promise of `work` settles. */
export function button(text, work, attributes = {}) {
  const element = el("button", { type: "button", text, ...attributes });
  element.addEventListener("click", () => busy(element, work));
  return element;
}

// It is not `disabled` meanwhile: a disabled control loses the focus.
export async function busy(control, work) {
  if (control.ariaBusy === "true") return;
  control.ariaBusy = "true";
  try {
    await work();
  } finally {
    control.ariaBusy = null;
  }
}

let fields = 0;

/** A labelled form field; `input` gets an id where it has none. */
export function field(text, input, hint = null) {
  input.id ||= `field-${++fields}`;
  const parts = [el("label", { for: input.id, text }), input];
  if (hint) {
    parts.push(el("p", { class: "hint", id: `${input.id}-hint`, text: hint }));
    input.setAttribute("aria-describedby", `${input.id}-hint`);
  }
  return el("div", { class: "field" }, ...parts);
}

/** Rows of a list of facts; a fact's value is text or a node. */
export function facts(rows) {
  const list = el("dl", { class: "facts" });
  for (const [text, value] of rows) list.append(el("dt", { text }), el("dd", {}, value));
  return list;
}

/** What a list shows while it is empty: what to do next. */
export function empty(text, ...actions) {
  return el("div", { class: "empty" }, el("p", { text }), ...actions);
}
