"use strict";
// The page of a library's groups. What somebody does becomes an action, a piece of data; apply() alone changes what is
// shown, so that actions can be undone, kept in the browser, done again after a reload, and given to the program.
(() => {
const data = JSON.parse(document.getElementById("data").textContent);
const TEXTS = {
  en: {
    skip: "Skip to the content", theme: "Light or dark", views: "Views", other: "中文", search: "Search names and files",
    sort: "Sort by", size: "size", name: "name", date: "date", typical: "most typical",
    groups: "People", uncertain: "Uncertain", alone: "Alone", nameless: "No name yet", open: "Open", back: "Back",
    faces: (n) => `${n} ${n === 1 ? "face" : "faces"}`, whois: "Who is this?", pick: (n) => `Select ${n}`,
    face: (path, when) => `Face in ${path}${when ? ", " + when : ""}`, original: "picture",
    chosenGroups: (n) => `${n} ${n === 1 ? "group" : "groups"} selected`, chosenFaces: (n) => `${n} selected`,
    merge: "Merge: one person", split: "Split off: another person", move: "Move to …", not: "Not this person",
    unknown: "Unknown", clear: "Clear", all: "Select all", giveName: "Name …", newPerson: (n) => `New person “${n}”`,
    yes: "Yes", no: "No", similarity: (s) => `similarity ${s}`, close: "Close", find: "Name or new name",
    undo: "Undo", save: (n) => `Save corrections (${n})`, copy: "Copy", copied: "Corrections copied",
    saved: "Saved as corrections.json. Then: ", nothing: "Nothing corrected yet.",
    pending: (n) => `${n} ${n === 1 ? "correction" : "corrections"} not saved yet`,
    emptyGroups: "No group matches.", emptyUncertain: "No face is uncertain.", emptyAlone: "No face is alone.",
    undone: "Undone", hintUncertain: "These faces may be somebody who is in a group; nobody is sure. They stay apart until you say so.",
    hintAlone: "Faces like no other, and faces that you have marked as unknown.", ignored: "unknown",
    merged: (n) => `Merged with ${n}`, restored: (n) => `${n} corrections of your last visit are here again`,
    forget: "Forget them", born: "Born",
  },
  zh: {
    skip: "跳到内容", theme: "浅色或深色", views: "视图", other: "English", search: "搜索姓名和文件",
    sort: "排序", size: "数量", name: "姓名", date: "日期", typical: "最典型",
    groups: "人物", uncertain: "不确定", alone: "单独", nameless: "尚未命名", open: "打开", back: "返回",
    faces: (n) => `${n} 张人脸`, whois: "这是谁？", pick: (n) => `选择 ${n}`,
    face: (path, when) => `${path} 中的人脸${when ? "，" + when : ""}`, original: "原图",
    chosenGroups: (n) => `已选 ${n} 组`, chosenFaces: (n) => `已选 ${n} 张`,
    merge: "合并：同一个人", split: "拆分：另一个人", move: "移到…", not: "不是此人",
    unknown: "陌生人", clear: "清除", all: "全选", giveName: "命名…", newPerson: (n) => `新人物“${n}”`,
    yes: "是", no: "不是", similarity: (s) => `相似度 ${s}`, close: "关闭", find: "姓名或新姓名",
    undo: "撤销", save: (n) => `保存更正 (${n})`, copy: "复制", copied: "更正已复制",
    saved: "已保存为 corrections.json。然后运行：", nothing: "尚无更正。",
    pending: (n) => `${n} 项更正尚未保存`,
    emptyGroups: "没有匹配的分组。", emptyUncertain: "没有不确定的人脸。", emptyAlone: "没有单独的人脸。",
    undone: "已撤销", hintUncertain: "这些人脸可能属于某个分组，但无法确定。在您确认之前它们保持分开。",
    hintAlone: "与其他人脸都不相似的人脸，以及您标记为陌生人的人脸。", ignored: "陌生人",
    merged: (n) => `已与 ${n} 合并`, restored: (n) => `已恢复您上次的 ${n} 项更正`, forget: "放弃", born: "出生日期",
  },
};
const STEP = { groups: 48, uncertain: 30, alone: 200, faces: 300 };
const KEY = `arcface-paddle.people.${data.id}`;
const byId = (id) => document.getElementById(id);

/**
 * What the browser keeps for the next visit: texts by key, in a database. Of what pages from files keep in localStorage,
 * Chromium 156 had lost the newest at up to 45 of 100 reloads; it is the second choice, for a browser without a
 * database, and for what an earlier page has kept.
 */
const memory = {
  known: new Map(), database: null, writing: 0,
  async open() {
    const opened = new Promise((resolve, reject) => {
      const request = indexedDB.open("arcface-paddle", 1);
      request.onupgradeneeded = () => request.result.createObjectStore("texts");
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
      setTimeout(() => reject(new Error("no answer")), 2000);
    });
    try {
      const database = await opened;
      await new Promise((resolve, reject) => {
        const request = database.transaction("texts").objectStore("texts").openCursor();
        request.onerror = () => reject(request.error);
        request.onsuccess = () => {
          const cursor = request.result;
          if (!cursor) return resolve();
          this.known.set(cursor.key, cursor.value);
          cursor.continue();
        };
      });
      this.database = database;
    } catch { /* a page without storage works, too */ }
  },
  get(key) {
    if (this.known.has(key)) return this.known.get(key);
    try { return localStorage.getItem(key); } catch { return null; }
  },
  set(key, value) {
    if (!this.database) {
      try { value === null ? localStorage.removeItem(key) : localStorage.setItem(key, value); } catch { /* as above */ }
      return;
    }
    try {
      const change = this.database.transaction("texts", "readwrite");
      change.objectStore("texts").put(value, key);
      change.oncomplete = () => { this.writing -= 1; };
      this.writing += 1;
      this.known.set(key, value);
    } catch { this.database = null; this.known.delete(key); this.set(key, value); }
  },
  /** Would a text be there again if the page were left now? A write that failed counts as one that goes on. */
  holds(key) { return this.writing === 0 && Boolean(this.get(key)); },
};

let language = navigator.language.startsWith("zh") ? "zh" : "en";
let view = "groups", openGroup = null, query = "", sort = "size", shown = 0, savedCount = 0;
const pickedGroups = new Set(), pickedFaces = new Set();
const t = (key, ...values) => { const text = TEXTS[language][key]; return typeof text === "function" ? text(...values.map(plain)) : text; };
// A name may hold signs that turn the direction of writing around, and with it what stands behind: they are spelt out.
const plain = (text) => typeof text !== "string" ? text : text.replace(/[\u202a-\u202e\u2066-\u2069]/g, (sign) => `\\u${sign.charCodeAt(0).toString(16)}`);

// ---- what is known: faces never change, the state is replaced by apply()
const faces = data.faces.map(([id, sheet, tile, picture]) => ({ id, sheet, tile, picture: data.pictures[picture] }));
const faceById = new Map(faces.map((face) => [face.id, face]));
const original = new Map(data.groups.map(([id, , members]) => [id, members.map((at) => faces[at].id)]));
let state = {
  groups: new Map(data.groups.map(([id, name]) => [id, { id, name: name || "", faces: original.get(id) }])),
  uncertain: new Map(data.uncertain.map(([at, candidates]) => [faces[at].id, candidates.map(([group, similarity]) => ({ group, similarity }))])),
  alone: new Set(data.alone.map((at) => faces[at].id)),
  unknown: new Set(),
  births: new Map(Object.entries(data.births)),
};
let actions = [], history = [], made = 0;

/** What a group is called in an action: its id as long as it is what the program knows, otherwise its faces. */
const nameInAction = (group) => {
  const known = original.get(group.id);
  return known && known.length === group.faces.length && known.every((id, at) => id === group.faces[at]) ? group.id : [...group.faces];
};
const membersIn = (group) => (typeof group === "string" ? original.get(group) : group);

/** Return the state after an action; the one before is left as it is. */
function apply(before, action) {
  const next = { groups: new Map(before.groups), uncertain: new Map(before.uncertain), alone: new Set(before.alone), unknown: new Set(before.unknown), births: new Map(before.births) };
  const holder = (ids) => [...next.groups.values()].find((group) => group.faces.includes(ids[0]));
  const put = (group, change) => next.groups.set(group.id, { ...group, ...change });
  const take = (ids) => {
    const gone = new Set(ids);
    for (const group of [...next.groups.values()]) {
      const kept = group.faces.filter((id) => !gone.has(id));
      if (kept.length === group.faces.length) continue;
      if (kept.length > 1 || (kept.length && group.name)) put(group, { faces: kept });
      else { next.groups.delete(group.id); kept.forEach((id) => next.alone.add(id)); }
    }
    ids.forEach((id) => { next.uncertain.delete(id); next.alone.delete(id); next.unknown.delete(id); });
  };
  const create = (ids, name) => { const id = `new-${++made}`; next.groups.set(id, { id, name, faces: ids }); return next.groups.get(id); };
  const join = (target, ids) => { take(ids.filter((id) => !target.faces.includes(id))); put(next.groups.get(target.id) || target, { faces: [...new Set([...target.faces, ...ids])] }); };
  const does = {
    name() {
      const ids = membersIn(action.group ?? action.faces), group = holder(ids);
      if (group) put(group, { name: action.name });
      else { take(ids); create(ids, action.name); }
    },
    merge() {
      const [first, ...others] = action.groups.map((group) => holder(membersIn(group)) );
      const name = [first, ...others].map((group) => group.name).find(Boolean) || "";
      const members = others.flatMap((group) => group.faces);
      others.forEach((group) => next.groups.delete(group.id));
      put(first, { name, faces: [...new Set([...first.faces, ...members])] });
    },
    split() { take(action.faces); create(action.faces, ""); },
    move() { const target = holder(membersIn(action.to)); join(target, action.faces); },
    not_person() {
      const group = holder(membersIn(action.group));
      for (const id of action.faces) {
        const candidates = next.uncertain.get(id);
        if (candidates) {
          const left = candidates.filter((one) => !group || one.group !== group.id);
          if (left.length) { next.uncertain.set(id, left); continue; }
        }
        take([id]);
        next.alone.add(id);
      }
    },
    birth() { action.date ? next.births.set(action.name, action.date) : next.births.delete(action.name); },
    unknown() { take(action.faces); action.faces.forEach((id) => { next.alone.add(id); next.unknown.add(id); }); },
  };
  does[action.do]();
  for (const [id, candidates] of next.uncertain) {
    const left = candidates.filter((one) => next.groups.has(one.group));
    if (left.length === candidates.length) continue;
    if (left.length) next.uncertain.set(id, left);
    else { next.uncertain.delete(id); next.alone.add(id); }
  }
  return next;
}

function act(...given) {
  for (const action of given) {
    history.push(state);
    state = apply(state, action);
    actions.push(action);
  }
  keep();
  pickedFaces.clear();
  pickedGroups.clear();
  if (openGroup && !state.groups.has(openGroup)) openGroup = null;
  render();
}

function undo() {
  if (!history.length) return;
  state = history.pop();
  actions.pop();
  savedCount = Math.min(savedCount, actions.length);
  keep();
  pickedFaces.clear();
  pickedGroups.clear();
  if (openGroup && !state.groups.has(openGroup)) openGroup = null;
  say(t("undone"));
  render();
}

const keep = () => memory.set(KEY, actions.length ? JSON.stringify(actions) : null);

/** Do again what was done at the last visit; a list that does not fit is passed over as a whole. */
function restore() {
  const start = state;
  try {
    const kept = JSON.parse(memory.get(KEY) || "[]");
    for (const action of kept) { history.push(state); state = apply(state, action); actions.push(action); }
  } catch { state = start; history = []; actions = []; keep(); }
}

// ---- elements: text only ever becomes a text node
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "class") element.className = value;
    else if (typeof value === "boolean") element.toggleAttribute(key, value);
    else if (value !== undefined && value !== null) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== "").map(plain));
  return element;
}
const button = (text, onclick, attributes = {}) => make("button", { type: "button", onclick, ...attributes }, text);
const say = (text) => { byId("status").textContent = text; };

