// The page: choose photos, see the verdict, wait, compare, download. The server does the work.

import { call, send, ServerError } from "./server.js";
import { drawOutlines, tile } from "./tiles.js";
import { Viewer } from "./viewer.js";

const $ = (id) => document.getElementById(id);
const POLL_MS = 400; // between requests for the status of a job
const KEEP_ALIVE_MS = 240_000; // between requests that keep a finished job on the server

const state = { photo: null, references: [], info: null, check: null, checking: null, job: null };
const ALONE = "Without a reference, a network guesses the detail. Add a sharp photo of the same subject to get its real detail.";
const viewer = new Viewer($("view"), (view) => {
  $("zoom").textContent = `${Math.round(view.zoom * 100)} %`;
  $("divider").value = Math.round(view.divider * 100);
});

// ---- choosing

function setText(id, text) {
  $(id).textContent = text;
}

function clearProblems() {
  for (const id of ["photo-problem", "reference-problem", "run-problem"]) setText(id, "");
}

function addFiles(files, where) {
  const photos = [...files].filter((file) => file.size || file.name);
  if (!photos.length) return;
  if (where === "photo") {
    state.photo = photos[0];
    if (photos.length > 1) state.references.push(...photos.slice(1));
  } else {
    state.references.push(...photos);
  }
  const { references, words } = state.info.limits;
  const many = state.references.length > references;
  if (many) state.references.length = references;
  photosChanged();
  if (many) setText("reference-problem", words.references);
}

function photosChanged() {
  clearProblems();
  const photos = [state.photo, ...state.references].filter(Boolean);
  state.check = null;
  showTiles();
  $("clear").hidden = !photos.length;
  $("examples").hidden = photos.length > 0;
  $("run").disabled = !state.photo;
  $("result").hidden = true;
  const bytes = photos.reduce((sum, file) => sum + file.size, 0);
  if (bytes > state.info.limits.upload) {
    setText(state.references.length ? "reference-problem" : "photo-problem", state.info.limits.words.upload);
    $("run").disabled = true;
    setVerdict("");
    return;
  }
  check();
}

function showTiles() {
  const photo = state.photo ? [tile(state.photo, "", () => ((state.photo = null), photosChanged()))] : [];
  limitScales(0);
  restoreScale();
  const image = photo[0]?.querySelector("img");
  image?.addEventListener("load", () => image.isConnected && !state.check && limitScales(image.naturalWidth * image.naturalHeight));
  image?.addEventListener("error", () => image.isConnected && !state.checking && !state.check && check(true));
  $("photo-tiles").replaceChildren(...photo);
  $("photo-card").classList.toggle("filled", photo.length > 0);
  $("photo-drop").querySelector("strong").textContent = photo.length ? "Choose another" : "Choose a photo";
  const many = state.references.length > 1;
  const tiles = state.references.map((file, index) =>
    tile(file, many ? String(index + 1) : "", () => {
      state.references.splice(index, 1);
      photosChanged();
    }),
  );
  $("reference-tiles").replaceChildren(...tiles);
  $("reference-tiles").classList.toggle("many", many);
  $("reference-card").classList.toggle("filled", tiles.length > 0);
  $("reference-drop").querySelector("strong").textContent = tiles.length ? "Add another" : "Choose one or more";
}

function setVerdict(words, waiting = false) {
  $("verdict").textContent = words;
  $("verdict").classList.toggle("waiting", waiting);
}

function form() {
  const data = new FormData();
  data.append("photo", state.photo);
  for (const reference of state.references) data.append("reference", reference);
  return data;
}

// A photo that is too large to be enlarged can only keep its size.
function limitScales(pixels) {
  const limit = state.info.limits.photo_pixels;
  const tooLarge = pixels > limit;
  for (const option of $("scale").options) option.disabled = tooLarge && option.value !== "1";
  if (tooLarge) keepSize();
  setText("scale-hint", tooLarge ? `A photo of more than ${limit / 1e6} megapixels can only keep its size here.` : "");
}

// Choose the same size for this photo; the next one gets the user's choice again.
function keepSize() {
  if ($("scale").value === "1") return;
  state.scaleBefore = $("scale").value;
  $("scale").value = "1";
}

function restoreScale() {
  if (state.scaleBefore && $("scale").value === "1") $("scale").value = state.scaleBefore;
  state.scaleBefore = null;
}

