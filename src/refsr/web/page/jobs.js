// Upscaling the chosen photos, one after the other, and going on with that after a reload.

import { clearProblems, deleteJob, form, photosChanged, showError, showTiles, showVerdict } from "./photos.js";
import { chosenOptions, showResult } from "./result.js";
import { call, send, ServerError } from "./server.js";
import { $, duration, savedSession, saveSession, setText, setTitle, show, state } from "./state.js";

const POLL_MS = 400; // between requests for the status of a job

export async function run() {
  clearProblems();
  const photos = [...state.photos];
  const run = (state.run = { unsent: photos.length });
  const old = state.jobs;
  const options = chosenOptions();
  state.jobs = [];
  begin();
  const failures = [];
  for (const [index, photo] of photos.entries()) {
    const place = photos.length > 1 ? `Photo ${index + 1} of ${photos.length}: ` : "";
    try {
      showStage(`${place}Uploading`, null);
      await state.checking?.done;
      if (state.run !== run) return;
      const checked = index === 0 ? state.check : null;
      const data = checked ? new FormData() : form(photo);
      if (checked) data.append("check", checked.id);
      for (const [name, value] of Object.entries(options)) data.append(name, value);
      const answer = await send("POST", "api/jobs", data);
      if (state.run !== run) return deleteJob(answer.id); // cancelled before the job had an id
      const job = { id: answer.id, photo, options, report: null };
      state.jobs.push(job);
      run.unsent -= 1;
      saveSession();
      await follow(run, job, answer, place);
    } catch (error) {
      failures.push([error, index]);
      if (index === 0 && error.status !== 429) state.check = null; // its files are gone: upload them again
    }
    if (state.run !== run) return;
  }
  const kept = new Set(state.jobs.map((job) => job.id));
  for (const job of old) if (!kept.has(job.id)) deleteJob(job.id);
  await finish(run, failures);
}

function begin() {
  show("working");
  $("working").scrollIntoView({ block: "center" });
  $("stage").focus({ preventScroll: true });
}

// Wait for a job. Throws ServerError where it fails; then it is forgotten.
async function follow(run, job, status, place) {
  try {
    while (state.run === run && ["waiting", "working"].includes(status.state)) {
      showProgress(status, place);
      await new Promise((go) => setTimeout(go, POLL_MS));
      status = await call(`api/jobs/${job.id}`);
    }
    if (state.run !== run) return;
    if (status.state !== "done") {
      throw new ServerError(status.error ?? "The job was cancelled.", 0, status.part);
    }
    job.report = status.report;
  } catch (error) {
    state.jobs = state.jobs.filter((one) => one !== job);
    throw error;
  }
}

// Show the first result, or what went wrong.
async function finish(run, failures) {
  const first = state.jobs.find((job) => job.report);
  try {
    if (first) {
      showStage("Loading the result", null);
      await showResult(first);
    } else show("choose");
  } catch (error) {
    show("choose");
    failures.push([error, 0]);
  }
  if (state.run === run) state.run = null;
  if (!first) setTitle(failures.length ? "Failed" : "");
  for (const [error, index] of failures) showError(error, index);
  saveSession();
}

export function cancel() {
  state.run = null;
  for (const job of state.jobs) deleteJob(job.id);
  Object.assign(state, { jobs: [], shown: null, check: null });
  saveSession();
  show("choose");
  setTitle("");
  setText("spoken", "Cancelled");
  $("run").focus();
}

// ---- progress

let announced = "";
function showStage(words, share, left = "") {
  setText("stage", words);
  if (share === null) $("bar").removeAttribute("value");
  else $("bar").value = share;
  setText("left", left);
  setTitle(share === null ? words : `${Math.round(share * 100)} %`);
  const tenth = share === null ? words : `${words}, ${Math.floor(share * 10) * 10} %`;
  if (tenth !== announced) setText("spoken", (announced = tenth)); // screen readers announce each tenth
}

function showProgress(job, place) {
  if (job.state === "waiting") {
    const before = job.before_you;
    const words = before ? `Waiting for ${before} other ${before === 1 ? "job" : "jobs"}` : "Starting";
    return showStage(place + words, null, before ? "Users take turns." : "");
  }
  const percent = `${Math.round(job.progress * 100)} %`;
  showStage(`${place}Upscaling`, job.progress, `${percent}, about ${duration(job.seconds_left)} left`);
}

// ---- after a reload

// The server still has the photos: get them back, and go on where the page was.
export async function restore() {
  const saved = savedSession();
  if (!saved?.check && !saved?.jobs?.length) return;
  const ids = new Set([saved.check, ...saved.jobs.map((job) => job.id)].filter(Boolean));
  const found = new Map();
  for (const id of ids) {
    try {
      const status = await call(`api/jobs/${id}`);
      found.set(id, { status, files: await uploadsOf(status) });
    } catch {
      continue; // it has expired or failed
    }
  }
  if (!found.size) return;
  const [[, first]] = found;
  state.photos = [...found.values()].map((one) => one.files[0]);
  state.references = first.files.slice(1);
  state.check = first.status.verdict ? { id: first.status.id, ...first.status.verdict } : null;
  const jobs = saved.jobs.filter((job) => found.has(job.id));
  if (!state.check && !jobs.length) return photosChanged();
  showTiles();
  $("clear").hidden = false;
  $("examples").hidden = true;
  $("run").disabled = false;
  if (state.check) showVerdict(state.check);
  if (jobs.length) await resume(jobs, found, saved.unsent);
}

async function resume(jobs, found, unsent) {
  const run = (state.run = { unsent: 0 });
  state.jobs = jobs.map(({ id, options }) => ({ id, options, photo: found.get(id).files[0], report: null }));
  for (const [name, value] of Object.entries(jobs[0].options)) {
    if (name === "strict") $("strict").checked = value === "yes";
    else $(name).value = value;
  }
  begin();
  const failures = [];
  for (const job of [...state.jobs]) {
    await follow(run, job, found.get(job.id).status, "").catch((error) => failures.push([error, 0]));
    if (state.run !== run) return;
  }
  await finish(run, failures);
  if (unsent) setText("run-problem", `${unsent} more of your photos had not been sent when the page was loaded again; choose them again.`);
}

async function uploadsOf(status) {
  const parts = ["photo", ...Object.keys(status.names).filter((part) => part !== "photo")];
  return Promise.all(
    parts.map(async (part) => {
      const { blob } = await call(`api/jobs/${status.id}/uploads/${part}`, "file");
      return new File([blob], status.names[part]);
    }),
  );
}
