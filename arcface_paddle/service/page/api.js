// The HTTP interface of the service, one function a route. Everything that goes wrong arrives as a ServiceError.

import { t } from "./i18n.js";

const KEY_ITEM = "arcface-paddle.key";

/** What the service (or the way to it) refused: `code` for programs, `message` for people. */
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

export const models = () => call("GET", "models");
export const gallery = () => call("GET", "gallery");

/** @param {number|null} threshold least similarity of a name; null: the service's own */
export const identify = (picture, { threshold = null, k = 5, signal } = {}) =>
  call("POST", "identify", { query: { k, threshold }, body: form({ image: picture }), signal });
export const compare = (first, second, { signal } = {}) =>
  call("POST", "compare", { body: form({ image_a: first, image_b: second }), signal });

export const people = ({ search = "", offset = 0, limit = 50, signal } = {}) =>
  call("GET", "people", { query: { search, offset, limit }, signal });
export const person = (id) => call("GET", at("people", id));
export const createPerson = (person) => call("POST", "people", { json: person });
export const changePerson = (id, changes) => call("PATCH", at("people", id), { json: changes });
export const deletePerson = (id) => call("DELETE", at("people", id));
export const mergePeople = (id, into) => call("POST", at("people", id, "merge"), { json: { into } });

export const faces = (id) => call("GET", at("people", id, "faces"));

/** @param {"one"|"centre"} faces which of the picture's: "one" refuses several, "centre" takes the middle one */
export const addFace = (id, picture, faces = "one") =>
  call("POST", at("people", id, "faces"), { query: { faces }, body: form({ image: picture }) });
export const deleteFace = (id, face) => call("DELETE", at("people", id, "faces", face));

export const unknownGroups = () => call("GET", "unknown");
export const forgetGroup = (group) => call("DELETE", at("unknown", group));
export const nameGroup = (group, name) => call("POST", at("unknown", group, "name"), { json: { name } });

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
  const url = new URL(`v1/${path}`, document.baseURI); // relative, so that a proxy may serve all below a prefix
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== "") url.searchParams.set(name, value);
  }
  const headers = { Accept: "application/json" };
  if (readKey()) headers.Authorization = `Bearer ${readKey()}`;
  if (json) headers["Content-Type"] = "application/json";
  const answer = await send(url, { method, headers, body: json ? JSON.stringify(json) : body, signal });
  const text = await answer.text();
  if (!answer.ok) throw refusal(answer, text);
  return text ? JSON.parse(text) : null;
}

async function send(url, request) {
  try {
    return await fetch(url, { ...request, cache: "no-store", credentials: "omit" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServiceError(0, "unreachable", t("error.unreachable"));
  }
}

function refusal(answer, text) {
  try {
    const { code, message } = JSON.parse(text);
    if (message) return new ServiceError(answer.status, code, message);
  } catch {
    // not the service but something before it answered, with a page of its own
  }
  return new ServiceError(answer.status, "http", t("error.http", { status: answer.status }));
}