const sheetUrls = [];
function sheetUrl(number) {
  if (!sheetUrls[number]) {
    const content = data.sheets.content[number];
    if (data.sheets.embedded) {
      const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
      sheetUrls[number] = URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" }));
    } else sheetUrls[number] = content;
  }
  return sheetUrls[number];
}
const watching = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    watching.unobserve(target);
    const face = faceById.get(target.dataset.face), last = data.sheets.columns - 1;
    if (face.sheet < 0) continue;
    target.style.backgroundImage = `url("${sheetUrl(face.sheet)}")`;
    target.style.backgroundSize = `${(last + 1) * 100}% ${(last + 1) * 100}%`;
    target.style.backgroundPosition = `${(face.tile % (last + 1)) / last * 100}% ${Math.floor(face.tile / (last + 1)) / last * 100}%`;
  }
}, { rootMargin: "300px" });

const when = (face) => face.picture[1].slice(0, 10);
const labelOf = (face) => t("face", face.picture[0], when(face)) + (state.unknown.has(face.id) ? ` (${t("ignored")})` : "");
function picture(id) {
  const face = faceById.get(id);
  const element = make("span", { class: "face", role: "img", "aria-label": labelOf(face), title: labelOf(face), "data-face": id });
  watching.observe(element);
  return element;
}
function faceButton(id) {
  const face = faceById.get(id);
  const element = button("", () => {
    pickedFaces.has(id) ? pickedFaces.delete(id) : pickedFaces.add(id);
    element.setAttribute("aria-pressed", pickedFaces.has(id));
    renderSelection();
  }, { class: "face", "aria-pressed": String(pickedFaces.has(id)), "aria-label": labelOf(face), title: labelOf(face), "data-face": id });
  watching.observe(element);
  const below = face.picture[2]
    ? make("a", { href: face.picture[2], target: "_blank", rel: "noopener", title: face.picture[0] }, when(face) || t("original"))
    : make("span", { class: "when", title: face.picture[0] }, when(face) || face.picture[0]);
  return make("div", { class: "tile" }, element, below);
}

