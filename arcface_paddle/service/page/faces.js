// How one recognised face is told: on the canvas, in a list and to a screen reader.

import { FOR_WRITERS } from "./access.js";
import { el } from "./dom.js";
import { t } from "./i18n.js";

export const percent = (value) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(1)}\u00a0%`);
export const decimals = (value) => (value === null || value === undefined ? "–" : value.toFixed(3).replace("-", "−"));

export const nameOf = (face) => face.name ?? t("face.unknown");

/** What the canvas shows of a face; numbers join boxes and list. */
export function mark(face, number) {
  return { box: face.box, known: face.name !== null, number, title: nameOf(face) };
}

/** The number of a face: that of its track where it is followed, or it would change whenever another face goes. */
export const numberOf = (face, index) => face.track ?? index + 1;

/**
 * One row of the list beside the picture.
 *
 * @param {number} index of the face in the picture
 * @param {{onSelect: Function, onEnrol: Function|null}} actions what pointing at the row does; how to name an unknown
 */
export function faceRow(face, index, { onSelect, onEnrol = null }) {
  const known = face.name !== null;
  const name = known ? el("strong", {}, face.name) : el("strong", { text: "face.unknown" });
  const values = { similarity: decimals(face.similarity), probability: percent(face.probability) };
  const row = el(
    "li",
    { class: known ? "face known" : "face" },
    el("span", { class: "number" }, String(numberOf(face, index))),
    el("div", { class: "grow" }, name, el("p", { class: "hint", text: ["face.values", values] }), ...nearest(face)),
  );
  if (!known && onEnrol) row.append(el("button", { type: "button", text: "face.enrol", ...FOR_WRITERS, on: { click: onEnrol } }));
  row.addEventListener("pointerenter", () => onSelect(index));
  row.addEventListener("pointerleave", () => onSelect(-1));
  row.addEventListener("focusin", () => onSelect(index));
  row.addEventListener("focusout", () => onSelect(-1));
  return row;
}

/** Who else comes near, of another name than the one shown. */
function nearest(face) {
  const others = (face.candidates ?? []).filter((candidate) => candidate.name !== face.name).slice(0, 2);
  if (others.length === 0) return [];
  const names = others.map((candidate) => `${candidate.name}\u00a0${decimals(candidate.similarity)}`).join(", ");
  return [el("p", { class: "hint", text: ["face.nearest", { names }] })];
}
