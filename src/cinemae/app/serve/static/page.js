// The page: takes images, has them scored a few at a time, and keeps table, progress and announcements in step.

import { toCsv } from "./csv.js";
import { classOf, detail, make, percent, wordOf } from "./detail.js";
import { Refused, Service } from "./service.js";

const LANES = 3; // images sent at the same time
const ORDER = ["ai", "uncertain", "real", "error"];
const $ = (id) => document.getElementById(id);
const maxFiles = Number(document.body.dataset.maxFiles);
const maxBytes = Number(document.body.dataset.maxBytes);
const meanings = new Map([...document.querySelectorAll("#warnings dt")].map((term) => [term.textContent, term.nextElementSibling.textContent]));
const service = new Service(askKey, (seconds) => announce(`The service is busy. Trying again in ${seconds} s.`));

let entries = []; // in the order in which they came
let queue = [];
let busy = 0;
let shown = null;
let model = null;
let sort = null; // {by, descending}
let abort = new AbortController();
let thumbnails = Promise.resolve(); // one at a time: a picture of 50 megapixels takes 200 MB to decode

function announce(text) {
  $("status").textContent = text;
}

/** A file name without what is not shown, or turns the text around it. */
function cleanName(name) {
  return name.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, "").trim() || "picture without a name";
}

function add(files) {
  const given = [...files];
  if (!given.length) return;
  if (entries.length + given.length > maxFiles) {
    const now = entries.length ? `${entries.length} are here and ${given.length} more came` : `${given.length} came`;
    announce(`At most ${maxFiles} images at a time, ${now}: ${entries.length ? "clear the list, or " : ""}choose fewer.`);
    return;
  }
  for (const file of given) {
    const entry = { file, name: cleanName(file.name), row: null, stable: $("stable").checked };
    entry.tr = tableRow(entry);
    entries.push(entry);
    queue.push(entry);
  }
  announce(`Scoring ${queue.length === 1 ? queue[0].name : `${queue.length} images`} …`);
  layOut();
  pump();
}

function pump() {
  while (busy < LANES && queue.length) {
    busy += 1;
    score(queue.shift(), abort.signal);
  }
}

async function score(entry, signal) {
  try {
    if (entry.file.size > maxBytes) {
      throw new Refused(`The file has more than the ${Math.floor(maxBytes / 1e6)} MB allowed: save a smaller one.`);
    }
    await entry.file.slice(0, 1).arrayBuffer().catch(() => {
      throw new Refused("The file could not be read: if it is a folder, choose the pictures in it.");
    });
    entry.row = await service.detect(entry.file, { stable: entry.stable, signal });
    model ??= await service.model().catch(() => null);
  } catch (error) {
    if (signal.aborted) return;
    entry.row = { status: "error", error_message: error instanceof Refused ? error.message : "The service gave an answer that this page cannot read." };
  }
  if (signal.aborted) return;
  entry.row.path = entry.name;
  if (entry.row.status === "error") entry.row.error_message = forPeople(entry.row.error_message);
  busy -= 1;
  fillRow(entry);
  if (shown === null || shown === entry) show(entry);
  layOut();
  pump();
  if (!busy && !queue.length) finish();
}

/** The library's sentence begins small, and calls what it was given by its type. */
function forPeople(sentence) {
  const text = sentence.replaceAll("the byte string given", "the file");
  return text[0].toUpperCase() + text.slice(1);
}

function finish() {
  if (sort) sortRows();
  const counts = ORDER.map((kind) => [kind, entries.filter((entry) => classOf(entry.row) === kind).length]);
  if (entries.length === 1) {
    const { name, row } = entries[0];
    announce(row.status === "error" ? `${name}: ${row.error_message}` : `${name}: ${inSentence(row)}, probability ${percent(row.prob_fake)}.`);
  } else {
    const said = counts.filter(([, count]) => count).map(([kind, count]) => `${count} ${inSentence({ verdict: kind })}`);
    announce(`${entries.length} images: ${said.join(", ")}.`);
  }
}

function inSentence(row) {
  const word = wordOf(row);
  return word[0].toLowerCase() + word.slice(1);
}

/** Show or hide what there is to see, and how far it is. */
function layOut() {
  const done = entries.filter((entry) => entry.row);
  $("progress-row").hidden = done.length === entries.length;
  $("progress").max = Math.max(1, entries.length);
  $("progress").value = done.length;
  $("count").textContent = `${done.length} of ${entries.length}`;
  $("results").hidden = !entries.length || (entries.length === 1 && !done.length);
  $("table-box").hidden = entries.length < 2;
  $("split").classList.toggle("many", entries.length > 1);
  $("csv").disabled = done.length < entries.length;
  document.body.classList.toggle("working", entries.length > 0);
}

function tableRow(entry) {
  const open = make("button", { type: "button", class: "open", click: () => choose(entry) }, make("bdi", {}, entry.name));
  entry.canvas = make("canvas", { width: "0", height: "0", "aria-hidden": "true" });
  entry.word = make("span", { class: "badge waiting" }, "Waiting");
  entry.number = make("td", { class: "number" });
  entry.open = open;
  open.disabled = true;
  const row = make("tr", {}, make("th", { scope: "row" }, make("span", { class: "file" }, entry.canvas, open)), make("td", {}, entry.word), entry.number);
  $("rows").append(row);
  return row;
}

