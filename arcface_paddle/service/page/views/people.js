// The people of the gallery: find, enrol, and one person's faces beside the list.

import { FOR_WRITERS, roleNote } from "../access.js";
import * as api from "../api.js";
import { confirmDialog } from "../dialogs.js";
import { button, el, empty, facts, field } from "../dom.js";
import { decimals } from "../faces.js";
import { announce, attempt, showError } from "../messages.js";
import { pictureArea } from "../pictures.js";
import { bulkPanel } from "./bulk.js";
import { addFaces, deleteDialog, editDialog, enrolDialog, mergeDialog, refusals } from "./person_dialogs.js";

const PAGE = 25;
const TYPING_MS = 250; // a search starts when the typing rests

export function peopleView() {
  const search = el("input", { type: "search", autocomplete: "off", placeholder: "people.search_hint" });
  const list = el("ul", { class: "rows people" });
  const count = el("p", { class: "hint", "aria-live": "polite" });
  const note = el("div");
  const detail = el("div", { class: "detail" });
  let offset = 0;
  let opened = null; // id of the person shown beside the list
  let typing = null;
  let request = null;

  const pages = pager(PAGE, async (wanted) => {
    offset = wanted;
    await load();
  });
  const bulk = bulkPanel({ onDone: () => load() });

  async function load() {
    request?.abort();
    request = new AbortController();
    const { signal } = request;
    await attempt(async () => {
      const answer = await api.people({ search: search.value.trim(), offset, limit: PAGE, signal });
      if (!signal.aborted) show(answer);
    });
  }

  function show({ total, people }) {
    if (people.length === 0 && offset > 0) return pages.go(total - 1); // the last one of a page was deleted
    list.replaceChildren(...people.map((person) => personRow(person, { open, current: person.id === opened })));
    const first = total ? offset + 1 : 0;
    count.replaceChildren(el("span", { text: ["people.range", { first, last: offset + people.length, total }] }));
    pages.show(offset, total);
    note.replaceChildren(...(total ? [] : [nobody()]));
  }

  function nobody() {
    if (search.value.trim()) return empty(["people.none_found", { search: search.value.trim() }]);
    return empty("people.empty", button("people.enrol", enrol, { class: "primary" }));
  }

  async function open(id) {
    opened = id;
    await attempt(async () => {
      const [person, faces, gallery] = await Promise.all([api.person(id), api.faces(id), api.gallery()]);
      if (opened !== id) return;
      detail.replaceChildren(personPanel(person, faces, { crops: gallery.crops, close, refresh, onMerged: open }));
      root.classList.add("opened");
      detail.querySelector("h2").focus();
    });
    markCurrent();
  }

  function markCurrent() {
    for (const one of list.querySelectorAll("button")) one.setAttribute("aria-current", String(one.value === opened));
  }

  async function refresh({ keep = true } = {}) {
    await load();
    if (keep) await open(opened);
    else close();
  }

  function close() {
    const row = [...list.querySelectorAll("button")].find((one) => one.value === opened);
    opened = null;
    root.classList.remove("opened");
    detail.replaceChildren(empty("people.choose"));
    markCurrent();
    (row ?? search).focus();
  }

  async function enrol() {
    enrolDialog({
      onDone: async (person) => {
        await load();
        await open(person.id);
      },
    });
  }

  async function openBulk() {
    bulk.root.hidden = !bulk.root.hidden;
    many.setAttribute("aria-expanded", String(!bulk.root.hidden));
    if (!bulk.root.hidden) bulk.root.querySelector("input").focus();
  }

  search.addEventListener("input", () => {
    clearTimeout(typing);
    offset = 0;
    typing = setTimeout(load, TYPING_MS);
  });
  detail.append(empty("people.choose"));
  const add = button("people.enrol", enrol, { class: "primary", ...FOR_WRITERS });
  const many = button("people.enrol_many", openBulk, { "aria-expanded": "false", ...FOR_WRITERS });
  const root = el(
    "section",
    { class: "view people-view" },
    el("h1", { tabindex: "-1", text: "people.title" }),
    el("div", { class: "toolbar" }, field("people.search", search), el("div", { class: "actions" }, add, many)),
    roleNote("access.people"),
    bulk.root,
    el("div", { class: "beside even" }, el("div", { class: "master" }, count, list, note, pages.root), detail),
  );
  return { root, enter: load };
}

