// What the key of this tab may do. Controls that need more are hidden, and a line says which role they need.

import * as api from "./api.js";
import { el } from "./dom.js";

const ROLES = ["read", "write", "admin"];

let asked = null;

/**
 * Return who asks: {auth, key, name, role}; role "none" without a valid key. It is asked for once, and again after
 * `forgetAccess`.
 */
export function access() {
  asked ??= api.access().catch((error) => {
    asked = null; // the service may answer the next time
    return { auth: true, key: null, name: null, role: error.needsKey ? "none" : "unknown" };
  });
  return asked.then((known) => {
    document.body.dataset.role = known.role;
    return known;
  });
}

export function forgetAccess() {
  asked = null;
}

/** Whether the key may do what a role may. What is not known is tried: the service has the last word. */
export async function may(role) {
  const { role: own } = await access();
  return own === "unknown" || ROLES.indexOf(own) >= ROLES.indexOf(role);
}

/** What says, to those whose key may only look, which role they need; `text` is the key of a text. */
export function roleNote(text) {
  const link = el("a", { href: "#settings", text: "access.other_key" });
  return el("p", { class: "note", "data-for": "readers" }, el("span", { text }), " ", link);
}

/** Attributes of controls that change people. */
export const FOR_WRITERS = { "data-for": "writers" };
