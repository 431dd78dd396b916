// The page: choose photos, see the verdict, wait, compare, download. The server does the work.

import { cancel, restore, run } from "./jobs.js";
import { addFiles, megapixels, mostPixels, photosChanged } from "./photos.js";
import { colorLegend, markStale, measure, toggle, updateLabels, viewer, wireDownloads } from "./result.js";
import { call } from "./server.js";
import { $, duration, make, recallChoices, rememberChoices, setText, state } from "./state.js";

const KEEP_ALIVE_MS = 120_000; // between requests that keep finished jobs on the server

// ---- choosing

function acceptDrops(element, where) {
  element.addEventListener("dragover", (event) => event.preventDefault());
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    showDropHint(false);
    addFiles(event.dataTransfer.files, where);
  });
}

function showDropHint(on) {
  $("dropping").hidden = !on;
  if (!on) for (const card of document.querySelectorAll(".card")) card.classList.remove("over");
}

function wireFiles() {
  for (const where of ["photo", "reference"]) {
    $(`${where}-input`).addEventListener("change", (event) => {
      addFiles(event.target.files, where);
      event.target.value = ""; // so that the same file can be chosen again
    });
    acceptDrops($(`${where}-card`), where);
    $(`${where}-card`).addEventListener("dragenter", () => {
      showDropHint(false);
      $(`${where}-card`).classList.add("over");
    });
  }
  acceptDrops(document.body, null);
  document.addEventListener("dragenter", (event) => {
    if (!event.target.closest?.(".card")) showDropHint(true);
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget || showDropHint(false));
  document.addEventListener("paste", (event) => addFiles(event.clipboardData.files, null));
  $("clear").addEventListener("click", () => {
    Object.assign(state, { photos: [], references: [] });
    photosChanged();
  });
}

// ---- upscaling, and the choices before it

function modelChanged() {
  const crisp = state.info.looks.length > 1 && ["auto", "ssen"].includes($("model").value);
  $("look").disabled = !crisp;
  if (!crisp) $("look").value = "true";
}

function wireChoices() {
  $("run").addEventListener("click", run);
  $("cancel").addEventListener("click", cancel);
  $("model").addEventListener("change", modelChanged);
  $("scale").addEventListener("change", () => (state.scaleBefore = null));
  for (const id of ["scale", "look", "model", "strict"]) {
    $(id).addEventListener("change", () => {
      rememberChoices();
      markStale();
    });
  }
  const hint = () => ($("strict-hint").hidden = !$("strict").checked);
  $("strict").addEventListener("change", hint);
  hint();
  for (const id of ["format", "quality", "width", "bare"]) {
    $(id).addEventListener("input", () => {
      rememberChoices();
      measure();
    });
  }
  wireDownloads();
}

// ---- the view

function wireView() {
  $("divider").addEventListener("input", (event) => viewer.setDivider(event.target.value / 100));
  $("zoom-in").addEventListener("click", () => viewer.zoomTo(viewer.zoom * 1.4));
  $("zoom-out").addEventListener("click", () => viewer.zoomTo(viewer.zoom / 1.4));
  $("fit").addEventListener("click", () => viewer.fit());
  $("full").addEventListener("click", () => viewer.zoomTo(viewer.fullZoom));
  for (const id of ["lens", "map"]) $(id).addEventListener("click", () => toggle(id));
  document.addEventListener("keydown", (event) => {
    if ($("result").hidden || event.ctrlKey || event.metaKey || event.altKey) return;
    const { target } = event;
    if (["INPUT", "SELECT", "TEXTAREA"].includes(target.tagName) && target.type !== "checkbox") return;
    const id = { l: "lens", m: "map" }[event.key.toLowerCase()];
    if (id) toggle(id);
    else if (target === $("view") || !event.key.startsWith("Arrow")) viewer.key(event); // arrows scroll the page elsewhere
  });
  $("strength").addEventListener("input", (event) => {
    viewer.strength = Number(event.target.value);
    setText("strength-value", `${Math.round(viewer.strength * 100)} %`);
    updateLabels();
    viewer.redraw();
    measure();
  });
  $("compare").addEventListener("change", (event) => {
    viewer.compare = event.target.value;
    updateLabels();
    viewer.redraw();
  });
  setInterval(() => {
    for (const { id } of state.jobs) call(`api/jobs/${id}`).catch(() => {});
  }, KEEP_ALIVE_MS);
}

// ---- start

async function addExamples() {
  for (const example of state.info.examples) {
    const button = make("button", { type: "button", textContent: example.title });
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        const names = [example.photo, ...example.references];
        const files = await Promise.all(
          names.map(async (name) => new File([(await call(`api/examples/${name}`, "file")).blob], name)),
        );
        Object.assign(state, { photos: files.slice(0, 1), references: files.slice(1) });
        photosChanged();
      } catch (error) {
        setText("run-problem", error.message);
      }
      button.disabled = false;
    });
    $("examples").append(button);
  }
  $("examples").hidden = state.photos.length > 0;
}

const FORMATS = { png: "PNG", jpg: "JPEG", webp: "WebP", tif: "TIFF", avif: "AVIF" };
const MODELS = {
  auto: "chosen for the photo",
  ssen: "for clean photos",
  "ssen-robust": "for degraded photos",
  "ssen-tiny": "small and fast",
  "detail-transfer": "no network",
};

function showLimits() {
  const { upload, keep_seconds: keep } = state.info.limits;
  const [four, two, one] = [4, 2, 1].map((scale) => megapixels(mostPixels(scale)));
  setText("photo-limits", `Up to ${four} megapixels for 4×, ${two} for 2×, ${one} for the same size.`);
  const local = ["127.0.0.1", "localhost", "[::1]"].includes(location.hostname);
  const where = local ? "Your photos stay on this computer" : "Your photos are sent only to the computer that runs this server";
  setText("promise", `${where}; they are deleted after ${duration(keep)}. At most ${Math.round(upload / 1e6)} MB together.`);
  setText("version", `· refsr ${state.info.version}`);
}

async function start() {
  try {
    state.info = await call("api/info");
  } catch (error) {
    return setText("run-problem", error.message);
  }
  $("format").append(...state.info.formats.map((format) => new Option(FORMATS[format], format)));
  $("model").append(...state.info.models.map((model) => new Option(MODELS[model] ?? model, model)));
  recallChoices();
  $("more").open = $("look").value !== "true" || $("model").value !== "auto" || $("strict").checked;
  modelChanged();
  showLimits();
  colorLegend();
  wireFiles();
  wireChoices();
  wireView();
  await restore();
  await addExamples();
}

start();