// Check as soon as there are a photo and a reference; any change starts a new check.
// A photo that only the server can read (HEIC) is checked `alone`, too: for its size and picture.
function check(alone = false) {
  state.checking?.abort();
  state.checking = null;
  if (!state.photo) return setVerdict("");
  if (!state.references.length) {
    setVerdict(ALONE, true);
    if (!alone) return;
  } else setVerdict("Matching the references with the photo …", true);
  const abort = new AbortController();
  state.checking = abort;
  abort.done = send("POST", "api/check", form(), abort.signal)
    .then((found) => {
      state.check = found;
      showVerdict(found);
    })
    .catch((error) => {
      if (!abort.signal.aborted) showError(error);
    })
    .finally(() => {
      if (state.checking === abort) state.checking = null;
    });
}

function showVerdict(found) {
  const rows = found.references;
  const used = rows.filter((row) => row.used);
  const words = [];
  if (rows.length === 1) words.push(rows[0].verdict);
  else if (used.length) {
    words.push(`${used.length} of ${rows.length} references will be used; expected gain together: about ${found.expected_gain_db.toFixed(1)} dB.`);
  } else words.push("None of the references will be used.");
  if (!used.length) words.push("The photo will be upscaled without a reference.");
  if (found.photo.degradation) words.push(`Your photo: ${found.photo.degradation}.`);
  if (used.length) words.push(found.advice);
  limitScales(found.photo.width * found.photo.height);
  if (found.scale === 1) keepSize();
  setVerdict(rows.length ? words.join(" ") : ALONE, !rows.length);
  const shown = rows.filter((row) => row.outlines.length);
  drawOutlines($("photo-tiles").children[0], shown.flatMap((row) => row.outlines.map((one) => one.photo)), shown.length < 2);
  [...$("reference-tiles").children].forEach((element, index) => {
    drawOutlines(element, rows[index].outlines.map((one) => one.reference));
    if (rows.length > 1) element.querySelector(".words").textContent = rows[index].verdict;
  });
  for (const [element, part] of [
    [$("photo-tiles").children[0], "photo"],
    ...rows.map((row, index) => [$("reference-tiles").children[index], row.part]),
  ]) {
    const image = element.querySelector("img");
    if (element.querySelector(".blank")) image.src = `api/jobs/${found.id}/pictures/${part}.jpg`;
  }
}

// Show an error beside the photo that caused it.
function showError(error) {
  setVerdict("");
  const part = error.part ?? "";
  if (part === "photo") {
    $("photo-tiles").children[0]?.classList.add("wrong");
    setText("photo-problem", error.message);
  } else if (part.startsWith("reference-")) {
    $("reference-tiles").children[Number(part.slice(10)) - 1]?.classList.add("wrong");
    setText("reference-problem", error.message);
  } else setText("run-problem", error.message);
}

// ---- working

async function run() {
  clearProblems();
  show("working");
  showStage("Uploading your photos", null);
  $("stage").focus();
  const run = (state.run = {});
  try {
    await state.checking?.done;
    if (state.run !== run) return;
    const data = state.check ? new FormData() : form();
    if (state.check) data.append("check", state.check.id);
    data.append("scale", $("scale").value);
    data.append("strict", $("strict").checked ? "yes" : "no");
    let job = await send("POST", "api/jobs", data);
    if (state.run !== run) return deleteJob(job.id); // cancelled before the job had an id
    state.job = job.id;
    while (state.run === run && ["waiting", "working"].includes(job.state)) {
      showProgress(job);
      await new Promise((go) => setTimeout(go, POLL_MS));
      job = await call(`api/jobs/${job.id}`);
    }
    if (state.run !== run) return;
    if (job.state !== "done") throw new ServerError(job.error ?? "The job was cancelled.");
    await showResult(job);
  } catch (error) {
    if (state.run !== run) return;
    if (error.status === 404) state.check = null; // expired: upload the photos again next time
    show("choose");
    showError(error);
  }
}

function show(id) {
  $("working").hidden = id !== "working";
  $("result").hidden = id !== "result";
  $("go").hidden = id === "working";
  for (const card of document.querySelectorAll(".card")) card.inert = id === "working";
}

let announced = "";
function showStage(words, share, left = "") {
  $("stage").textContent = words;
  if (share === null) $("bar").removeAttribute("value");
  else $("bar").value = share;
  setText("left", left);
  const tenth = share === null ? words : `${words}, ${Math.floor(share * 10) * 10} %`;
  if (tenth !== announced) setText("spoken", (announced = tenth)); // screen readers announce each tenth
}