function fillRow(entry) {
  const { row } = entry;
  entry.open.disabled = false;
  entry.word.className = `badge ${classOf(row)}`;
  entry.word.textContent = wordOf(row);
  if (row.status === "error") {
    entry.word.after(make("span", { class: "beside" }, row.error_message));
    entry.word.parentElement.colSpan = 2;
    entry.number.remove();
    return;
  }
  entry.number.textContent = percent(row.prob_fake);
  if (row.warnings.length) {
    const count = `${row.warnings.length} warning${row.warnings.length > 1 ? "s" : ""}`;
    entry.word.after(make("span", { class: "beside" }, count));
  }
  thumbnails = thumbnails.then(() => drawThumbnail(entry)).catch(() => {}); // a format that the browser cannot show
}

async function drawThumbnail(entry) {
  const bitmap = await createImageBitmap(entry.file, { resizeWidth: 80, resizeQuality: "medium" });
  [entry.canvas.width, entry.canvas.height] = [bitmap.width, bitmap.height];
  entry.canvas.getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();
}

function show(entry) {
  shown?.open.removeAttribute("aria-current");
  shown = entry;
  entry.open.setAttribute("aria-current", "true");
  entry.url ??= URL.createObjectURL(entry.file);
  $("detail").replaceChildren(...detail(entry, model, meanings, () => mapOf(entry)));
  $("detail").hidden = false;
}

function choose(entry) {
  show(entry);
  $("detail-title").focus({ preventScroll: true });
  $("detail").scrollIntoView({ block: "nearest" });
}

async function mapOf(entry) {
  entry.mapUrl ??= URL.createObjectURL(await service.heatmap(entry.file, { signal: abort.signal }));
  return entry.mapUrl;
}

function sortBy(by) {
  sort = { by, descending: sort?.by === by ? !sort.descending : by === "prob_fake" };
  for (const button of document.querySelectorAll("[data-sort]")) {
    if (button.dataset.sort === by) button.closest("th").setAttribute("aria-sort", sort.descending ? "descending" : "ascending");
    else button.closest("th").removeAttribute("aria-sort");
  }
  sortRows();
}

/** Put the rows in order; those without a score stay at the end either way. */
function sortRows() {
  const sign = sort.descending ? -1 : 1;
  const key = { name: (entry) => entry.name, prob_fake: (entry) => entry.row?.prob_fake ?? null, verdict: (entry) => ORDER.indexOf(classOf(entry.row ?? {})) }[sort.by];
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a - b);
  const inOrder = [...entries].sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    if (x === null || y === null) return (x === null) - (y === null);
    return sign * compare(x, y);
  });
  $("rows").append(...inOrder.map((entry) => entry.tr));
}

function download() {
  const url = URL.createObjectURL(new Blob([toCsv(entries.map((entry) => entry.row))], { type: "text/csv;charset=utf-8" }));
  make("a", { href: url, download: "cinemae.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

function clear() {
  abort.abort();
  abort = new AbortController();
  for (const { url, mapUrl } of entries) [url, mapUrl].filter(Boolean).forEach((one) => URL.revokeObjectURL(one));
  [entries, queue, busy, shown] = [[], [], 0, null];
  $("rows").replaceChildren();
  $("detail").replaceChildren();
  $("detail").hidden = true;
  announce("The list is empty.");
  layOut();
  $("choose").focus();
}

/** Show the field for an API key and wait until one is given. */
function askKey(wrong) {
  const [form, field] = [$("key-form"), $("key")];
  form.hidden = false;
  field.value = "";
  $("key-note").textContent = wrong ? "The service did not take this key: check it, and give it again." : "It is kept until this page is closed, and nowhere else.";
  field.setAttribute("aria-invalid", String(wrong));
  announce(wrong ? "The service did not take this key." : "This service needs an API key.");
  if (entries.length) field.focus();
  return new Promise((resolve) => {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      form.hidden = true;
      announce("");
      resolve(field.value.trim());
    }, { once: true });
  });
}

$("choose").addEventListener("click", () => $("files").click());
$("files").addEventListener("change", () => {
  add($("files").files);
  $("files").value = ""; // the same file may be chosen again
});
$("csv").addEventListener("click", download);
$("clear").addEventListener("click", clear);
for (const button of document.querySelectorAll("[data-sort]")) button.addEventListener("click", () => sortBy(button.dataset.sort));
document.addEventListener("paste", (event) => add(event.clipboardData?.files ?? []));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  $("drop").classList.add("over");
});
document.addEventListener("dragleave", (event) => event.relatedTarget || $("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  add(event.dataTransfer?.files ?? []);
});
service.model().then((answer) => {
  model = answer;
  $("model").textContent = ` · model ${model.model}`;
}).catch(() => {}); // the first image will tell
