// Ask a running `cinemae serve` from JavaScript: Node 18 or later, or a browser without the file reading.
// export CINEMAE_URL=http://127.0.0.1:8000   # and CINEMAE_API_KEY, if the service needs a key

import { readFile } from "node:fs/promises";
import { basename } from "node:path";

const url = process.env.CINEMAE_URL ?? "http://127.0.0.1:8000";
const key = process.env.CINEMAE_API_KEY;

/** Send a request; while the service is busy, wait as long as it asks for. */
async function ask(path, options, retries = 5) {
  const headers = { ...options.headers, ...(key && { Authorization: `Bearer ${key}` }) };
  const response = await fetch(url + path, { ...options, headers });
  if (response.status === 503 && retries > 0) {
    const seconds = Math.min(Number(response.headers.get("Retry-After") ?? 1), 60);
    await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
    return ask(path, options, retries - 1);
  }
  return response;
}

const form = new FormData();
for (const path of ["chelsea.jpg", "coffee.jpg", "README.md"]) {
  form.append("files", new Blob([await readFile(new URL(path, import.meta.url))]), basename(path));
}
const { results } = await (await ask("/v1/detect", { method: "POST", body: form })).json();
for (const row of results) console.log(row.path, row.status, row.verdict, row.prob_fake);

const refused = await ask("/v1/detect", {
  method: "POST",
  body: "this is no image",
  headers: { "Content-Type": "application/octet-stream" },
});
const problem = await refused.json(); // RFC 9457: type, title, status, detail
console.log(refused.status, problem.title, "-", problem.detail);
