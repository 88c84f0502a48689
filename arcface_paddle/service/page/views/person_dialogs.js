// The dialogs about one person: enrol, edit, merge, delete.

import * as api from "../api.js";
import { confirmDialog, openDialog } from "../dialogs.js";
import { el, field } from "../dom.js";
import { t } from "../i18n.js";
import { announce, showError } from "../messages.js";
import { pictureArea } from "../pictures.js";

const nothing = () => {};

/**
 * Enrol a person: a name and pictures.
 *
 * @param {{cutouts: Blob[], onDone: (person) => void}} options cutouts of larger pictures, with the face in the middle
 */
export function enrolDialog({ cutouts = [], onDone = nothing } = {}) {
  const inputs = personInputs({});
  const chosen = pictureList(cutouts);
  const work = () => enrol(personFrom(inputs), chosen.pictures, cutouts);
  const done = async ({ person, problems }) => {
    announce("people.enrolled", { name: person.name });
    await onDone(person);
    if (problems.length) showError(refusals(problems));
  };
  const content = [...personFields(inputs), chosen.root];
  const dialog = openDialog("people.enrol", content, { submit: "people.enrol", work, done });
  dialog.pastePictures = chosen.take;
  return dialog;
}

/** A person without a face could never be recognised: where the service takes none of the pictures, nobody is added. */
async function enrol(person, pictures, cutouts) {
  if (pictures.length === 0) throw new Error(t("people.picture_needed"));
  const created = await api.createPerson(person);
  const problems = await addFaces(created.id, pictures, cutouts);
  if (problems.length === pictures.length) {
    await api.deletePerson(created.id);
    throw refusals(problems);
  }
  return { person: created, problems };
}

/** One error that says of each picture why the service refused it. */
export function refusals(problems) {
  const message = problems.map(({ error }) => error.message).join(" · ");
  return Object.assign(new Error(message), { problems, needsKey: problems[0].error.needsKey });
}

/** Add pictures to a person one by one; return [{picture, error}] of those that the service refused. */
export async function addFaces(id, pictures, cutouts = []) {
  const problems = [];
  for (const picture of pictures) {
    try {
      // a neighbour may reach into a cutout
      await api.addFace(id, picture, cutouts.includes(picture) ? "centre" : "one");
    } catch (error) {
      problems.push({ picture, error });
    }
  }
  return problems;
}

export function editDialog(person, onDone) {
  const inputs = personInputs(person);
  const work = () => api.changePerson(person.id, personFrom(inputs));
  const done = async () => {
    announce("people.changed");
    await onDone();
  };
  openDialog(["people.edit_title", { name: person.name }], personFields(inputs), { submit: "people.save", work, done });
}

export function deleteDialog(person, onDone) {
  const work = () => api.deletePerson(person.id);
  const done = async () => {
    announce("people.deleted", { name: person.name });
    await onDone();
  };
  const text = ["people.delete_text", { n: person.faces }];
  confirmDialog(["people.delete_title", { name: person.name }], text, { submit: "people.delete_now", work, done });
}

/** Merge a person into another, who is found by name. */
export function mergeDialog(person, onDone) {
  const search = el("input", { type: "search", autocomplete: "off" });
  const choices = el("div", { class: "choices", role: "radiogroup", label: "people.merge_into" });
  const find = async () => {
    const { people } = await api.people({ search: search.value, limit: 8 });
    const others = people.filter((other) => other.id !== person.id).map(choice);
    choices.replaceChildren(...(others.length ? others : [el("p", { class: "hint", text: "people.nobody_else" })]));
  };
  const work = async () => {
    const into = choices.querySelector("input:checked")?.value;
    if (!into) throw new Error(t("people.merge_choose"));
    await api.mergePeople(person.id, into);
    return into;
  };
  const done = async (into) => {
    announce("people.merged", { name: person.name });
    await onDone(into);
  };
  search.addEventListener("input", find);
  const content = [el("p", { text: "people.merge_text" }), field("people.search", search), choices];
  openDialog(["people.merge_title", { name: person.name }], content, { submit: "people.merge_now", work, done });
  find();
}

function choice(person) {
  const radio = el("input", { type: "radio", name: "into", value: person.id });
  const count = el("span", { class: "hint", text: ["people.faces", { n: person.faces }] });
  return el("label", { class: "choice" }, radio, el("span", {}, person.name), count);
}

function personInputs({ name = "", consent = "", expires = "" }) {
  const day = (expires ?? "").slice(0, 10);
  return {
    name: el("input", { required: true, maxlength: "200", value: name, autocomplete: "off" }),
    consent: el("input", { maxlength: "1000", value: consent ?? "", autocomplete: "off" }),
    expires: el("input", { type: "date", value: day }),
  };
}

function personFields({ name, consent, expires }) {
  return [
    field("people.name", name),
    field("people.consent", consent, "people.consent_hint"),
    field("people.expires", expires, "people.expires_hint"),
  ];
}

function personFrom({ name, consent, expires }) {
  const end = expires.value ? `${expires.value}T23:59:59Z` : null; // the day itself still counts
  return { name: name.value.trim(), consent: consent.value.trim() || null, expires: end };
}

/** Pictures chosen so far, each with a small view of it and a button that takes it out again. */
function pictureList(first) {
  const list = el("ul", { class: "thumbnails" });
  const area = pictureArea("people.pictures", (files) => files.forEach(add), { multiple: true });
  const chosen = { pictures: [], root: el("div", { class: "field" }, area.root, list), take: area.take };

  function add(picture) {
    const url = URL.createObjectURL(picture);
    const attributes = { type: "button", class: "quiet", label: "people.take_out" };
    const remove = el("button", { ...attributes, on: { click: takeOut } }, "×");
    const image = el("img", { src: url, alt: picture.name ?? "" });
    const item = el("li", {}, image, remove);
    chosen.pictures.push(picture);
    list.append(item);

    function takeOut() {
      chosen.pictures.splice(chosen.pictures.indexOf(picture), 1);
      URL.revokeObjectURL(url);
      item.remove();
      area.input.focus();
    }
  }

  first.forEach(add);
  return chosen;
}
