// Requests to the server, and their errors as messages.

const CLIENT = tabNumber(); // identifies this tab in the fair queue
const NO_ANSWER = "The server does not answer; is `refsr web` still running?";

// A random number that a reload keeps, where the browser lets it.
function tabNumber() {
  const fresh = crypto.getRandomValues(new Uint32Array(2)).join("");
  try {
    const kept = sessionStorage.getItem("refsr-tab") ?? fresh;
    sessionStorage.setItem("refsr-tab", kept);
    return kept;
  } catch {
    return fresh;
  }
}

export class ServerError extends Error {
  constructor(message, status = 0, part = null) {
    super(message);
    Object.assign(this, { status, part });
  }
}

// Throws ServerError where there is no answer or it is an error; where `signal` ended it, what fetch throws.
async function request(url, options) {
  let response;
  try {
    response = await fetch(url, { ...options, headers: { "X-Refsr-Client": CLIENT } });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ServerError(NO_ANSWER);
  }
  if (!response.ok) {
    const answer = await response.json().catch(() => ({}));
    throw new ServerError(answer.error ?? NO_ANSWER, response.status, answer.part);
  }
  return response;
}

export async function send(method, url, body, signal, keepalive = false) {
  const response = await request(url, { method, body, signal, keepalive });
  return response.status === 204 ? null : response.json();
}

// GET as JSON or, with "file", as the bytes and the file name that the server gives.
export async function call(url, as = "json") {
  if (as === "json") return send("GET", url);
  const response = await request(url, {});
  try {
    return { blob: await response.blob(), name: fileName(response) };
  } catch {
    throw new ServerError(NO_ANSWER);
  }
}

// The bytes of a file on the server, which makes it for that.
export async function fileSize(url) {
  const response = await request(url, { method: "HEAD" });
  return Number(response.headers.get("content-length"));
}

function fileName(response) {
  const header = response.headers.get("content-disposition") ?? "";
  const encoded = header.match(/filename\*=utf-8''([^;]+)/i)?.[1];
  return encoded ? decodeURIComponent(encoded) : (header.match(/filename="([^"]*)"/)?.[1] ?? "result");
}
