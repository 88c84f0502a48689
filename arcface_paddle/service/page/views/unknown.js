// Groups of faces that the service met and could not name.

import { may, roleNote } from "../access.js";
import * as api from "../api.js";
import { openDialog } from "../dialogs.js";
import { button, el, empty, field } from "../dom.js";
import { language } from "../i18n.js";
import { announce, attempt } from "../messages.js";

export function unknownView() {
  const content = el("div");

  const load = () =>
    attempt(async () => {
      actions.hidden = !(await may("write"));
      if (actions.hidden) return content.replaceChildren();
      const { enabled, groups } = await api.unknownGroups();
      if (!enabled) return content.replaceChildren(empty("unknown.off"));
      const rows = groups.map((group) => groupRow(group, load));
      content.replaceChildren(rows.length ? el("ul", { class: "rows" }, ...rows) : empty("unknown.empty"));
    });

  const actions = el("div", { class: "actions" }, button("unknown.reload", load));
  const root = el(
    "section",
    { class: "view" },
    el("h1", { tabindex: "-1", text: "unknown.title" }),
    el("p", { class: "hint", text: "unknown.text" }),
    roleNote("access.unknown"),
    content,
    actions,
  );
  return { root, enter: load };
}

function groupRow(group, onDone) {
  return el(
    "li",
    { class: "face" },
    el("img", { class: "crop", src: group.picture, label: ["unknown.group", { group: group.id }] }),
    el(
      "div",
      { class: "grow" },
      el("strong", { text: ["people.faces", { n: group.faces }] }),
      el("p", { class: "hint", text: ["unknown.seen", { moment: new Date(group.last_seen).toLocaleString(language()) }] }),
    ),
    el(
      "div",
      { class: "actions" },
      button("unknown.forget", () => forget(group, onDone), { class: "quiet" }),
      button("unknown.name", () => nameDialog(group, onDone), { class: "primary" }),
    ),
  );
}

async function forget(group, onDone) {
  if (await attempt(() => api.forgetGroup(group.id))) announce("unknown.forgotten");
  await onDone();
}

function nameDialog(group, onDone) {
  const name = el("input", { required: true, maxlength: "200", autocomplete: "off" });
  const work = () => api.nameGroup(group.id, name.value.trim());
  const done = async (person) => {
    announce("people.enrolled", { name: person.name });
    await onDone();
  };
  const picture = el("img", { class: "crop", src: group.picture, label: ["unknown.group", { group: group.id }] });
  openDialog("unknown.who", [picture, field("people.name", name)], { submit: "unknown.name_now", work, done });
}
