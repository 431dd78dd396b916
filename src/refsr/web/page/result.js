// Comparing a result with the photo, and taking it away: as a file, with its map and report.

import { call, fileSize, ServerError } from "./server.js";
import { $, duration, inMegabytes, make, percents, setText, setTitle, setVerdictText, show, state } from "./state.js";
import { Viewer } from "./viewer.js";

const MEASURE_MS = 500; // without a change of the choices, before the size of the file is asked for
const LOSSY = ["jpg", "webp", "avif"];

export const viewer = new Viewer($("view"), (view) => {
  setText("zoom", `${Math.round(view.percent)} %`);
  $("divider").value = Math.round(view.divider * 100);
});

// ---- what is in view

export async function showResult(job) {
  const report = job.report;
  const used = report.references.some((row) => row.used);
  const names = ["before", "result", "map", ...(used ? ["plain"] : [])];
  const stamp = Date.now(); // another scale has other images under the same names
  const pictures = await Promise.all(names.map((name) => loadImage(`api/jobs/${job.id}/pictures/${name}.png?${stamp}`)));
  state.shown = job;
  show("result");
  setTitle("Done");
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
  $("width").value = "";
  $("width").placeholder = $("width").max = report.output_size[0];
  showStrip();
  showReport(report);
  updateLabels();
  markStale();
  setText("download-problem", "");
  measure();
  const seconds = Object.values(report.seconds).reduce((sum, one) => sum + one, 0);
  setText("spoken", `Done after ${duration(seconds)}`);
  $("result").scrollIntoView({ block: "start" });
  $("view").focus({ preventScroll: true }); // its keys work at once
}

async function loadImage(url) {
  const image = new Image();
  image.src = url;
  await image.decode().catch(() => {
    throw new ServerError("The result cannot be loaded; is the server still running?");
  });
  return image;
}

const finished = () => state.jobs.filter((job) => job.report);

// The results of several photos in a row: a button for each.
function showStrip() {
  const done = finished();
  const buttons = done.map((job) => {
    const picture = make("img", { alt: "", src: `api/jobs/${job.id}/pictures/before.png` });
    const button = make("button", { type: "button" }, picture, job.photo.name);
    button.setAttribute("aria-pressed", String(job === state.shown));
    button.addEventListener("click", () => showResult(job).catch((error) => setText("download-problem", error.message)));
    return button;
  });
  $("strip").replaceChildren(...(done.length > 1 ? buttons : []));
  $("download-all").hidden = done.length < 2;
}

function showReport(report) {
  const { own, borrowed, guessed } = report.detail;
  const [ofReference, ofNetwork, ofPhoto] = percents([borrowed, guessed, own]);
  const lines = [
    `Of the fine detail, ${ofReference} % is borrowed, ${ofNetwork} % guessed and ${ofPhoto} % the photo’s own.`,
    ...report.references.map((row) => `${row.reference}: ${row.verdict}`),
    ...report.notes.map((note) => note[0].toUpperCase() + note.slice(1) + "."),
  ];
  const items = lines.map((line) => {
    const item = make("li");
    setVerdictText(item, line);
    return item;
  });
  $("facts").replaceChildren(make("ul", {}, ...items));
}

export function updateLabels() {
  setText("before-chip", viewer.compare === "plain" ? "Without references" : "Your photo");
  setText("after-chip", viewer.strength < 1 ? `Result at ${Math.round(viewer.strength * 100)} %` : "Result");
}

function setPressed(id, on) {
  $(id).setAttribute("aria-pressed", String(on));
}

export function toggle(id) {
  setPressed(id, (viewer[id] = !viewer[id]));
  $("legend").hidden = !viewer.map;
  viewer.redraw();
}

export function colorLegend() {
  for (const [name, rgb] of Object.entries(state.info.map_colors)) {
    const swatch = $("legend").querySelector(`.${name}`);
    if (swatch) swatch.style.background = `rgb(${rgb.join(" ")})`;
  }
}

// ---- choices that are no longer those of the result

export function chosenOptions() {
  return {
    scale: $("scale").value,
    look: $("look").value,
    model: $("model").value,
    strict: $("strict").checked ? "yes" : "no",
  };
}

export function markStale() {
  const made = state.shown?.options;
  const chosen = chosenOptions();
  const changed = made && Object.keys(chosen).some((name) => made[name] !== chosen[name]);
  const size = made?.scale === "1" ? "the same size" : `${made?.scale}×`;
  setText("stale", changed ? `This is still the result from before (${size}); press Upscale to make it anew.` : "");
  $("stagebox").classList.toggle("stale", Boolean(changed));
}

// ---- downloads

function fileUrl(job, what = "result") {
  const format = $("format").value;
  const query = new URLSearchParams({ strength: viewer.strength, metadata: $("bare").checked ? "no" : "yes" });
  if (LOSSY.includes(format)) query.set("quality", $("quality").value);
  const width = chosenWidth(job);
  if (width) query.set("width", width);
  return `api/jobs/${job.id}/${what}.${format}?${query}`;
}

// The width that the result is shrunk to, null where it keeps its own.
function chosenWidth(job) {
  const wanted = Number($("width").value);
  return wanted >= 1 && wanted < job.report.output_size[0] ? Math.round(wanted) : null;
}

// The size of the file that Download would give, and its share of the photo's own; asked for one at
// a time, when the choices have come to rest.
let timer = 0;
let measuring = false;
export function measure() {
  const job = state.shown;
  if (!job) return;
  const lossy = LOSSY.includes($("format").value);
  $("quality-label").hidden = !lossy;
  setText("quality-value", $("quality").value);
  const [width, height] = job.report.output_size;
  const narrower = chosenWidth(job) ?? width;
  setText("width-value", Number($("width").value) > width ? `at most ${width}` : "");
  const pixels = `${narrower} × ${Math.max(1, Math.round((height * narrower) / width))} pixels`;
  setText("size", `${pixels}, …`);
  clearTimeout(timer);
  timer = setTimeout(ask, MEASURE_MS, job, pixels);
}

async function ask(job, pixels) {
  if (measuring) return (timer = setTimeout(ask, MEASURE_MS, job, pixels));
  if (state.shown !== job || $("result").hidden) return;
  measuring = true;
  const url = fileUrl(job);
  try {
    const bytes = await fileSize(url);
    if (state.shown === job && fileUrl(job) === url) {
      const share = job.photo.size ? `, ${Math.max(1, Math.round((100 * bytes) / job.photo.size))} % of your photo’s file` : "";
      setText("size", `${pixels}, ${inMegabytes(bytes)}${share}.`);
    }
  } catch {
    if (state.shown === job) setText("size", `${pixels}.`); // Download says what is wrong
  }
  measuring = false;
}

async function save(url) {
  const { blob, name } = await call(url, "file");
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// Save files one after the other, while their button says so.
async function saveAll(button, urls) {
  const words = button.textContent;
  button.disabled = true;
  button.textContent = "Preparing …";
  setText("download-problem", "");
  try {
    for (const url of urls) await save(url);
  } catch (error) {
    setText("download-problem", error.message);
  }
  button.disabled = false;
  button.textContent = words;
}

export function wireDownloads() {
  for (const [id, urls] of [
    ["download", () => [fileUrl(state.shown)]],
    ["download-all", () => finished().map((job) => fileUrl(job))],
    ["download-map", () => [`api/jobs/${state.shown.id}/provenance.png`]],
    ["download-report", () => [`api/jobs/${state.shown.id}/report.json`]],
  ]) {
    $(id).addEventListener("click", () => saveAll($(id), urls()));
  }
}
