// Where pictures come from: chosen, dropped or pasted.

import { el } from "./dom.js";
import { t } from "./i18n.js";
import { ServiceError } from "./api.js";

/**
 * An area that takes pictures. Its file input is the only control: it works by keyboard, and on a phone it offers the
 * camera too. Call `take(files)` for pictures that were pasted elsewhere on the page.
 *
 * @param {string} text key of what the area asks for
 * @param {(files: File[]) => void} onPictures
 */
export function pictureArea(text, onPictures, { multiple = false } = {}) {
  const input = el("input", { type: "file", accept: "image/*", multiple, class: "visually-hidden" });
  const label = el("label", { class: "drop" }, input, el("strong", { text }), el("span", { text: "picture.how" }));
  const take = (files) => {
    const pictures = [...files].filter((file) => file.type.startsWith("image/") || file.type === "");
    if (pictures.length) onPictures(multiple ? pictures : pictures.slice(0, 1));
  };
  input.addEventListener("change", () => {
    take(input.files);
    input.value = ""; // the same picture may be chosen again
  });
  for (const event of ["dragenter", "dragover"]) label.addEventListener(event, (drag) => over(drag, true));
  for (const event of ["dragleave", "drop"]) label.addEventListener(event, (drag) => over(drag, false));
  label.addEventListener("drop", (drop) => take(drop.dataTransfer.files));
  return { root: label, input, take };
}

function over(drag, inside) {
  drag.preventDefault(); // or the browser would leave the page to show the picture
  drag.currentTarget.classList.toggle("over", inside);
}

/**
 * Decode a picture for the canvas, upright as the service sees it.
 *
 * @returns {Promise<ImageBitmap|null>} null where the service can read a format that this browser cannot (HEIC)
 */
export async function decode(file) {
  try {
    return await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    return null;
  }
}

/** Open the camera; the caller stops the stream's tracks. */
export async function openCamera(facing) {
  if (!navigator.mediaDevices) throw new ServiceError(0, "camera", t("camera.insecure"));
  try {
    const video = { facingMode: facing, width: { ideal: 1280 }, height: { ideal: 720 } };
    return await navigator.mediaDevices.getUserMedia({ video, audio: false });
  } catch (error) {
    const key = error.name === "NotAllowedError" ? "camera.refused" : "camera.missing";
    throw new ServiceError(0, "camera", t(key, { reason: error.message }));
  }
}
