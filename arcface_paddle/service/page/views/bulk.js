// Enrolling many people at once: choose a folder, look at the names, send, follow, and see what gave no face.

import { batchesOf, chosenFile, droppedFiles, liesInFolders, personOf, problemTable, sortFiles } from "../bulk_files.js";
import { enrolBatches } from "../bulk_job.js";
import { FOR_WRITERS } from "../access.js";
import { button, el } from "../dom.js";
import { announce, attempt, explained } from "../messages.js";

const NAMES_SHOWN = 6;
const PROBLEMS_SHOWN = 100;

/** The panel, which goes on while another view is in front; `onDone` is called when people may have been added. */
export function bulkPanel({ onDone }) {
  const outcome = el("div", { class: "outcome" });
  const choice = el("div", { class: "bulk-choice" });
  const areas = el("div", { class: "pair" }, fileArea("bulk.folder", take, { folder: true }), fileArea("bulk.files", take));
  const root = el(
    "section",
    { class: "card bulk", hidden: true, tabindex: "-1", label: "bulk.title", ...FOR_WRITERS },
    el("h2", { text: "bulk.title" }),
    el("p", { class: "hint", text: "bulk.how" }),
    areas,
    choice,
    outcome,
  );

  function take(chosen) {
    const files = sortFiles(chosen);
    outcome.replaceChildren();
    choice.replaceChildren(preview(files, { begin: (by) => run(batchesOf(files, by)), leave: clear }));
    choice.querySelector("button:not([hidden])")?.focus();
  }

  function clear() {
    choice.replaceChildren();
    areas.querySelector("input").focus();
  }

  async function run(batches) {
    const ending = new AbortController();
    const running = progressView(() => ending.abort());
    choice.replaceChildren();
    areas.hidden = true;
    outcome.replaceChildren(running.root);
    running.root.querySelector("button").focus();
    addEventListener("beforeunload", warn);
    let last = null;
    const well = await attempt(async () => {
      await enrolBatches(batches, (progress) => running.show((last = progress)), ending.signal);
    });
    removeEventListener("beforeunload", warn);
    areas.hidden = false;
    const ended = !well ? "bulk.broken" : ending.signal.aborted ? "bulk.cancelled" : "bulk.done";
    outcome.replaceChildren(...report(ended, last));
    if (last) announce(ended, counts(last));
    outcome.querySelector("h3").focus();
    await onDone();
  }

  return { root, take };
}

/** Files that were not sent yet are lost with the page: the browser asks first. */
const warn = (event) => event.preventDefault();

/** An area for many files; by keyboard and on a phone its file input does all. */
function fileArea(text, onFiles, { folder = false } = {}) {
  const accept = folder ? {} : { accept: "image/*,.zip" };
  const input = el("input", { type: "file", multiple: true, webkitdirectory: folder, class: "visually-hidden", ...accept });
  const label = el("label", { class: "drop" }, input, el("strong", { text }), el("span", { text: "picture.how_many" }));
  input.addEventListener("change", () => {
    if (input.files.length) onFiles([...input.files].map(chosenFile));
    input.value = "";
  });
  for (const event of ["dragenter", "dragover"]) label.addEventListener(event, () => label.classList.add("over"));
  for (const event of ["dragleave", "drop"]) label.addEventListener(event, () => label.classList.remove("over"));
  label.addEventListener("drop", (drop) => {
    drop.preventDefault();
    const files = droppedFiles(drop.dataTransfer);
    attempt(async () => onFiles(await files));
  });
  return label;
}

/** What was chosen, whose pictures they are taken for, and the buttons that go on. */
function preview(files, { begin, leave }) {
  const { pictures, zips, others } = files;
  const names = el("p", { class: "names" });
  const count = el("p", { "aria-live": "polite" });
  let by = liesInFolders(pictures) ? "folders" : "files";

  function show() {
    const people = [...new Set(pictures.map((picture) => personOf(picture, by)))];
    const parts = [el("span", { text: ["bulk.pictures", { n: pictures.length }] }), " "];
    if (pictures.length) parts.push(el("span", { text: ["bulk.people", { n: people.length }] }), " ");
    if (zips.length) parts.push(el("span", { text: ["bulk.zips", { n: zips.length }] }), " ");
    if (others) parts.push(el("span", { class: "hint", text: ["bulk.others", { n: others }] }));
    count.replaceChildren(...parts);
    names.replaceChildren(people.slice(0, NAMES_SHOWN).join(" · ") + (people.length > NAMES_SHOWN ? " …" : ""));
  }

  const radio = (value, text) => {
    const input = el("input", { type: "radio", name: "bulk-names", value, checked: value === by });
    input.addEventListener("change", () => ((by = value), show()));
    return el("label", { class: "choice" }, input, el("span", { text }));
  };
  const nothing = pictures.length + zips.length === 0;
  const choices = el(
    "fieldset",
    { hidden: pictures.length === 0 },
    el("legend", { text: "bulk.names_by" }),
    radio("folders", "bulk.by_folders"),
    radio("files", "bulk.by_files"),
  );
  const go = button("bulk.begin", async () => begin(by), { class: "primary", hidden: nothing });
  show();
  return el("div", { class: "outcome" }, count, choices, names, el("div", { class: "actions" }, go, button("dialog.cancel", leave)));
}

function progressView(onCancel) {
  const bar = el("progress", { max: "1", value: "0", label: "bulk.progress" });
  const text = el("p", {});
  const cancel = button("bulk.stop", async () => {
    onCancel();
    cancel.disabled = true;
  });

  function show(progress) {
    const { done, total, sent } = progress;
    bar.max = Math.max(total, 1);
    bar.value = done;
    const sending = sent < 1 ? ["bulk.sending", { percent: Math.round(100 * sent) }] : null;
    text.replaceChildren(
      el("span", { text: ["bulk.counts", counts(progress)] }),
      ...(sending ? [" ", el("span", { class: "hint", text: sending })] : []),
    );
  }

  return { root: el("div", { class: "outcome" }, bar, text, cancel), show };
}

const counts = ({ done, total, enrolled, problems }) => ({ done, total, enrolled, problems: problems.length });

/** What came of it: the counts, and of each picture that gave no face why. */
function report(title, progress) {
  const heading = el("h3", { text: title, tabindex: "-1" });
  if (!progress) return [heading];
  const { problems } = progress;
  const parts = [heading, el("p", { text: ["bulk.counts", counts(progress)] })];
  if (problems.length === 0) return parts;
  const rows = problems.slice(0, PROBLEMS_SHOWN).map(problemRow);
  parts.push(el("ul", { class: "rows problems", label: "bulk.problems" }, ...rows));
  if (problems.length > PROBLEMS_SHOWN) {
    parts.push(el("p", { class: "hint", text: ["bulk.more", { n: problems.length - PROBLEMS_SHOWN }] }));
  }
  return [...parts, el("div", { class: "actions" }, button("bulk.save", async () => save(problems)))];
}

function problemRow({ picture, ...why }) {
  return el("li", { class: "row" }, el("strong", {}, picture || "–"), el("span", { class: "hint" }, ...explained(why)));
}

/** Give the whole list as a file, so that the pictures can be mended and sent again. */
function save(problems) {
  const url = URL.createObjectURL(new Blob([problemTable(problems)], { type: "text/csv" }));
  el("a", { href: url, download: "pictures-without-a-face.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
