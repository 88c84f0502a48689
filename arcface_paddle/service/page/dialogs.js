// Modal dialogs. The browser's own <dialog> keeps the focus inside, closes on Escape and gives the focus back.

import { busy, button, el } from "./dom.js";
import { attempt } from "./messages.js";

let dialogs = 0;

/**
 * Open a dialog with a form. It closes when `work` went well; an error of it is shown inside. What changes the page is
 * `done`'s: it runs when the dialog is closed and has given the focus back, so that it can move the focus on.
 *
 * @param {string|Array} title key, or [key, values]
 * @param {Node[]} content
 * @param {{submit: string, work: () => Promise, done: (result) => void, danger: boolean}} action `done` gets what
 *   `work` returned; `danger`: the button warns
 * @returns {HTMLDialogElement}
 */
export function openDialog(title, content, { submit, work, done, danger = false }) {
  const heading = el("h2", { text: title, id: `dialog-${++dialogs}` });
  const send = el("button", { type: "submit", text: submit, class: danger ? "danger" : "primary" });
  const cancel = button("dialog.cancel", () => root.close());
  const alert = el("div", { class: "alert", role: "alert" });
  const form = el("form", {}, heading, ...content, alert, el("div", { class: "actions end" }, cancel, send));
  const root = el("dialog", { "aria-labelledby": heading.id }, form);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    busy(send, async () => {
      let result;
      if (!(await attempt(async () => (result = await work())))) return;
      root.close();
      await done(result);
    });
  });
  root.addEventListener("close", () => root.remove());
  document.body.append(root);
  root.showModal();
  return root;
}

/** Ask before something that cannot be undone. */
export function confirmDialog(title, text, action) {
  return openDialog(title, [el("p", { text })], { ...action, danger: true });
}

/** Close what is open, for example because another view is shown. */
export function closeDialogs() {
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
}