// ---- views
const matches = (group) => {
  if (!query) return true;
  const text = query.toLocaleLowerCase();
  return group.name.toLocaleLowerCase().includes(text) || group.faces.some((id) => faceById.get(id).picture[0].toLocaleLowerCase().includes(text));
};
const firstDate = (group) => group.faces.reduce((first, id) => { const at = faceById.get(id).picture[1]; return at && (!first || at < first) ? at : first; }, "") || "9999";
const ORDERS = {
  size: (a, b) => b.faces.length - a.faces.length,
  name: (a, b) => !a.name - !b.name || a.name.localeCompare(b.name, language),
  date: (a, b) => (firstDate(a) < firstDate(b) ? -1 : 1),
};
const title = (group) => group.name || t("nameless");

function nameField(group) {
  const input = make("input", {
    type: "text", value: group.name, placeholder: t("whois"), "aria-label": t("whois"), list: "names", maxlength: "200", autocomplete: "off",
    onkeydown: (event) => { if (event.key === "Enter") input.blur(); if (event.key === "Escape") { input.value = group.name; event.stopPropagation(); input.blur(); } },
    onchange: () => rename(group, input.value.trim()),
  });
  return input;
}
/** Whoever was photographed before this day is somebody else. */
function birthField(name) {
  const input = make("input", { type: "date", value: state.births.get(name) || "", onchange: () => act({ do: "birth", name, date: input.value }) });
  return make("label", { class: "born hint" }, t("born"), " ", input);
}
function rename(group, name) {
  if (name === group.name || !state.groups.has(group.id)) return;
  const other = name && [...state.groups.values()].find((one) => one.name === name && one.id !== group.id);
  if (other) { act({ do: "merge", groups: [nameInAction(other), nameInAction(group)] }); say(t("merged", name)); return; }
  const named = nameInAction(group);
  act(typeof named === "string" ? { do: "name", group: named, name } : { do: "name", faces: named, name });
}

