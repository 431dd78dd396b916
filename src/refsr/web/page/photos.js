// Choosing photos: their tiles, and the check that says what the references are worth.

import { send } from "./server.js";
import { $, saveSession, setText, setTitle, setVerdictText, state } from "./state.js";
import { drawOutlines, tile } from "./tiles.js";

const ALONE = "Without a reference, a network guesses the detail. Add a sharp photo of the same subject to get its real detail.";
const pixelsOf = new WeakMap(); // of each photo that could be read

export function clearProblems() {
  for (const id of ["photo-problem", "reference-problem", "run-problem"]) setText(id, "");
}

// Files that were chosen for one of the two cards, or dropped on the page (`where` is then null:
// the first becomes the photo unless there is one, the others references).
export function addFiles(files, where) {
  const chosen = [...files].filter((file) => file.size || file.name);
  if (!chosen.length) return;
  if (where === "photo") state.photos = chosen;
  else {
    if (where === null && !state.photos.length) state.photos = [chosen.shift()];
    state.references.push(...chosen);
  }
  const { references, kept, words } = state.info.limits;
  const row = Math.floor(kept / 2); // the server keeps so many results, and not for this page alone
  const many = state.references.length > references;
  const long = state.photos.length > row;
  if (many) state.references.length = references;
  if (long) state.photos.length = row;
  photosChanged();
  if (many) setText("reference-problem", words.references);
  if (long) setText("photo-problem", `At most ${row} photos in a row here; refsr batch takes any number.`);
}

export function photosChanged() {
  clearProblems();
  const files = [...state.photos, ...state.references];
  forgetJobs();
  state.wrong = false;
  showTiles();
  setTitle("");
  $("clear").hidden = !files.length;
  $("examples").hidden = files.length > 0;
  $("result").hidden = true;
  enableRun();
  const shared = state.references.reduce((sum, file) => sum + file.size, 0);
  const largest = Math.max(0, ...state.photos.map((file) => file.size));
  if (shared + largest > state.info.limits.upload) {
    state.checking?.abort();
    state.checking = null;
    setText(state.references.length ? "reference-problem" : "photo-problem", state.info.limits.words.upload);
    state.wrong = true;
    enableRun();
    setVerdict("");
    return;
  }
  check();
}

function enableRun() {
  $("run").disabled = !state.photos.length || state.wrong;
  setText("run", state.photos.length > 1 ? `Upscale ${state.photos.length} photos` : "Upscale");
}

// The server keeps the files of a job for half an hour; those that nobody can see any more go now.
function forgetJobs() {
  const ids = [state.check, ...state.jobs].map((one) => one?.id).filter(Boolean);
  for (const id of new Set(ids)) deleteJob(id);
  Object.assign(state, { jobs: [], shown: null, check: null });
  saveSession();
}

export function deleteJob(id) {
  send("DELETE", `api/jobs/${id}`, undefined, undefined, true).catch(() => {});
}

// ---- tiles

export function showTiles() {
  restoreScale();
  limitScales();
  fill("photo", state.photos, "Choose a photo", "Choose another");
  fill("reference", state.references, "Choose one or more", "Add another");
}

function fill(card, files, empty, filled) {
  const many = files.length > 1;
  const tiles = files.map((file, index) =>
    tile(file, many ? String(index + 1) : "", () => {
      files.splice(files.indexOf(file), 1);
      photosChanged();
    }),
  );
  files.forEach((file, index) => {
    const image = tiles[index].querySelector("img");
    image.addEventListener("load", () => {
      if (pixelsOf.has(file)) return; // it is the server's smaller picture of it
      pixelsOf.set(file, image.naturalWidth * image.naturalHeight);
      if (image.isConnected) limitScales();
    });
    // The check looks at the first photo and its references; what it does not is looked at here.
    image.addEventListener("error", () => {
      if (image.isConnected && (card === "photo" ? index > 0 : !state.photos.length)) inspect(file, tiles[index], card);
    });
  });
  $(`${card}-tiles`).replaceChildren(...tiles);
  $(`${card}-tiles`).classList.toggle("many", many);
  $(`${card}-card`).classList.toggle("filled", tiles.length > 0);
  $(`${card}-drop`).querySelector("strong").textContent = tiles.length ? filled : empty;
}

// Ask the server about a file that the browser cannot show, one after the other.
let inspected = Promise.resolve();
function inspect(file, element, card) {
  inspected = inspected.then(async () => {
    if (!element.isConnected) return;
    const data = new FormData();
    data.append("photo", file);
    try {
      const found = await send("POST", "api/check", data);
      const image = element.querySelector("img");
      if (card === "photo") pixelsOf.set(file, found.photo.width * found.photo.height);
      limitScales();
      image.src = `api/jobs/${found.id}/pictures/photo.jpg`;
      await image.decode().catch(() => {});
      deleteJob(found.id);
    } catch (error) {
      if (element.isConnected) markWrong(element, card, error.message);
    }
  });
}

