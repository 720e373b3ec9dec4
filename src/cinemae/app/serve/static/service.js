// Talks with the service that this page came from, and with nobody else.

const LONGEST_WAIT = 300; // seconds that a full service is waited for, in all

/** A request that will not be answered. */
export class Refused extends Error {
  /**
   * @param {string} message A sentence.
   * @param {string} detail The same where the service said it, for programmers; empty where this page did.
   */
  constructor(message, detail = "") {
    super(message);
    this.detail = detail;
  }
}

/** Sends requests, waits while the service is full, and asks for an API key if it wants one. */
export class Service {
  #key = "";
  #asked = null;

  /**
   * @param {(wrong: boolean) => Promise<string>} askKey Gives a key; `wrong` says that the last one was not taken.
   * @param {(seconds: number) => void} tellWait Is told before each wait.
   */
  constructor(askKey, tellWait) {
    this.askKey = askKey;
    this.tellWait = tellWait;
  }

  /** Return the row of one image; one that cannot be read has a row as well. */
  async detect(file, { stable, signal }) {
    const form = new FormData();
    form.append("files", file, file.name);
    const response = await this.#send(`v1/detect${stable ? "?stable=true" : ""}`, { method: "POST", body: form, signal });
    const answer = await response.json();
    if (answer.results) return answer.results[0]; // a problem with one image carries its row
    throw new Refused(answer.detail, answer.detail);
  }

  /** Return the map of one image as PNG, the size of the picture and without its colour bar. */
  async heatmap(file, { signal }) {
    const headers = { "Content-Type": "application/octet-stream" };
    const response = await this.#send("v1/heatmap?legend=false", { method: "POST", body: file, headers, signal });
    if (response.ok) return response.blob();
    throw new Refused((await response.json()).detail);
  }

  /** Return the report on one image, an HTML page. */
  async report(file, { stable, signal }) {
    const form = new FormData();
    form.append("files", file, file.name);
    const response = await this.#send(`v1/report${stable ? "?stable=true" : ""}`, { method: "POST", body: form, signal });
    if (response.ok) return response.text();
    throw new Refused((await response.json()).detail);
  }

  /** Return the model, its thresholds and the limits. */
  async model() {
    const response = await this.#send("v1/model", {});
    if (response.ok) return response.json();
    throw new Refused((await response.json()).detail);
  }

  async #send(path, options) {
    for (let waited = 0; ; ) {
      const key = this.#key;
      const headers = { ...options.headers, ...(key ? { "X-API-Key": key.replace(/[^!-~]/g, "?") } : {}) };
      const response = await fetch(path, { ...options, headers, credentials: "omit", cache: "no-store" }).catch((error) => {
        if (options.signal?.aborted) throw error;
        throw new Refused("The service could not be reached: check that it runs, then choose the image again.");
      });
      if (response.status === 401) {
        await this.#renewKey(key);
      } else if (response.status === 503 && waited < LONGEST_WAIT) {
        const seconds = Math.max(1, Number(response.headers.get("Retry-After")) || 1);
        this.tellWait(seconds);
        await pause(seconds, options.signal);
        waited += seconds;
      } else {
        return response;
      }
    }
  }

  /** Wait for another key than `used`; requests that fail together ask once. */
  async #renewKey(used) {
    if (this.#key !== used) return;
    this.#asked ??= this.askKey(used !== "").then((key) => {
      this.#key = key;
      this.#asked = null;
    });
    await this.#asked;
  }
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal?.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });
}
