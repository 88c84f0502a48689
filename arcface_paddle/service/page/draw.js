// Boxes and names on a canvas. A canvas draws text as text: a name cannot do anything here.

import { plain } from "./i18n.js";

const KNOWN = "#12b3a6";
const UNKNOWN = "#ffb224";
const INK = "#08201e";
const MOST_PX = 1920; // of the longer side; a photograph of 50 megapixels would cost a phone 200 MB as a canvas

/**
 * Size the canvas for a picture and return the scale from the picture's pixels to the canvas's.
 *
 * @param {number} width of the picture as the service saw it
 */
export function fit(canvas, width, height) {
  const scale = Math.min(1, MOST_PX / Math.max(width, height));
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  return scale;
}

/**
 * Draw a picture (or nothing: a canvas above a video stays clear) and its faces.
 *
 * @param {CanvasImageSource|null} picture
 * @param {{box: number[], number: number, title: string, known: boolean}[]} marks boxes in pixels of the picture
 * @param {{width: number, height: number, selected?: number}} options size of the picture; index of the stressed mark
 */
export function draw(canvas, picture, marks, { width, height, selected = -1 }) {
  const scale = fit(canvas, width, height);
  const context = canvas.getContext("2d");
  if (picture) context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  const { clientWidth, clientHeight } = canvas;
  // canvas pixels a pixel of the screen, which shows the whole canvas inside of its element
  const shown = clientWidth ? Math.max(canvas.width / clientWidth, canvas.height / clientHeight) : 1;
  marks.forEach((mark, index) => drawBox(context, mark, scale, shown * (index === selected ? 2 : 1)));
  drawTitles(context, marks, scale, shown);
}

function drawBox(context, { box, known }, scale, unit) {
  const [x1, y1, x2, y2] = box.map((value) => value * scale);
  context.lineWidth = 2.5 * unit;
  context.setLineDash(known ? [] : [8 * unit, 5 * unit]); // colour is not the only sign
  context.strokeStyle = known ? KNOWN : UNKNOWN;
  context.strokeRect(x1, y1, x2 - x1, y2 - y1);
  context.setLineDash([]);
}

/** Draw a number and a name above each box; only the number where the name would cover that of another face. */
function drawTitles(context, marks, scale, shown) {
  const size = 14 * shown;
  context.font = `600 ${size}px system-ui, "Noto Sans CJK SC", "Microsoft YaHei", sans-serif`;
  context.textBaseline = "middle";
  const places = marks.map((mark) => placeTitle(context, String(mark.number), mark, size, scale));
  marks.forEach((mark, index) => {
    const whole = placeTitle(context, shorten(context, `${mark.number} ${plain(mark.title)}`.trim()), mark, size, scale);
    if (!places.some((other, at) => at !== index && meet(whole, other))) places[index] = whole;
  });
  places.forEach(({ text, left, top, width, height }, index) => {
    context.fillStyle = marks[index].known ? KNOWN : UNKNOWN;
    context.fillRect(left, top, width, height);
    context.fillStyle = INK;
    context.fillText(text, left + size * 0.4, top + height / 2);
  });
}

function placeTitle(context, text, { box }, size, scale) {
  const [x1, y1] = box.map((value) => value * scale);
  const width = context.measureText(text).width + size * 0.8;
  const height = size * 1.5;
  const left = Math.max(0, Math.min(x1, context.canvas.width - width));
  return { text, left, top: y1 - height >= 0 ? y1 - height : y1, width, height }; // inside where the picture ends
}

function meet(a, b) {
  const beside = a.left >= b.left + b.width || b.left >= a.left + a.width;
  return !beside && a.top < b.top + b.height && b.top < a.top + a.height;
}

function shorten(context, text) {
  const most = context.canvas.width * 0.6;
  if (context.measureText(text).width <= most) return text;
  let letters = [...text];
  const tooWide = () => context.measureText(`${letters.join("")}…`).width > most;
  while (letters.length > 1 && tooWide()) letters = letters.slice(0, -1);
  return `${letters.join("")}…`;
}

/** Cut a face out of a picture with room around it (a detector wants to see the whole head); returns a JPEG blob. */
export function cutFace(picture, box) {
  const [x1, y1, x2, y2] = box;
  const margin = 0.8 * Math.max(x2 - x1, y2 - y1);
  const left = Math.max(0, x1 - margin);
  const top = Math.max(0, y1 - margin);
  const width = Math.min(picture.width, x2 + margin) - left;
  const height = Math.min(picture.height, y2 + margin) - top;
  const canvas = document.createElement("canvas");
  const scale = fit(canvas, width, height);
  canvas.getContext("2d").drawImage(picture, left, top, width, height, 0, 0, width * scale, height * scale);
  return toJpeg(canvas);
}

/** @returns {Promise<Blob>} */
export function toJpeg(canvas, quality = 0.92) {
  return new Promise((resolve, reject) => {
    const taken = (blob) => (blob ? resolve(blob) : reject(new Error("the browser made no JPEG of the picture")));
    canvas.toBlob(taken, "image/jpeg", quality);
  });
}
