// Who is in a picture, and who is before the camera.

import * as api from "../api.js";
import { button, el, empty } from "../dom.js";
import { cutFace, draw, toJpeg } from "../draw.js";
import { faceRow, mark, nameOf, numberOf } from "../faces.js";
import { t } from "../i18n.js";
import { announce, attempt, clearError, showError } from "../messages.js";
import { decode, openCamera, pictureArea } from "../pictures.js";
import { threshold } from "../settings_state.js";
import { Tracks } from "../tracks.js";
import { enrolDialog } from "./person_dialogs.js";

const FRAME_MS = 500;
const AFTER_ERROR_MS = 2000; // a service that is busy is not asked twice a second
const FRAME_PX = 960; // width of a frame that is sent: faces of a tenth of it still have 96 pixels

export function recogniseView() {
  const canvas = el("canvas", { role: "img", hidden: true });
  const video = el("video", { muted: true, playsInline: true, hidden: true, "aria-hidden": "true" });
  const stage = el("div", { class: "stage" }, video, canvas);
  const list = el("ul", { class: "rows", label: "recognise.list" });
  const note = el("div", {}, empty("recognise.empty"));
  const beside = el("div", { class: "beside blank" }, stage, el("div", {}, note, list));
  const area = pictureArea("recognise.drop", ([file]) => recognise(file));
  let shown = null; // {picture, faces, width, height} on the canvas
  let request = null; // AbortController of the picture being recognised
  let last = null; // the picture recognised last, and the threshold it was recognised with
  const camera = liveCamera({ video, onFaces: (result) => show({ ...result, live: true }), onEnd: freeze });

  async function recognise(file) {
    camera.stop();
    request?.abort(); // the newest picture wins
    request = new AbortController();
    const { signal } = request;
    last = { file, similarity: threshold() };
    area.root.setAttribute("aria-busy", "true");
    await attempt(async () => {
      const answer = api.identify(file, { threshold: threshold(), signal });
      const [result, picture] = await Promise.all([answer, decode(file)]);
      if (!signal.aborted) show({ ...result, picture });
    });
    if (request.signal === signal) area.root.removeAttribute("aria-busy");
  }

  function show(result) {
    shown = result;
    beside.classList.remove("blank");
    canvas.hidden = false;
    redraw(-1);
    const actions = (face) => ({ onSelect: redraw, onEnrol: enrol(face) });
    list.replaceChildren(...result.faces.map((face, index) => faceRow(face, index, actions(face))));
    const nobody = empty(result.live ? "recognise.nobody_live" : "recognise.nobody");
    note.replaceChildren(...(result.faces.length ? [] : [nobody]));
    tell(result);
  }

  function tell({ faces, live }) {
    const names = faces.map(nameOf).join(", ");
    const said = t("recognise.found", { n: faces.length, names });
    if (live && canvas.getAttribute("aria-label") === said) return; // only what changed is news
    canvas.setAttribute("aria-label", said);
    announce("recognise.found", { n: faces.length, names });
  }

  function redraw(selected) {
    if (!shown) return;
    const marks = shown.faces.map((face, index) => mark(face, numberOf(face, index)));
    draw(canvas, shown.picture ?? null, marks, { width: shown.width, height: shown.height, selected });
  }

  function enrol(face) {
    if (!shown.picture || shown.live) return null; // live rows are made anew with each frame: no focus would stay
    const { picture } = shown;
    return () => attempt(async () => enrolDialog({ cutouts: [await cutFace(picture, face.box)] }));
  }

  /** After the camera stops, its last frame stays with its names, and unknown faces of it can be enrolled. */
  function freeze(frame) {
    start.hidden = false;
    stopping.hidden = true;
    turn.hidden = true;
    if (shown && frame) show({ ...shown, picture: frame, live: false });
    else clear();
  }

  function clear() {
    shown = null;
    last = null;
    canvas.hidden = true;
    list.replaceChildren();
    note.replaceChildren(empty("recognise.empty"));
    beside.classList.add("blank");
  }

  async function startCamera() {
    request?.abort();
    clear();
    clearError();
    await attempt(() => camera.start());
    if (!camera.running) return;
    beside.classList.remove("blank");
    start.hidden = true;
    stopping.hidden = false;
    turn.hidden = false;
    stopping.focus();
  }

  /** Back from the settings with another threshold: the picture's names may be others. */
  function enter() {
    if (last && last.similarity !== threshold()) recognise(last.file);
  }

  const start = button("camera.start", startCamera, { class: "primary" });
  const stopping = button("camera.stop", () => camera.stop(), { class: "danger", hidden: true });
  const turn = button("camera.turn", () => attempt(() => camera.turn()), { hidden: true });
  new ResizeObserver(() => redraw(-1)).observe(stage);
  const root = el(
    "section",
    { class: "view" },
    el("h1", { tabindex: "-1", text: "recognise.title" }),
    el("div", { class: "sources" }, area.root, el("div", { class: "actions" }, start, stopping, turn)),
    beside,
  );
  return { root, enter, leave: () => camera.stop(), paste: area.take, relabel: () => shown && show(shown) };
}