/** Buttons and a number for the pages of a list; `turn` is given the place of the first one of the page wanted. */
function pager(size, turn) {
  const number = el("input", { type: "number", min: "1", step: "1", inputmode: "numeric", label: "people.page" });
  const of = el("span", { class: "hint" });
  let page = 0;
  let last = 0;
  const go = (wanted) => turn(size * Math.min(Math.max(0, wanted), last));
  const first = el("button", { type: "button", class: "quiet", label: "people.first", on: { click: () => go(0) } }, "«");
  const back = button("people.previous", () => go(page - 1));
  const next = button("people.next", () => go(page + 1));
  const end = el("button", { type: "button", class: "quiet", label: "people.last", on: { click: () => go(last) } }, "»");
  const root = el("nav", { class: "pager", label: "people.paging", hidden: true }, first, back, number, of, next, end);
  number.addEventListener("change", () => go((Math.round(Number(number.value)) || page + 1) - 1));

  function show(offset, total) {
    page = Math.floor(offset / size);
    last = Math.max(0, Math.ceil(total / size) - 1);
    root.hidden = last === 0;
    number.max = String(last + 1);
    number.value = String(page + 1);
    of.replaceChildren(el("span", { text: ["people.pages", { pages: last + 1 }] }));
    first.disabled = back.disabled = page === 0;
    next.disabled = end.disabled = page >= last;
  }

  return { root, show, go: (place) => turn(size * Math.floor(place / size)) };
}

/** A person's picture, or the first letter of the name where the service keeps none. */
function portrait({ name, picture }) {
  if (picture) return el("img", { class: "portrait", src: picture, alt: "" }); // the name stands beside it
  return el("span", { class: "portrait", "aria-hidden": "true" }, [...name][0].toUpperCase());
}

function personRow(person, { open, current }) {
  const count = el("span", { class: "hint", text: ["people.faces", { n: person.faces }] });
  const parts = [portrait(person), el("strong", {}, person.name), count];
  if (person.expires) parts.push(el("span", { class: "hint", text: ["people.until", { day: day(person.expires) }] }));
  const attributes = { type: "button", class: "row", value: person.id, "aria-current": String(current) };
  return el("li", {}, el("button", { ...attributes, on: { click: () => open(person.id) } }, ...parts));
}

const day = (moment) => (moment ? String(moment).slice(0, 10) : "–");

/** One person: what is known, what can be done, and the faces. */
function personPanel(person, faces, { crops, close, refresh, onMerged }) {
  const rows = [
    ["people.consent", person.consent || "–"],
    ["people.expires", day(person.expires)],
    ["people.created", day(person.created)],
    ["people.id", el("code", {}, person.id)],
  ];
  const gone = () => refresh({ keep: false });
  const merged = async (into) => (await gone(), await onMerged(into));
  const items = faces.map((face) => faceItem(person, face, refresh));
  const note = crops ? [] : [el("p", { class: "hint", text: "people.no_crops" })];
  const area = pictureArea("people.add_faces", (files) => add(files), { multiple: true });

  async function add(files) {
    const problems = await addFaces(person.id, files);
    await refresh();
    announce("people.added", { n: files.length - problems.length });
    if (problems.length) showError(refusals(problems));
  }

  return el(
    "article",
    { class: "card" },
    button("people.back", close, { class: "quiet back" }),
    el("h2", { tabindex: "-1" }, person.name),
    facts(rows),
    el(
      "div",
      { class: "actions", ...FOR_WRITERS },
      button("people.edit", () => editDialog(person, refresh)),
      button("people.merge", () => mergeDialog(person, merged)),
      button("people.delete", () => deleteDialog(person, gone), { class: "danger" }),
    ),
    el("h3", { text: ["people.faces", { n: faces.length }] }),
    items.length ? el("ul", { class: "rows" }, ...items) : empty("people.no_faces"),
    ...note,
    el("div", FOR_WRITERS, area.root),
  );
}

function faceItem(person, face, refresh) {
  const source = face.source || String(face.id);
  const values = { quality: decimals(face.quality), day: day(face.added) };
  const work = () => api.deleteFace(person.id, face.id);
  const done = async () => {
    announce("people.face_deleted");
    await refresh();
  };
  const text = ["people.delete_face_text", { source }];
  const ask = () => confirmDialog("people.delete_face", text, { submit: "people.delete_now", work, done });
  return el(
    "li",
    { class: "face" },
    ...(face.picture ? [el("img", { class: "crop", src: face.picture, label: ["people.face_of", { name: person.name }] })] : []),
    el(
      "div",
      { class: "grow" },
      el("strong", {}, source),
      el("p", { class: "hint", text: ["people.face_facts", values] }),
    ),
    button("people.delete", ask, { class: "quiet", ...FOR_WRITERS, label: ["people.delete_named", { name: source }] }),
  );
}