function groupCard(group) {
  const pick = make("input", {
    type: "checkbox", class: "pick", "aria-label": t("pick", title(group)), checked: pickedGroups.has(group.id),
    onchange: () => {
      pick.checked ? pickedGroups.add(group.id) : pickedGroups.delete(group.id);
      card.classList.toggle("chosen", pick.checked);
      renderSelection();
    },
  });
  const strip = make("div", { class: "strip" }, ...group.faces.slice(0, 8).map(picture));
  const card = make("article", { class: "card" + (pickedGroups.has(group.id) ? " chosen" : ""), "data-group": group.id },
    make("div", { class: "row" }, make("label", { class: "pickfield" }, pick), nameField(group)),
    strip,
    make("div", { class: "row" }, make("span", { class: "hint" }, t("faces", group.faces.length)), button(t("open"), () => show(group.id), { "aria-label": `${t("open")}: ${title(group)}` })));
  return card;
}

function more(parent, items, build, step) {
  let at = 0;
  const end = make("div", { class: "hint" });
  const add = (count) => { parent.append(...items.slice(at, at + count).map(build)); at = Math.min(items.length, at + count); shown = Math.max(shown, at); if (at >= items.length) { watcher.disconnect(); end.remove(); } };
  const watcher = new IntersectionObserver(([entry]) => { if (entry.isIntersecting) { watcher.unobserve(end); add(step); if (at < items.length) watcher.observe(end); } }, { rootMargin: "600px" });
  add(Math.max(step, shown));
  return at < items.length ? (watcher.observe(end), end) : "";
}

