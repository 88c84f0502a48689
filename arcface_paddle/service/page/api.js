// The HTTP interface of the service, one function a route. Everything that goes wrong arrives as a ServiceError.

import { t } from "./i18n.js";

const CODES_OF_STATUSES = { 413: "too_large", 429: "rate_limited", 502: "busy", 503: "busy", 504: "timed_out" }; // of proxies
const KEY_ITEM = "arcface-paddle.key";

/** What the service (or the way to it) refused: `code`, of which the page has a text, and `message` in English. */
export class ServiceError extends Error {
  constructor(status, code, message) {
    super(message);
    this.name = "ServiceError";
    this.status = status;
    this.code = code;
  }

  /** Whether another API key could help. */
  get needsKey() {
    return this.status === 401 || this.status === 403;
  }
}

// The key lives in sessionStorage only: it is gone with the tab, and no other site can read it.
export const readKey = () => sessionStorage.getItem(KEY_ITEM) ?? "";
export const keepKey = (key) => (key ? sessionStorage.setItem(KEY_ITEM, key) : sessionStorage.removeItem(KEY_ITEM));

/** Who this key is to the service: {auth, key, name, role}. */
export const access = () => call("GET", "access");
export const models = () => call("GET", "models");
export const gallery = () => call("GET", "gallery");

/** @param {number|null} threshold least similarity of a name; null: the service's own */
export const identify = (picture, { threshold = null, k = 5, signal } = {}) =>
  call("POST", "identify", { query: { k, threshold }, body: form({ image: picture }), signal });
export const compare = (first, second, { signal } = {}) =>
  call("POST", "compare", { body: form({ image_a: first, image_b: second }), signal });

export const people = ({ search = "", offset = 0, limit = 50, signal } = {}) =>
  call("GET", "people", { query: { search, offset, limit, pictures: true }, signal });
export const person = (id) => call("GET", at("people", id));
export const createPerson = (person) => call("POST", "people", { json: person });
export const changePerson = (id, changes) => call("PATCH", at("people", id), { json: changes });
export const deletePerson = (id) => call("DELETE", at("people", id));
export const mergePeople = (id, into) => call("POST", at("people", id, "merge"), { json: { into } });

export const faces = (id) => call("GET", at("people", id, "faces"), { query: { pictures: true } });

/** @param {"one"|"centre"} faces which of the picture's: "one" refuses several, "centre" takes the middle one */
export const addFace = (id, picture, faces = "one") =>
  call("POST", at("people", id, "faces"), { query: { faces }, body: form({ image: picture }) });
export const deleteFace = (id, face) => call("DELETE", at("people", id, "faces", face));

export const unknownGroups = () => call("GET", "unknown");
export const forgetGroup = (group) => call("DELETE", at("unknown", group));
export const nameGroup = (group, name) => call("POST", at("unknown", group, "name"), { json: { name } });

export const job = (id) => call("GET", at("jobs", id));
export const cancelJob = (id) => call("DELETE", at("jobs", id));

/**
 * Begin to enrol many pictures: a form of files called PERSON/FILE, or one zip. Returns the job.
 *
 * @param {{files: {file: File, name: string}[], zip: File|null}} batch
 * @param {{onSent: (share: number) => void, signal: AbortSignal}} options told how much has been sent, 0 to 1, which
 *   `fetch` cannot tell
 */
export function enrolMany({ files, zip }, { onSent, signal }) {
  const data = new FormData();
  for (const { file, name } of files) data.append("files", file, name);
  const request = new XMLHttpRequest();
  request.open("POST", address("jobs/enrol"));
  for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
  if (zip) request.setRequestHeader("Content-Type", "application/zip");
  return new Promise((resolve, reject) => {
    request.upload.addEventListener("progress", ({ loaded, total }) => onSent(total ? loaded / total : 0));
    request.addEventListener("error", () => reject(unreachable()));
    request.addEventListener("abort", () => reject(new DOMException("", "AbortError")));
    request.addEventListener("load", () => {
      if (request.status < 300) resolve(JSON.parse(request.responseText));
      else reject(refusal(request, request.responseText));
    });
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(zip ?? data);
  });
}

function at(...parts) {
  return parts.map(encodeURIComponent).join("/");
}

function form(pictures) {
  const data = new FormData();
  for (const [field, picture] of Object.entries(pictures)) {
    data.append(field, picture, picture.name ?? "upload.jpg");
  }
  return data;
}

/** Send one request; return the JSON answer, or null where the answer has no body. */
async function call(method, path, { query = {}, json, body, signal } = {}) {
  const url = address(path);
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== "") url.searchParams.set(name, value);
  }
  const type = json ? { "Content-Type": "application/json" } : {};
  const content = json ? JSON.stringify(json) : body;
  const answer = await send(url, { method, headers: { ...headers(), ...type }, body: content, signal });
  const text = await answer.text();
  if (!answer.ok) throw refusal(answer, text);
  return text ? JSON.parse(text) : null;
}

const address = (path) => new URL(`v1/${path}`, document.baseURI); // relative: a proxy may serve all below a prefix

function headers() {
  const own = { Accept: "application/json" };
  if (readKey()) own.Authorization = `Bearer ${readKey()}`;
  return own;
}

async function send(url, request) {
  try {
    return await fetch(url, { ...request, cache: "no-store", credentials: "omit" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw unreachable();
  }
}

const unreachable = () => new ServiceError(0, "unreachable", t("error.unreachable"));

function refusal(answer, text) {
  try {
    const { code, message } = JSON.parse(text);
    if (message) return new ServiceError(answer.status, code, message);
  } catch {
    // not the service but something before it answered, with a page of its own
  }
  const code = CODES_OF_STATUSES[answer.status];
  return new ServiceError(answer.status, code ?? "http", code ? "" : t("error.http", { status: answer.status }));
}
