// The page's frame: which view is shown, language, colours, and pictures pasted from the clipboard.

import { access } from "./access.js";
import { closeDialogs } from "./dialogs.js";
import { setLanguage, language, OTHER, t } from "./i18n.js";
import { clearError } from "./messages.js";
import { compareView } from "./views/compare.js";
import { peopleView } from "./views/people.js";
import { recogniseView } from "./views/recognise.js";
import { settingsView } from "./views/settings.js";
import { unknownView } from "./views/unknown.js";

const VIEWS = {
  recognise: recogniseView,
  people: peopleView,
  unknown: unknownView,
  compare: compareView,
  settings: settingsView,
};
const built = {}; // a view is built once and keeps what it shows while another is in front
let current = null;

function showView({ focus = true } = {}) {
  const wanted = location.hash.slice(1);
  if (wanted === "main") return; // the link that skips the navigation
  const name = wanted in VIEWS ? wanted : "recognise";
  closeDialogs();
  clearError();
  current?.leave?.();
  current = built[name] ??= build(name);
  for (const view of Object.values(built)) view.root.hidden = view !== current;
  for (const link of document.querySelectorAll("#tabs a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  entitle(name);
  if (focus) current.root.querySelector("h1").focus(); // a screen reader begins with the new view's title
  current.enter?.();
}

function build(name) {
  const view = VIEWS[name]();
  document.getElementById("main").append(view.root);
  return view;
}

function switchLanguage() {
  setLanguage(OTHER[language()]);
  localStorage.setItem("arcface-paddle.language", language());
  entitle(document.querySelector("#tabs [aria-current]").hash.slice(1));
  current.relabel?.();
}

function entitle(name) {
  document.title = `${t(`${name}.tab`)} · arcface-paddle`;
}

/** The system decides between dark and light until the user does. */
function switchTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const shown = document.documentElement.dataset.theme ?? (dark ? "dark" : "light");
  useTheme(shown === "dark" ? "light" : "dark");
}

function useTheme(theme) {
  if (theme !== "dark" && theme !== "light") return;
  document.documentElement.dataset.theme = theme;
  localStorage.setItem("arcface-paddle.theme", theme);
}

function paste(event) {
  const files = [...(event.clipboardData?.files ?? [])];
  if (files.length === 0) return;
  const dialog = [...document.querySelectorAll("dialog[open]")].pop();
  const take = dialog ? dialog.pastePictures : current.paste;
  take?.(files);
}

setLanguage(localStorage.getItem("arcface-paddle.language") ?? navigator.language);
useTheme(localStorage.getItem("arcface-paddle.theme"));
document.getElementById("language").addEventListener("click", switchLanguage);
document.getElementById("theme").addEventListener("click", switchTheme);
document.addEventListener("paste", paste);
// A picture dropped beside the area must not replace the page.
for (const event of ["dragover", "drop"]) document.addEventListener(event, (drag) => drag.preventDefault());
window.addEventListener("hashchange", () => showView());
access();
showView({ focus: false });