function showProgress(job) {
  if (job.state === "waiting") {
    const before = job.before_you;
    const words = before ? `Waiting for ${before} other ${before === 1 ? "job" : "jobs"}` : "Starting";
    return showStage(words, null, before ? "Users take turns." : "");
  }
  const percent = `${Math.round(job.progress * 100)} %`;
  showStage("Upscaling your photo", job.progress, `${percent}, about ${duration(job.seconds_left)} left`);
}

function duration(seconds) {
  if (seconds < 1.5) return "1 second";
  if (seconds < 90) return `${Math.round(seconds)} seconds`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} minutes` : `${(seconds / 3600).toFixed(1)} hours`;
}

function cancel() {
  state.run = null;
  if (state.job) deleteJob(state.job);
  state.job = state.check = null;
  show("choose");
  setText("spoken", "Cancelled");
  $("run").focus();
}

function deleteJob(id) {
  send("DELETE", `api/jobs/${id}`, undefined, undefined, true).catch(() => {});
}

// ---- comparing

async function showResult(job) {
  showStage("Loading the result", null);
  const report = job.report;
  const used = report.references.some((row) => row.used);
  const names = ["before", "result", "map", ...(used ? ["plain"] : [])];
  const stamp = Date.now(); // another scale has other images under the same names
  const pictures = await Promise.all(names.map((name) => loadImage(`api/jobs/${job.id}/pictures/${name}.png?${stamp}`)));
  show("result");
  viewer.compare = $("compare").value = "before";
  viewer.strength = 1;
  $("strength").value = 1;
  setText("strength-value", "100 %");
  $("strength").disabled = !used;
  $("compare-label").hidden = !used;
  setText("strength-hint", used ? "" : "No reference is used in this result, so the strength has no effect.");
  setPressed("map", (viewer.map = false));
  $("legend").hidden = true;
  viewer.show(Object.fromEntries(names.map((name, index) => [name, pictures[index]])), report.output_size);
  $("compare").options[0].textContent = report.scale === 1 ? "your photo" : "your photo, enlarged";
  showReport(report);
  updateLabels();
  setText("download-problem", "");
  setText("size", `${report.output_size.join(" × ")} pixels.`);
  const seconds = Object.values(report.seconds).reduce((sum, one) => sum + one, 0);
  setText("spoken", `Done after ${duration(seconds)}`);
  $("result").scrollIntoView({ block: "start" });
  $("result-title").focus({ preventScroll: true });
}

async function loadImage(url) {
  const image = new Image();
  image.src = url;
  await image.decode().catch(() => {
    throw new ServerError("The result cannot be loaded; is the server still running?");
  });
  return image;
}

function showReport(report) {
  const percent = (share) => `${Math.round(100 * share)} %`;
  const { own, borrowed, guessed } = report.detail;
  const lines = [
    `Of the fine detail, ${percent(borrowed)} is borrowed, ${percent(guessed)} guessed and ${percent(own)} the photo’s own.`,
    ...report.references.map((row) => `${row.reference}: ${row.verdict}`),
    ...report.notes.map((note) => note[0].toUpperCase() + note.slice(1) + "."),
  ];
  const list = document.createElement("ul");
  for (const line of lines) list.append(Object.assign(document.createElement("li"), { textContent: line }));
  $("facts").replaceChildren(list);
}

function updateLabels() {
  setText("before-chip", viewer.compare === "plain" ? "Without references" : "Your photo");
  setText("after-chip", viewer.strength < 1 ? `Result at ${Math.round(viewer.strength * 100)} %` : "Result");
}

function setPressed(id, on) {
  $(id).setAttribute("aria-pressed", String(on));
}

function toggle(id) {
  setPressed(id, (viewer[id] = !viewer[id]));
  $("legend").hidden = !viewer.map;
  viewer.redraw();
}

async function download() {
  const button = $("download");
  button.disabled = true;
  button.textContent = "Preparing …";
  setText("download-problem", "");
  const query = new URLSearchParams({ strength: viewer.strength, metadata: $("bare").checked ? "no" : "yes" });
  try {
    const { blob, name } = await call(`api/jobs/${state.job}/result.${$("format").value}?${query}`, "file");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  } catch (error) {
    setText("download-problem", error.message);
  }
  button.disabled = false;
  button.textContent = "Download";
}

// ---- events

function acceptDrops(element, where) {
  element.addEventListener("dragover", (event) => event.preventDefault());
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    showDropHint(false);
    addFiles(event.dataTransfer.files, where());
  });
}

function showDropHint(on) {
  $("dropping").hidden = !on;
  if (!on) for (const card of document.querySelectorAll(".card")) card.classList.remove("over");
}

function wire() {
  for (const where of ["photo", "reference"]) {
    $(`${where}-input`).addEventListener("change", (event) => {
      addFiles(event.target.files, where);
      event.target.value = ""; // so that the same file can be chosen again
    });
    acceptDrops($(`${where}-card`), () => where);
    $(`${where}-card`).addEventListener("dragenter", () => {
      showDropHint(false);
      $(`${where}-card`).classList.add("over");
    });
  }
  const next = () => (state.photo ? "reference" : "photo");
  acceptDrops(document.body, next);
  document.addEventListener("dragenter", (event) => {
    if (!event.target.closest?.(".card")) showDropHint(true);
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget || showDropHint(false));
  document.addEventListener("paste", (event) => addFiles(event.clipboardData.files, next()));

  $("run").addEventListener("click", run);
  $("cancel").addEventListener("click", cancel);
  $("clear").addEventListener("click", () => {
    if (state.job) deleteJob(state.job);
    Object.assign(state, { photo: null, references: [], job: null });
    photosChanged();
  });
  $("divider").addEventListener("input", (event) => viewer.setDivider(event.target.value / 100));
  $("zoom-in").addEventListener("click", () => viewer.zoomTo(viewer.zoom * 1.4));
  $("zoom-out").addEventListener("click", () => viewer.zoomTo(viewer.zoom / 1.4));
  $("fit").addEventListener("click", () => viewer.fit());
  $("full").addEventListener("click", () => viewer.zoomTo(1));
  for (const id of ["lens", "map"]) $(id).addEventListener("click", () => toggle(id));
  $("view").addEventListener("keydown", (event) => {
    const id = { l: "lens", m: "map" }[event.key.toLowerCase()];
    if (id && !event.ctrlKey && !event.metaKey) toggle(id);
  });
  $("strength").addEventListener("input", (event) => {
    viewer.strength = Number(event.target.value);
    setText("strength-value", `${Math.round(viewer.strength * 100)} %`);
    updateLabels();
    viewer.redraw();
  });
  $("compare").addEventListener("change", (event) => {
    viewer.compare = event.target.value;
    updateLabels();
    viewer.redraw();
  });
  $("strict").addEventListener("change", (event) => ($("strict-hint").hidden = !event.target.checked));
  $("download").addEventListener("click", download);
  window.addEventListener("pagehide", () => state.run && state.job && $("result").hidden && deleteJob(state.job));
  setInterval(() => state.job && !$("result").hidden && call(`api/jobs/${state.job}`).catch(() => {}), KEEP_ALIVE_MS);
}

async function addExamples() {
  for (const example of state.info.examples) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: example.title });
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        const names = [example.photo, ...example.references];
        const files = await Promise.all(
          names.map(async (name) => new File([(await call(`api/examples/${name}`, "file")).blob], name)),
        );
        Object.assign(state, { photo: files[0], references: files.slice(1) });
        photosChanged();
      } catch (error) {
        setText("run-problem", error.message);
      }
      button.disabled = false;
    });
    $("examples").append(button);
  }
  $("examples").hidden = false;
}

async function start() {
  try {
    state.info = await call("api/info");
  } catch (error) {
    return setText("run-problem", error.message);
  }
  const names = { png: "PNG", jpg: "JPEG", webp: "WebP", tif: "TIFF", avif: "AVIF" };
  $("format").append(...state.info.formats.map((format) => new Option(names[format], format)));
  const { upload, keep_seconds: keep } = state.info.limits;
  const local = ["127.0.0.1", "localhost", "[::1]"].includes(location.hostname);
  const where = local ? "Your photos stay on this computer" : "Your photos are sent only to the computer that runs this server";
  setText("promise", `${where}; they are deleted after ${duration(keep)}. At most ${Math.round(upload / 1e6)} MB together.`);
  setText("version", `· refsr ${state.info.version}`);
  wire();
  await addExamples();
}

start();
