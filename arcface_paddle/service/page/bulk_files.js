// Which of many chosen files are pictures, and whose: by the folder that a picture lies in, or by its own name.

const PICTURE = /\.(jpe?g|png|webp|bmp|gif|tiff?|heic|heif|avif)$/i;
const ZIP = /\.zip$/i;
const BATCH_FILES = 200; // of one job: small enough for the limits of proxies, large enough to keep all workers busy
const BATCH_BYTES = 64e6;

/** A file with the path that it was chosen by: "people/Grace Hopper/1.jpg", or its name alone. */
export const chosenFile = (file) => ({ file, path: file.webkitRelativePath || file.name });

/** Files of what was dropped, folders searched through. Call it before anything is awaited: a drop ends with its event. */
export async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (entries.length === 0) return [...transfer.files].map(chosenFile);
  return (await Promise.all(entries.map(filesBelow))).flat();
}

async function filesBelow(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [{ file, path: entry.fullPath.replace(/^\//, "") }];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // 100 at a time
    if (some.length === 0) return found;
    for (const one of some) found.push(...(await filesBelow(one)));
  }
}

/**
 * Sort chosen files.
 *
 * @returns {{pictures: object[], zips: object[], others: number}} `others`: how many are neither
 */
export function sortFiles(chosen) {
  const shown = chosen.filter(({ path }) => !path.split("/").some((part) => part.startsWith(".") || part === "__MACOSX"));
  const zips = shown.filter(({ path }) => ZIP.test(path));
  const pictures = shown.filter(({ file, path }) => PICTURE.test(path) || file.type.startsWith("image/"));
  return { pictures, zips, others: shown.length - zips.length - pictures.length };
}

/** Whether names are those of folders: they are where pictures lie in folders of a folder. */
export const liesInFolders = (pictures) => pictures.some(({ path }) => path.split("/").length > 2);

/** @param {"folders"|"files"} by what names the person; a picture without a folder is called after the person anyway */
export function personOf({ path }, by) {
  const parts = path.split("/");
  if (by === "folders" && parts.length > 1) return parts[parts.length - 2];
  const stem = parts[parts.length - 1].replace(/\.[^.]+$/, "");
  const name = stem.replace(/[\s_.-]*\(?\d+\)?$/, "").replaceAll("_", " ").trim(); // "Grace_Hopper (2)"
  return name || stem;
}

/** Split pictures into what is sent at once: [{files: [{file, name: "PERSON/FILE"}], count}]. A zip goes alone. */
export function batchesOf({ pictures, zips }, by) {
  const batches = [];
  let bytes = Infinity;
  for (const picture of pictures) {
    if (bytes + picture.file.size > BATCH_BYTES || batches[batches.length - 1].files.length >= BATCH_FILES) {
      batches.push({ files: [], zip: null });
      bytes = 0;
    }
    bytes += picture.file.size;
    batches[batches.length - 1].files.push({ file: picture.file, name: `${personOf(picture, by)}/${picture.file.name}` });
  }
  return [...batches, ...zips.map(({ file }) => ({ files: [], zip: file }))];
}

/** Problems as a table that a spreadsheet opens; a cell never begins with what a spreadsheet would compute. */
export function problemTable(problems) {
  const cell = (text) => `"${(/^[=+\-@\t\r]/.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;
  const rows = problems.map(({ picture, code, message }) => [picture, code, message].map(cell).join(","));
  return `\ufeff${["picture,code,message", ...rows].join("\r\n")}\r\n`;
}
