// The page: choose photos, see the verdict, wait, look, download. The work is the server's.

import { call, Failure, send } from "./server.js";
import { drawOutlines, tile } from "./tiles.js";
import { Viewer } from "./viewer.js";

const $ = (id) => document.getElementById(id);
const POLL = 400; // milliseconds between looks at a job
const KEEP = 240_000; // milliseconds between signs of life of a finished one

const state = { photo: null, references: [], info: null, check: null, checking: null, job: null };
const viewer = new Viewer($("view"), (view) => {
  $("zoom").textContent = `${Math.round(view.zoom * 100)} %`;
  $("divider").value = Math.round(view.divider * 100);
});

// ---- choosing

function say(id, words) {
  $(id).textContent = words;
}

function clearProblems() {
  for (const id of ["photo-problem", "reference-problem", "run-problem"]) say(id, "");
}

function take(files, where) {
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
  chosen();
  if (many) say("reference-problem", words.references);
}

function chosen() {
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
    say(state.references.length ? "reference-problem" : "photo-problem", state.info.limits.words.upload);
    $("run").disabled = true;
    verdict("");
    return;
  }
  check();
}

function showTiles() {
  const photo = state.photo ? [tile(state.photo, "", () => ((state.photo = null), chosen()))] : [];
  $("photo-tiles").replaceChildren(...photo);
  $("photo-card").classList.toggle("filled", photo.length > 0);
  $("photo-drop").querySelector("strong").textContent = photo.length ? "Choose another" : "Choose a photo";
  const many = state.references.length > 1;
  const tiles = state.references.map((file, index) =>
    tile(file, many ? String(index + 1) : "", () => {
      state.references.splice(index, 1);
      chosen();
    }),
  );
  $("reference-tiles").replaceChildren(...tiles);
  $("reference-tiles").classList.toggle("many", many);
  $("reference-card").classList.toggle("filled", tiles.length > 0);
  $("reference-drop").querySelector("strong").textContent = tiles.length ? "Add another" : "Choose one or more";
}

function verdict(words, waiting = false) {
  $("verdict").textContent = words;
  $("verdict").classList.toggle("waiting", waiting);
}

function form() {
  const data = new FormData();
  data.append("photo", state.photo);
  for (const reference of state.references) data.append("reference", reference);
  return data;
}