/** Frames of the camera, one at a time to the service: the frame sent next is always the newest. */
function liveCamera({ video, onFaces, onEnd }) {
  const frame = document.createElement("canvas");
  let stream = null;
  let abort = null;
  let answered = null; // the frame that the faces shown are of
  let facing = "user";
  let wanted = false; // a user may have gone on before the browser has asked them for the camera

  async function start() {
    wanted = true;
    answered = null;
    const opened = await openCamera(facing);
    if (!wanted) return close(opened);
    stream = opened;
    video.srcObject = stream;
    video.hidden = false;
    await video.play();
    stream.getVideoTracks()[0].addEventListener("ended", stop); // unplugged, or taken by the system
    abort = new AbortController();
    watch(abort.signal);
  }

  async function watch(signal) {
    const tracks = new Tracks();
    let failed = false;
    while (!signal.aborted) {
      const began = performance.now();
      try {
        if (!document.hidden) await look(tracks, signal);
        if (failed) clearError();
        failed = false;
      } catch (error) {
        failed = true;
        showError(error);
        if (!(error instanceof api.ServiceError) || error.needsKey) stop(); // waiting would not help
      }
      const rest = failed ? AFTER_ERROR_MS : FRAME_MS - (performance.now() - began);
      await pause(Math.max(0, rest), signal);
    }
  }

  async function look(tracks, signal) {
    const scale = Math.min(1, FRAME_PX / video.videoWidth);
    frame.width = Math.round(video.videoWidth * scale);
    frame.height = Math.round(video.videoHeight * scale);
    frame.getContext("2d").drawImage(video, 0, 0, frame.width, frame.height);
    const picture = await toJpeg(frame, 0.85);
    const result = await api.identify(picture, { threshold: threshold(), signal });
    if (signal.aborted) return;
    answered = copy(frame);
    onFaces({ ...result, faces: tracks.update(result.faces, performance.now()) });
  }

  function stop() {
    wanted = false;
    if (!stream) return;
    release();
    video.hidden = true;
    onEnd(answered);
  }

  function release() {
    abort?.abort();
    close(stream);
    stream = null;
    video.srcObject = null;
  }

  async function turn() {
    facing = facing === "user" ? "environment" : "user";
    if (stream) release(); // a phone opens one camera at a time
    try {
      await start();
    } catch (error) {
      video.hidden = true;
      onEnd(null);
      throw error;
    }
  }

  return { start, stop, turn, get running() { return stream !== null; } };
}

function close(stream) {
  for (const track of stream.getTracks()) track.stop();
}

function copy(source) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [source.width, source.height];
  canvas.getContext("2d").drawImage(source, 0, 0);
  return canvas;
}

function pause(duration_ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, duration_ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
