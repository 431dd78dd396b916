// What the page knows, and small helpers for its elements.

export const state = {
  photos: [], // the photos to improve; all get the same references
  references: [],
  info: null, // of the server: its limits, formats and models
  check: null, // the verdict on the first photo and the references, with its id on the server
  checking: null, // the request for it, while it lasts
  wrong: false, // the check says that one of the photos cannot be used
  run: null, // while photos are being upscaled
  jobs: [], // of the last run, those that are finished or at work: {id, photo, options, report}
  shown: null, // that of the result in view
  scaleBefore: null, // the user's choice, while a large photo is held to a smaller size
};

export const $ = (id) => document.getElementById(id);

export function setText(id, text) {
  $(id).textContent = text;
}

export function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

export function show(id) {
  $("working").hidden = id !== "working";
  $("result").hidden = id !== "result";
  $("go").hidden = id === "working";
  for (const card of document.querySelectorAll(".card")) card.inert = id === "working";
}

const NAME = document.title;
export function setTitle(words) {
  document.title = words ? `${words} · refsr` : NAME;
}

export function duration(seconds) {
  if (seconds < 1.5) return "1 second";
  if (seconds < 90) return `${Math.round(seconds)} seconds`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} minutes` : `${(seconds / 3600).toFixed(1)} hours`;
}

export function inMegabytes(bytes) {
  if (bytes < 999_500) return `${Math.max(1, Math.round(bytes / 1e3))} kB`;
  return `${(bytes / 1e6).toFixed(bytes < 9.95e6 ? 1 : 0)} MB`;
}

// Whole percents of shares that sum to one: they sum to 100, by the largest remainders.
export function percents(shares) {
  const exact = shares.map((share) => 100 * share);
  const whole = exact.map((one) => Math.floor(one + 1e-9));
  const order = [...exact.keys()].sort((a, b) => exact[b] - whole[b] - (exact[a] - whole[a]));
  const left = 100 - whole.reduce((sum, one) => sum + one, 0);
  for (const index of order.slice(0, Math.max(0, left))) whole[index] += 1;
  return whole;
}

// Show a verdict in plain words; its decibels are in the tooltip.
export function setVerdictText(element, words) {
  const gains = [...words.matchAll(/ \(about ([\d.]+) dB over the whole photo\)/g)];
  element.textContent = gains.reduce((text, gain) => text.replace(gain[0], ""), words);
  element.title = gains.map((gain) => `about ${gain[1]} dB over the whole photo`).join("; ");
}

// ---- the last choices, and the session that a reload continues

const CHOICES = "refsr-choices";
const SESSION = "refsr-session";
const REMEMBERED = ["scale", "look", "model", "strict", "format", "quality", "bare"];

// The browser may refuse to store anything: then nothing is remembered.
function stored(storage, key, value) {
  try {
    if (value === undefined) return JSON.parse(window[storage].getItem(key));
    window[storage].setItem(key, JSON.stringify(value));
  } catch {
    return null;
  }
}

export function rememberChoices() {
  const choices = REMEMBERED.map((id) => [id, $(id).type === "checkbox" ? $(id).checked : $(id).value]);
  const scale = state.scaleBefore ?? $("scale").value; // not what one large photo was held to
  stored("localStorage", CHOICES, { ...Object.fromEntries(choices), scale });
}

export function recallChoices() {
  for (const [id, value] of Object.entries(stored("localStorage", CHOICES) ?? {})) {
    if (!REMEMBERED.includes(id)) continue;
    const element = $(id);
    if (element.type === "checkbox") element.checked = value === true;
    else if (element.tagName !== "SELECT" || [...element.options].some((one) => one.value === value)) element.value = value;
  }
}

export function saveSession() {
  const jobs = state.jobs.map(({ id, options }) => ({ id, options }));
  stored("sessionStorage", SESSION, { check: state.check?.id ?? null, jobs, unsent: state.run?.unsent ?? 0 });
}

export const savedSession = () => stored("sessionStorage", SESSION);