// The verdict, as soon as there are a photo and a reference; a change begins it anew.
function check() {
  state.checking?.abort();
  state.checking = null;
  if (!state.photo) return verdict("");
  if (!state.references.length) {
    return verdict("Without a second photo a network guesses the detail. Add a sharp photo of the same thing for the real one.", true);
  }
  verdict("Looking for the photo in the references …", true);
  const abort = new AbortController();
  state.checking = abort;
  abort.done = send("POST", "api/check", form(), abort.signal)
    .then((found) => {
      state.check = found;
      showVerdict(found);
    })
    .catch((error) => {
      if (!abort.signal.aborted) blame(error);
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
    words.push(`${used.length} of ${rows.length} references are of use; together expect about ${found.expected_gain_db.toFixed(1)} dB.`);
  } else words.push("None of the references will be used.");
  if (!used.length) words.push("The result will be the one without a reference.");
  if (found.photo.damaged) words.push("Your photo is compressed, noisy or blurred; it gets the model for such photos.");
  verdict(words.join(" "));
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

// Say what is wrong beside the photo that it is about.
function blame(error) {
  verdict("");
  const part = error.part ?? "";
  if (part === "photo") {
    $("photo-tiles").children[0]?.classList.add("wrong");
    say("photo-problem", error.message);
  } else if (part.startsWith("reference-")) {
    $("reference-tiles").children[Number(part.slice(10)) - 1]?.classList.add("wrong");
    say("reference-problem", error.message);
  } else say("run-problem", error.message);
}

// ---- working

async function run() {
  clearProblems();
  show("working");
  stage("Sending your photos", null);
  $("stage").focus();
  const turn = (state.turn = {});
  try {
    await state.checking?.done;
    if (state.turn !== turn) return;
    const data = state.check ? new FormData() : form();
    if (state.check) data.append("check", state.check.id);
    data.append("scale", $("scale").value);
    let job = await send("POST", "api/jobs", data);
    if (state.turn !== turn) return drop(job.id); // cancelled before the job had a name
    state.job = job.id;
    while (state.turn === turn && ["waiting", "working"].includes(job.state)) {
      progress(job);
      await new Promise((go) => setTimeout(go, POLL));
      job = await call(`api/jobs/${job.id}`);
    }
    if (state.turn !== turn) return;
    if (job.state !== "done") throw new Failure(job.error ?? "The work was cancelled.");
    await finished(job);
  } catch (error) {
    if (state.turn !== turn) return;
    if (error.status === 404) state.check = null; // no longer kept: next time the photos are sent again
    show("choose");
    blame(error);
  }
}

function show(id) {
  $("working").hidden = id !== "working";
  $("result").hidden = id !== "result";
  $("go").hidden = id === "working";
  for (const card of document.querySelectorAll(".card")) card.inert = id === "working";
}

let spoken = "";
function stage(words, share, left = "") {
  $("stage").textContent = words;
  if (share === null) $("bar").removeAttribute("value");
  else $("bar").value = share;
  say("left", left);
  const tenth = share === null ? words : `${words}, ${Math.floor(share * 10) * 10} %`;
  if (tenth !== spoken) say("spoken", (spoken = tenth)); // not every second aloud
}

function progress(job) {
  if (job.state === "waiting") {
    const before = job.before_you;
    const words = before ? `Waiting for ${before} other ${before === 1 ? "photo" : "photos"}` : "Starting";
    return stage(words, null, before ? "Everybody has a turn." : "");
  }
  const percent = `${Math.round(job.progress * 100)} %`;
  stage("Making your photo larger", job.progress, `${percent}, about ${duration(job.seconds_left)} left`);
}

function duration(seconds) {
  if (seconds < 1.5) return "1 second";
  if (seconds < 90) return `${Math.round(seconds)} seconds`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} minutes` : `${(seconds / 3600).toFixed(1)} hours`;
}

function cancel() {
  state.turn = null;
  if (state.job) drop(state.job);
  state.job = state.check = null;
  show("choose");
  say("spoken", "Cancelled");
  $("run").focus();
}

function drop(id) {
  send("DELETE", `api/jobs/${id}`, undefined, undefined, true).catch(() => {});
}

// ---- looking

async function finished(job) {
  stage("Fetching the result", null);
  const report = job.report;
  const used = report.references.some((row) => row.used);
  const names = ["before", "result", "map", ...(used ? ["plain"] : [])];
  const stamp = Date.now(); // another scale has other pictures under the same names
  const pictures = await Promise.all(names.map((name) => picture(`api/jobs/${job.id}/pictures/${name}.png?${stamp}`)));
  show("result");
  viewer.compare = $("compare").value = "before";
  viewer.strength = 1;
  $("strength").value = 1;
  say("strength-value", "100 %");
  $("strength").disabled = !used;
  $("compare-label").hidden = !used;
  say("strength-hint", used ? "" : "No reference is used in this result, so there is nothing to fade.");
  pressed("map", (viewer.map = false));
  $("legend").hidden = true;
  viewer.show(Object.fromEntries(names.map((name, index) => [name, pictures[index]])), report.output_size);
  facts(report);
  chips();
  say("download-problem", "");
  say("size", `${report.output_size.join(" × ")} pixels.`);
  const seconds = Object.values(report.seconds).reduce((sum, one) => sum + one, 0);
  say("spoken", `Done after ${duration(seconds)}`);
  $("result").scrollIntoView({ block: "start" });
  $("result-title").focus({ preventScroll: true });
}

async function picture(url) {
  const image = new Image();
  image.src = url;
  await image.decode().catch(() => {
    throw new Failure("The result cannot be shown; is the server still running?");
  });
  return image;
}

function facts(report) {
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

function chips() {
  say("before-chip", viewer.compare === "plain" ? "Without references" : "Your photo");
  say("after-chip", viewer.strength < 1 ? `Result at ${Math.round(viewer.strength * 100)} %` : "Result");
}

function pressed(id, on) {
  $(id).setAttribute("aria-pressed", String(on));
}

function toggle(id) {
  pressed(id, (viewer[id] = !viewer[id]));
  $("legend").hidden = !viewer.map;
  viewer.redraw();
}

async function download() {
  const button = $("download");
  button.disabled = true;
  button.textContent = "Writing …";
  say("download-problem", "");
  const query = new URLSearchParams({ strength: viewer.strength, metadata: $("bare").checked ? "no" : "yes" });
  try {
    const { blob, name } = await call(`api/jobs/${state.job}/result.${$("format").value}?${query}`, "file");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  } catch (error) {
    say("download-problem", error.message);
  }
  button.disabled = false;
  button.textContent = "Download";
}

// ---- wiring

function receive(element, where) {
  element.addEventListener("dragover", (event) => event.preventDefault());
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    dropping(false);
    take(event.dataTransfer.files, where());
  });
}

function dropping(on) {
  $("dropping").hidden = !on;
  if (!on) for (const card of document.querySelectorAll(".card")) card.classList.remove("over");
}

function wire() {
  for (const where of ["photo", "reference"]) {
    $(`${where}-input`).addEventListener("change", (event) => {
      take(event.target.files, where);
      event.target.value = ""; // the same file again is a choice, too
    });
    receive($(`${where}-card`), () => where);
    $(`${where}-card`).addEventListener("dragenter", () => {
      dropping(false);
      $(`${where}-card`).classList.add("over");
    });
  }
  const next = () => (state.photo ? "reference" : "photo");
  receive(document.body, next);
  document.addEventListener("dragenter", (event) => {
    if (!event.target.closest?.(".card")) dropping(true);
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget || dropping(false));
  document.addEventListener("paste", (event) => take(event.clipboardData.files, next()));

  $("run").addEventListener("click", run);
  $("cancel").addEventListener("click", cancel);
  $("clear").addEventListener("click", () => {
    if (state.job) drop(state.job);
    Object.assign(state, { photo: null, references: [], job: null });
    chosen();
  });
  $("divider").addEventListener("input", (event) => viewer.moveLine(event.target.value / 100));
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
    say("strength-value", `${Math.round(viewer.strength * 100)} %`);
    chips();
    viewer.redraw();
  });
  $("compare").addEventListener("change", (event) => {
    viewer.compare = event.target.value;
    chips();
    viewer.redraw();
  });
  $("download").addEventListener("click", download);
  window.addEventListener("pagehide", () => state.turn && state.job && $("result").hidden && drop(state.job));
  setInterval(() => state.job && !$("result").hidden && call(`api/jobs/${state.job}`).catch(() => {}), KEEP);
}

async function examples() {
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
        chosen();
      } catch (error) {
        say("run-problem", error.message);
      }
      button.disabled = false;
    });
    $("examples").append(button);
  }
  $("examples").hidden = false;
}

async function begin() {
  try {
    state.info = await call("api/info");
  } catch (error) {
    return say("run-problem", error.message);
  }
  const names = { png: "PNG", jpg: "JPEG", webp: "WebP", tif: "TIFF", avif: "AVIF" };
  $("format").append(...state.info.formats.map((format) => new Option(names[format], format)));
  const { upload, keep_seconds: keep } = state.info.limits;
  const local = ["127.0.0.1", "localhost", "[::1]"].includes(location.hostname);
  const where = local ? "Your photos stay on this computer" : "Your photos go to the computer that runs this page and nowhere else";
  say("promise", `${where}; they are removed after ${duration(keep)}. At most ${Math.round(upload / 1e6)} MB together.`);
  say("version", `· refsr ${state.info.version}`);
  wire();
  await examples();
}

begin();
