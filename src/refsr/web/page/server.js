// Requests to the server, and what went wrong with them in words.

const CLIENT = crypto.getRandomValues(new Uint32Array(2)).join(""); // this tab, for a fair queue
const SILENT = "The server does not answer; is `refsr web` still running?";

export class Failure extends Error {
  constructor(message, status = 0, part = null) {
    super(message);
    Object.assign(this, { status, part });
  }
}

export async function send(method, url, body, signal, keepalive = false) {
  let response;
  try {
    response = await fetch(url, { method, body, signal, keepalive, headers: { "X-Refsr-Client": CLIENT } });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Failure(SILENT);
  }
  if (!response.ok) {
    const told = await response.json().catch(() => ({}));
    throw new Failure(told.error ?? SILENT, response.status, told.part);
  }
  return response.status === 204 ? null : response.json();
}

// The JSON at an address, or with "file" its bytes and the name that the server gives them.
export async function call(url, as = "json") {
  if (as === "json") return send("GET", url);
  let response;
  try {
    response = await fetch(url, { headers: { "X-Refsr-Client": CLIENT } });
    if (response.ok) return { blob: await response.blob(), name: nameOf(response) };
  } catch {
    throw new Failure(SILENT);
  }
  const told = await response.json().catch(() => ({}));
  throw new Failure(told.error ?? SILENT, response.status);
}

function nameOf(response) {
  const header = response.headers.get("content-disposition") ?? "";
  const encoded = header.match(/filename\*=utf-8''([^;]+)/i)?.[1];
  return encoded ? decodeURIComponent(encoded) : (header.match(/filename="([^"]*)"/)?.[1] ?? "result");
}