function groupsView() {
  const found = [...state.groups.values()].filter(matches).sort(ORDERS[sort] || ORDERS.size);
  if (!found.length) return [make("p", { class: "empty" }, t("emptyGroups"))];
  const list = make("div", { class: "groups" });
  return [list, more(list, found, groupCard, STEP.groups)];
}
function oneGroupView() {
  const group = state.groups.get(openGroup);
  const ids = sort === "date" ? [...group.faces].sort((a, b) => ((faceById.get(a).picture[1] || "9999") < (faceById.get(b).picture[1] || "9999") ? -1 : 1)) : group.faces;
  const tiles = make("div", { class: "tiles" });
  const end = more(tiles, ids, faceButton, STEP.faces);
  return [
    make("div", { class: "head" }, button(`← ${t("back")}`, () => show(null)), nameField(group), group.name ? birthField(group.name) : "", make("span", { class: "hint" }, t("faces", group.faces.length)),
      button(t("all"), () => { group.faces.forEach((id) => pickedFaces.add(id)); render(); })),
    tiles, end];
}
function uncertainView() {
  const found = [...state.uncertain].filter(([id]) => !query || faceById.get(id).picture[0].toLocaleLowerCase().includes(query.toLocaleLowerCase()) ||
    state.uncertain.get(id).some((one) => state.groups.get(one.group).name.toLocaleLowerCase().includes(query.toLocaleLowerCase())));
  if (!found.length) return [make("p", { class: "empty" }, t("emptyUncertain"))];
  const list = make("div", { class: "groups" });
  list.style.gridTemplateColumns = "repeat(auto-fill, minmax(min(100%, 480px), 1fr))";
  const build = ([id, candidates]) => make("article", { class: "card doubt", "data-face-row": id },
    make("div", {}, picture(id), make("p", { class: "hint" }, when(faceById.get(id)))),
    make("div", { class: "candidates" },
      ...candidates.slice(0, 4).map(({ group: key, similarity }) => {
        const group = state.groups.get(key);
        return make("div", { class: "candidate" },
          make("div", { class: "strip" }, ...group.faces.slice(0, 3).map(picture)),
          make("div", {}, make("strong", {}, title(group)), make("p", { class: "hint" }, t("similarity", similarity.toFixed(2)))),
          make("div", { class: "actions" },
            button(t("yes"), () => act({ do: "move", faces: [id], to: nameInAction(group) }), { class: "primary", "aria-label": `${t("yes")}: ${title(group)}` }),
            button(t("no"), () => act({ do: "not_person", faces: [id], group: nameInAction(group) }), { "aria-label": `${t("no")}: ${title(group)}` })));
      }),
      make("div", { class: "actions" }, button(t("giveName"), () => choose([id])), button(t("unknown"), () => act({ do: "unknown", faces: [id] })))));
  return [make("p", { class: "hint" }, t("hintUncertain")), list, more(list, found, build, STEP.uncertain)];
}
function aloneView() {
  const found = [...state.alone].filter((id) => !query || faceById.get(id).picture[0].toLocaleLowerCase().includes(query.toLocaleLowerCase()));
  if (!found.length) return [make("p", { class: "empty" }, t("emptyAlone"))];
  const tiles = make("div", { class: "tiles" });
  return [make("p", { class: "hint" }, t("hintAlone")), tiles, more(tiles, found, faceButton, STEP.alone)];
}

function show(group, next = "groups") {
  openGroup = group;
  view = next;
  shown = 0;
  pickedFaces.clear();
  pickedGroups.clear();
  render();
  scrollTo(0, 0);
  byId("main").focus({ preventScroll: true });
}

