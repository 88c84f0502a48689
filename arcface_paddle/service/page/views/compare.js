// Whether two pictures show one person.

import * as api from "../api.js";
import { el, empty, facts } from "../dom.js";
import { draw } from "../draw.js";
import { decimals, percent } from "../faces.js";
import { announce, attempt } from "../messages.js";
import { decode, pictureArea } from "../pictures.js";

export function compareView() {
  const outcome = el("div", { class: "outcome" }, empty("compare.empty"));
  const sides = [side("compare.first", () => run()), side("compare.second", () => run())];
  let request = null;

  async function run() {
    if (sides.some((one) => one.file === null)) return;
    request?.abort();
    request = new AbortController();
    const { signal } = request;
    outcome.setAttribute("aria-busy", "true");
    await attempt(async () => {
      const result = await api.compare(sides[0].file, sides[1].file, { signal });
      sides[0].mark(result.faces_a);
      sides[1].mark(result.faces_b);
      outcome.replaceChildren(...verdict(result));
    });
    if (request.signal === signal) outcome.removeAttribute("aria-busy");
  }

  const paste = ([file]) => (sides.find((one) => one.file === null) ?? sides[1]).take([file]);
  const root = el(
    "section",
    { class: "view" },
    el("h1", { tabindex: "-1", text: "compare.title" }),
    el("div", { class: "pair" }, sides[0].root, sides[1].root),
    outcome,
  );
  return { root, paste };
}

function side(text, onChange) {
  const canvas = el("canvas", { role: "img", label: text, hidden: true });
  const state = { file: null, picture: null };
  const area = pictureArea(text, async ([file]) => {
    state.file = file;
    state.picture = await decode(file);
    show([]);
    onChange();
  });

  function show(faces) {
    const { picture } = state;
    canvas.hidden = picture === null;
    if (!picture) return;
    // The first is the face that was compared; others of the picture are dashed.
    const marks = faces.map((face, index) => ({ box: face.box, known: index === 0, number: index + 1, title: "" }));
    draw(canvas, picture, marks, picture);
  }

  const root = el("div", { class: "side" }, area.root, canvas);
  return { root, take: area.take, mark: show, get file() { return state.file; } };
}

function verdict(result) {
  const key = result.same ? "compare.same" : "compare.different";
  announce(key);
  const rows = [
    ["compare.similarity", decimals(result.similarity)],
    ["compare.probability", percent(result.probability)],
    ["compare.threshold", decimals(result.threshold)],
  ];
  return [el("h2", { class: result.same ? "verdict good" : "verdict bad", text: key }), facts(rows)];
}
