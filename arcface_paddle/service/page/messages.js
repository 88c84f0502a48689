// The page's live regions: a polite one that only screen readers meet, and the alert that everyone sees.

import { el } from "./dom.js";
import { knows, t } from "./i18n.js";

/** Tell a screen reader what happened. */
export function announce(key, values = {}) {
  document.getElementById("status").textContent = t(key, values);
}

/** The alert in view: that of the dialog on top, since a dialog makes all below it silent. */
function alertRegion() {
  const host = [...document.querySelectorAll("dialog[open]")].pop() ?? document.body;
  return host.querySelector(".alert");
}

/**
 * What went wrong, as nodes. The service speaks English and says numbers and names; the page has a text of each code.
 * The style shows the service's words alone on an English page, and both on any other.
 *
 * @param {{code: string|undefined, message: string, problems: object[]|undefined}} error `problems`: of several pictures
 */
export function explained({ code, message, problems }) {
  if (problems) return problems.flatMap(explainedPicture);
  if (!knows(`code.${code}`)) return [el("span", {}, message)];
  const ofCode = el("span", { class: "of-code", text: `code.${code}` });
  return message ? [ofCode, " ", el("span", { class: "of-service", lang: "en" }, message)] : [ofCode];
}

function explainedPicture({ picture, error }, index) {
  const name = picture.name ? [el("span", { text: ["people.refused", { file: picture.name }] }), " "] : [];
  return [...(index ? [" · "] : []), ...name, ...explained(error)];
}

/** Show what went wrong; a missing key comes with the way to enter one. */
export function showError(error) {
  if (error.name === "AbortError") return;
  const text = el("p", {}, ...explained(error));
  if (error.needsKey) text.append(" ", el("a", { href: "#settings", text: "error.enter_key" }));
  const close = el("button", { type: "button", class: "quiet", text: "page.close", on: { click: clearError } });
  alertRegion().replaceChildren(text, close);
  text.scrollIntoView({ block: "nearest" });
}

export function clearError() {
  alertRegion().replaceChildren();
}

/** Run work that may fail and show its error. Returns whether it went well. */
export async function attempt(work) {
  try {
    await work();
  } catch (error) {
    showError(error);
    return false;
  }
  clearError();
  return true;
}
