// The gallery's numbers, the threshold and what it means, the models, and the API key of this tab.

import { access, forgetAccess } from "../access.js";
import * as api from "../api.js";
import { button, el, facts, field } from "../dom.js";
import { decimals } from "../faces.js";
import { t } from "../i18n.js";
import { announce, attempt } from "../messages.js";
import { farAt, oneIn } from "../rates.js";
import { chooseThreshold, threshold } from "../settings_state.js";

export function settingsView() {
  const statistics = el("div");
  const cards = el("div");
  const rights = el("div", { class: "rows" });
  const slider = thresholdSlider();

  const load = () =>
    attempt(async () => {
      rights.replaceChildren(...rightsOf(await access()));
      const [gallery, models] = await Promise.all([api.gallery(), api.models()]);
      const detector = modelCard("settings.detector", models.detector);
      const recognizer = modelCard("settings.recognizer", models.recognizer);
      statistics.replaceChildren(facts(galleryRows(gallery)));
      cards.replaceChildren(detector, recognizer);
      slider.show(models.thresholds, gallery.faces);
    });

  const docs = el("p", {}, el("a", { href: "docs", text: "settings.docs" }));
  const root = el(
    "section",
    { class: "view" },
    el("h1", { tabindex: "-1", text: "settings.title" }),
    el(
      "div",
      { class: "panels" },
      panel("settings.statistics", statistics),
      panel("settings.threshold", slider.root),
      panel("settings.key", el("div", { class: "rows" }, keyForm(load), docs)),
      panel("access.title", rights),
      panel("settings.models", cards),
    ),
  );
  return { root, enter: load };
}

const panel = (title, content) => el("section", { class: "card" }, el("h2", { text: title }), content);

const ALLOWS = { read: "access.read", write: "access.write", admin: "access.admin" };

/** Who the key is, and what each role may do. */
function rightsOf({ auth, name, role }) {
  const own = auth ? ["access.own", { name: name ?? "–", role }] : "access.open";
  const rows = Object.entries(ALLOWS).map(([one, allows]) => {
    const yours = one === role ? [" ", el("span", { class: "tag", text: "access.yours" })] : [];
    const head = el("th", { scope: "row" }, el("code", {}, one), ...yours);
    return el("tr", {}, head, el("td", { text: allows }));
  });
  const heads = el("tr", {}, el("th", { scope: "col", text: "access.role" }), el("th", { scope: "col", text: "access.allows" }));
  const known = role === "none" ? "access.none" : own;
  return [
    ...(role === "unknown" ? [] : [el("p", { text: known })]),
    el("table", {}, el("thead", {}, heads), el("tbody", {}, ...rows)),
  ];
}

function galleryRows({ people, faces, model, engine, bytes, crops }) {
  const pictures = el("span", { text: crops ? "settings.crops_kept" : "settings.crops_none" });
  return [
    ["settings.people", String(people)],
    ["settings.faces", String(faces)],
    ["settings.engine", String(engine)],
    ["settings.model", String(model)],
    ["settings.bytes", bytes === null || bytes === undefined ? "–" : inBytes(bytes)],
    ["settings.crops", pictures],
  ];
}

function inBytes(bytes) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  const power = bytes > 0 ? Math.min(units.length - 1, Math.floor(Math.log10(bytes) / 3)) : 0;
  return `${Number((bytes / 1000 ** power).toPrecision(3))} ${units[power]}`;
}

/** A slider whose every position says at which rate a stranger would be given a name. */
function thresholdSlider() {
  const input = el("input", { type: "range", step: "0.005" });
  const value = el("output", { class: "big" });
  const meaning = el("p", { "aria-live": "polite" });
  const search = el("p", { class: "hint" });
  const reset = button("settings.reset", async () => choose(null), { disabled: true });
  let thresholds = null;
  let faces = 0;

  function choose(similarity) {
    chooseThreshold(similarity);
    if (similarity === null) input.value = thresholds.identify;
    reset.disabled = similarity === null;
    tell();
  }

  function tell() {
    const similarity = threshold() ?? thresholds.identify;
    const rate = farAt(similarity, thresholds.far_table);
    value.textContent = decimals(similarity);
    meaning.textContent = rateText(rate);
    search.textContent = rate && faces ? searchText(rate, faces) : "";
    input.setAttribute("aria-valuetext", `${decimals(similarity)}: ${meaning.textContent}`);
  }

  function show(given, count) {
    [thresholds, faces] = [given, count];
    const marks = (given.far_table ?? []).map((point) => point.similarity).concat(given.identify);
    input.min = Math.max(-1, Math.min(...marks) - 0.05).toFixed(2);
    input.max = Math.min(1, Math.max(...marks) + 0.05).toFixed(2);
    input.value = threshold() ?? given.identify;
    tell();
  }

  input.addEventListener("input", () => choose(Number(input.value)));
  document.addEventListener("languagechange", () => thresholds && tell());
  const root = el(
    "div",
    { class: "threshold" },
    el("div", { class: "toolbar" }, field("settings.least", input), value),
    meaning,
    search,
    el("p", { class: "hint", text: "settings.threshold_hint" }),
    reset,
  );
  return { root, show };
}

function rateText(rate) {
  if (rate === null) return t("settings.far_unknown");
  const key = { "": "settings.far", "<": "settings.far_below", ">": "settings.far_above" }[rate.beyond];
  return t(key, { far: rate.far.toExponential(1), n: oneIn(rate.far) });
}

/** A stranger meets every face of the gallery, and each could be similar enough by accident. */
function searchText(rate, faces) {
  const fpir = -Math.expm1(faces * Math.log1p(-rate.far));
  return t("settings.fpir", { n: faces, fpir: (100 * fpir).toPrecision(2) });
}

function modelCard(title, card) {
  const rows = Object.entries(card ?? {}).filter(([, value]) => typeof value !== "object" || value === null);
  const list = el("dl", { class: "facts" });
  for (const [name, value] of rows) list.append(el("dt", {}, name), el("dd", {}, String(value ?? "–")));
  const all = el("pre", { tabindex: "0", label: title }, JSON.stringify(card, null, 2));
  const more = el("details", {}, el("summary", { text: "settings.whole_card" }), all);
  return el("article", { class: "model" }, el("h3", { text: title }), list, more);
}

function keyForm(onKey) {
  const input = el("input", { type: "password", autocomplete: "off", value: api.readKey(), spellcheck: "false" });
  const keep = el("button", { type: "submit", class: "primary", text: "settings.key_keep" });
  const forget = button("settings.key_forget", () => use(""));
  const actions = el("div", { class: "actions" }, keep, forget);
  const form = el("form", {}, field("settings.key_field", input, "settings.key_hint"), actions);

  async function use(key) {
    api.keepKey(key);
    forgetAccess();
    input.value = key;
    announce(key ? "settings.key_kept" : "settings.key_forgotten");
    await onKey();
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    use(input.value.trim());
  });
  return form;
}