function markWrong(element, card, message) {
  element?.classList.add("wrong");
  setText(`${card}-problem`, message);
}

// ---- sizes

// Pixels of the largest photo at a scale.
export function mostPixels(scale) {
  const { photo_pixels: most, own_size_pixels: own } = state.info.limits;
  return scale === 1 ? Math.max(most, own) : Math.floor((16 * most) / scale ** 2);
}

export const megapixels = (pixels) => String(Math.floor(pixels / 1e5) / 10);

// The larger a photo, the less it can be enlarged.
function limitScales() {
  const pixels = Math.max(0, ...state.photos.map((file) => pixelsOf.get(file) ?? 0));
  const options = [...$("scale").options];
  for (const option of options) option.disabled = pixels > mostPixels(Number(option.value));
  const most = Math.max(1, ...options.filter((one) => !one.disabled).map((one) => Number(one.value)));
  if (Number($("scale").value) > most) hold(most);
  const limit = most < 4 ? megapixels(mostPixels(most + 1)) : "";
  const may = most === 1 ? "can only keep its size here" : `can be enlarged at most ${most}× here`;
  setText("scale-hint", most < 4 ? `A photo of more than ${limit} megapixels ${may}.` : "");
}

// Hold this photo to a size; the next one gets the user's choice again.
function hold(scale) {
  if ($("scale").value === String(scale)) return;
  state.scaleBefore ??= $("scale").value;
  $("scale").value = String(scale);
}

function restoreScale() {
  if (state.scaleBefore) $("scale").value = state.scaleBefore;
  state.scaleBefore = null;
}

// ---- the check

function setVerdict(words, waiting = false) {
  setVerdictText($("verdict"), words);
  $("verdict").classList.toggle("waiting", waiting);
}

export function form(photo) {
  const data = new FormData();
  data.append("photo", photo);
  for (const reference of state.references) data.append("reference", reference);
  return data;
}

// Check the first photo, alone or with the references; any change starts a new check. Run continues
// from it, so that nothing is sent twice.
function check() {
  state.checking?.abort();
  state.checking = null;
  if (!state.photos.length) return setVerdict("");
  const alone = !state.references.length;
  setVerdict(alone ? ALONE : "Matching the references with the photo …", true);
  const abort = new AbortController();
  state.checking = abort;
  abort.done = send("POST", "api/check", form(state.photos[0]), abort.signal)
    .then((found) => {
      if (abort.signal.aborted) return;
      state.check = found;
      saveSession();
      showVerdict(found);
    })
    .catch((error) => {
      if (!abort.signal.aborted) showError(error);
    })
    .finally(() => {
      if (state.checking === abort) state.checking = null;
    });
}

export function showVerdict(found) {
  const rows = found.references;
  const used = rows.filter((row) => row.used);
  const words = [];
  if (rows.length === 1) words.push(rows[0].verdict);
  else if (used.length) {
    const gain = found.expected_gain_db;
    const size = gain >= 1 ? "a clear gain" : gain >= 0.3 ? "a small gain" : "hardly a gain";
    words.push(`${used.length} of ${rows.length} references will be used; expect ${size} of all together (about ${gain.toFixed(1)} dB over the whole photo).`);
  } else words.push("None of the references will be used.");
  if (!used.length) words.push("The photo will be upscaled without a reference.");
  if (found.photo.degradation) words.push(`Your photo: ${found.photo.degradation}.`);
  if (used.length) words.push(found.advice);
  pixelsOf.set(state.photos[0], found.photo.width * found.photo.height);
  limitScales();
  if (found.scale === 1) hold(1);
  setVerdict(rows.length ? words.join(" ") : ALONE, !rows.length);
  const shown = rows.filter((row) => row.outlines.length);
  const photo = $("photo-tiles").children[0];
  drawOutlines(photo, shown.flatMap((row) => row.outlines.map((one) => one.photo)), shown.length < 2);
  const tiles = [...$("reference-tiles").children];
  tiles.forEach((element, index) => {
    drawOutlines(element, rows[index].outlines.map((one) => one.reference));
    if (rows.length > 1) setVerdictText(element.querySelector(".words"), rows[index].verdict);
  });
  for (const [element, part] of [[photo, "photo"], ...rows.map((row, index) => [tiles[index], row.part])]) {
    const image = element.querySelector("img");
    if (element.querySelector(".blank")) image.src = `api/jobs/${found.id}/pictures/${part}.jpg`;
  }
}

// Show an error beside the photo that caused it. `index`: of the photo among several.
export function showError(error, index = 0) {
  setVerdict("");
  const part = error.part ?? "";
  if (part === "photo") markWrong($("photo-tiles").children[index], "photo", error.message);
  else if (part.startsWith("reference-")) markWrong($("reference-tiles").children[Number(part.slice(10)) - 1], "reference", error.message);
  else return setText("run-problem", error.message);
  if (state.photos.length < 2 || part !== "photo") state.wrong = true; // of several, the others can be upscaled
  enableRun();
}