// ---- frame
function render() {
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = t(element.dataset.text);
  for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", t(element.dataset.label));
  for (const element of document.querySelectorAll("[data-placeholder]")) element.placeholder = t(element.dataset.placeholder);
  byId("title").textContent = data.title;
  byId("language").textContent = t("other");
  byId("language").lang = language === "zh" ? "en" : "zh";
  const counts = { groups: state.groups.size, uncertain: state.uncertain.size, alone: state.alone.size };
  byId("tabs").replaceChildren(...Object.entries(counts).map(([key, count]) => button(`${t(key)} ${count}`, () => show(null, key), { "aria-current": view === key ? "page" : null, "data-view": key })));
  const orders = openGroup ? ["typical", "date"] : ["size", "name", "date"];
  if (!orders.includes(sort)) sort = orders[0];
  byId("sort").replaceChildren(...orders.map((key) => make("option", { value: key, selected: key === sort }, t(key))));
  byId("sort").closest("label").hidden = view !== "groups";
  const views = { groups: openGroup ? oneGroupView : groupsView, uncertain: uncertainView, alone: aloneView };
  const names = make("datalist", { id: "names" }, ...[...new Set([...state.groups.values()].map((group) => group.name).filter(Boolean))].sort().map((name) => make("option", { value: name })));
  const focused = document.activeElement?.getAttribute?.("aria-label");
  byId("main").replaceChildren(names, ...views[view]().filter(Boolean));
  if (focused && document.activeElement === document.body) [...document.querySelectorAll("main [aria-label]")].find((one) => one.getAttribute("aria-label") === focused)?.focus({ preventScroll: true });
  renderSelection();
  renderSaving();
}

function renderSelection() {
  const bar = byId("selection"), chosenFaces = [...pickedFaces], group = openGroup && state.groups.get(openGroup);
  bar.hidden = !pickedGroups.size && !chosenFaces.length;
  if (bar.hidden) return;
  const clear = button(t("clear"), () => { pickedFaces.clear(); pickedGroups.clear(); render(); }, { class: "quiet" });
  if (pickedGroups.size) {
    const chosen = [...pickedGroups].map((id) => state.groups.get(id)).sort((a, b) => !a.name - !b.name || b.faces.length - a.faces.length);
    bar.replaceChildren(make("span", { class: "grow" }, t("chosenGroups", chosen.length)),
      button(t("merge"), () => act({ do: "merge", groups: chosen.map(nameInAction) }), { class: "primary", disabled: chosen.length < 2 }),
      button(t("unknown"), () => act({ do: "unknown", faces: chosen.flatMap((one) => one.faces) })), clear);
    return;
  }
  const whole = group && chosenFaces.length === group.faces.length;
  bar.replaceChildren(make("span", { class: "grow" }, t("chosenFaces", chosenFaces.length)),
    ...(group ? [
      button(t("split"), () => act({ do: "split", faces: chosenFaces, from: nameInAction(group) }), { class: "primary", disabled: whole }),
      button(t("not"), () => act({ do: "not_person", faces: chosenFaces, group: nameInAction(group) }), { disabled: whole }),
    ] : []),
    button(group ? t("move") : t("giveName"), () => choose(chosenFaces)),
    button(t("unknown"), () => act({ do: "unknown", faces: chosenFaces })), clear);
}

function renderSaving() {
  const pending = actions.length - savedCount;
  const note = pending ? t("pending", pending) : actions.length ? t("saved") : t("nothing");
  byId("saving").replaceChildren(
    make("span", { class: "grow hint" }, note, !pending && actions.length ? make("code", {}, data.command) : ""),
    button(t("undo"), undo, { id: "undo", disabled: !actions.length }),
    button(t("copy"), copy, { id: "copy", disabled: !actions.length }),
    button(t("save", actions.length), save, { id: "save", class: "primary", disabled: !actions.length }));
}

/** Ask to whom faces belong: a group that is there, or somebody new. */
function choose(ids) {
  const dialog = byId("chooser"), from = openGroup && state.groups.get(openGroup);
  const whole = from && ids.length === from.faces.length;
  const leaving = from && !whole ? [{ do: "not_person", faces: ids, group: nameInAction(from) }] : [];
  const list = make("div", { class: "choices" });
  const done = (...given) => { dialog.close(); act(...given); };
  const input = make("input", { type: "text", "aria-label": t("find"), placeholder: t("find"), maxlength: "200", autocomplete: "off", oninput: fill,
    onkeydown: (event) => { if (event.key === "Enter") { event.preventDefault(); list.querySelector("button")?.click(); } } });
  function fill() {
    const text = input.value.trim(), low = text.toLocaleLowerCase();
    const all = [...state.groups.values()].filter((group) => group !== from);
    const found = all.filter((group) => !low || group.name.toLocaleLowerCase().includes(low)).sort((a, b) => (text ? (b.name === text) - (a.name === text) : 0) || ORDERS.name(a, b)).slice(0, 60);
    const fresh = text && !all.some((group) => group.name === text) && text !== from?.name;
    list.replaceChildren(...found.map((group) => button("", () => (whole ? done({ do: "merge", groups: [nameInAction(group), nameInAction(from)] }) : done(...leaving, { do: "move", faces: ids, to: nameInAction(group) })), { class: "choice", "aria-label": title(group) })),
      ...(fresh ? [button(t("newPerson", text), () => done(...leaving, { do: "name", faces: ids, name: text }), { class: "primary" })] : []));
    found.forEach((group, at) => list.children[at].append(picture(group.faces[0]), make("span", {}, title(group)), make("span", { class: "hint" }, t("faces", group.faces.length))));
    if (fresh && !found.some((group) => group.name.toLocaleLowerCase().startsWith(low))) list.prepend(list.lastChild);
  }
  fill();
  dialog.replaceChildren(make("h2", {}, from ? t("move") : t("giveName")), input, list, button(t("close"), () => dialog.close()));
  dialog.showModal();
  input.focus();
}

const document_ = () => JSON.stringify({ format: "arcface-paddle-corrections", version: 1, people: data.id, actions }, null, 1) + "\n";
function save() {
  const link = make("a", { href: URL.createObjectURL(new Blob([document_()], { type: "application/json" })), download: "corrections.json" });
  document.body.append(link);
  link.click();
  link.remove();
  savedCount = actions.length;
  renderSaving();
}
async function copy() {
  const text = document_();
  try { await navigator.clipboard.writeText(text); } catch { // no permission, or a browser that has no clipboard for files
    const field = make("textarea", { class: "hidden" });
    field.value = text;
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  savedCount = actions.length;
  say(t("copied"));
  renderSaving();
}

byId("language").addEventListener("click", () => { language = language === "zh" ? "en" : "zh"; memory.set("arcface-paddle.language", language); render(); });
byId("theme").addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  memory.set("arcface-paddle.theme", document.documentElement.dataset.theme);
});
byId("search").addEventListener("input", (event) => { query = event.target.value.trim(); openGroup = null; shown = 0; render(); });
byId("sort").addEventListener("change", (event) => { sort = event.target.value; render(); });
addEventListener("beforeunload", (event) => { if (actions.length > savedCount && !memory.holds(KEY)) event.preventDefault(); });
addEventListener("keydown", (event) => {
  const typing = event.target.matches("input:not([type=checkbox]), textarea, select") || byId("chooser").open;
  if ((event.ctrlKey || event.metaKey) && event.key === "z" && !typing) { event.preventDefault(); undo(); }
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/") { event.preventDefault(); byId("search").focus(); }
  if (event.key === "Escape") { if (pickedFaces.size || pickedGroups.size) { pickedFaces.clear(); pickedGroups.clear(); render(); } else if (openGroup) show(null); }
  const tiles = event.target.matches("button.face") ? [...document.querySelectorAll("main button.face")] : [];
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns(tiles), ArrowUp: -columns(tiles) };
  if (tiles.length && event.key in steps) { event.preventDefault(); tiles[tiles.indexOf(event.target) + steps[event.key]]?.focus(); }
});
const columns = (tiles) => { const top = tiles[0]?.getBoundingClientRect().top; const at = tiles.findIndex((tile) => tile.getBoundingClientRect().top !== top); return at < 0 ? tiles.length : at; };

async function start() {
  await memory.open();
  language = memory.get("arcface-paddle.language") || language;
  const theme = memory.get("arcface-paddle.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  restore();
  render();
  if (actions.length) {
    say(t("restored", actions.length));
    byId("main").prepend(make("p", { class: "empty" }, t("restored", actions.length), " ", button(t("forget"), () => { while (history.length) { state = history.pop(); } actions = []; savedCount = 0; keep(); render(); })));
  }
}
start();
})();
