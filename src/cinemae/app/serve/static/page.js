// The page: takes images, has them scored a few at a time, and keeps table, progress and announcements in step.

import { toCsv } from "./csv.js";
import { classOf, detail, make, percent, titleOf, wordOf } from "./detail.js";
import { fromInput, fromTransfer } from "./gather.js";
import { explain } from "./problems.js";
import { join } from "./report.js";
import { Refused, Service } from "./service.js";

const LANES = 3; // images sent at the same time
const BUSY = "The service is busy.";
const ORDER = ["ai", "uncertain", "real", "error"];
const $ = (id) => document.getElementById(id);
const maxFiles = Number(document.body.dataset.maxFiles);
const maxBytes = Number(document.body.dataset.maxBytes);
const suffixes = document.body.dataset.suffixes.split(",");
const isPicture = (name) => !name.startsWith(".") && suffixes.some((suffix) => name.toLowerCase().endsWith(suffix));
const service = new Service(askKey, (seconds) => announce(`${BUSY} Trying again in ${seconds} s.`));

let entries = []; // in the order in which they came
let queue = [];
let busy = 0;
let shown = null;
let model = null;
let leftOutSaid = ""; // what of the last folder was no picture
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

/** Take what was handed over, and say what was not taken. */
function add({ pictures, leftOut, address }) {
  if (address) {
    announce("That is the address of a picture, not the picture. This service fetches nothing from the web: save the picture as a file, then choose the file here.");
    return;
  }
  const others = leftOut ? `${leftOut} other ${leftOut === 1 ? "file is" : "files are"} no picture by name and ${leftOut === 1 ? "was" : "were"} left out.` : "";
  if (!pictures.length) {
    if (leftOut) announce(`The folder holds no picture: ${others}`);
    return;
  }
  if (entries.length + pictures.length > maxFiles) {
    const now = entries.length ? `${entries.length} are here and ${pictures.length} more came` : `${pictures.length} came`;
    announce(`This page takes at most ${maxFiles} images, ${now}: ${entries.length ? "clear the list, or " : ""}choose fewer, or use the command cinemae detect on the folder.`);
    return;
  }
  for (const { file, name } of pictures) {
    const entry = { file, name: cleanName(name), row: null, stable: $("stable").checked };
    entry.tr = tableRow(entry);
    entries.push(entry);
    queue.push(entry);
  }
  leftOutSaid = others;
  announce(["Examining", queue.length === 1 ? queue[0].name : `${queue.length} images`, "…", others].join(" "));
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
      throw new Refused(`This file has more than the ${Math.floor(maxBytes / 1e6)} MB that this service takes. Save a smaller copy, and remember that a copy is judged, not the original.`);
    }
    await entry.file.slice(0, 1).arrayBuffer().catch(() => {
      throw new Refused("This file can no longer be read: it was moved, renamed or changed. Choose it again.");
    });
    entry.row = await service.detect(entry.file, { stable: entry.stable, signal });
    model ??= await service.model().catch(() => null);
  } catch (error) {
    if (signal.aborted) return;
    const known = error instanceof Refused;
    entry.row = { status: "error", error_message: known ? error.message : "The service gave an answer that this page cannot read." };
    entry.problem = known && error.detail ? explain(error.detail) : { meaning: entry.row.error_message, exact: "" };
  }
  if (signal.aborted) return;
  entry.row.path = entry.name;
  if (entry.row.status === "error") entry.problem ??= explain(entry.row.error_message);
  busy -= 1;
  fillRow(entry);
  if (shown === entry || (shown === null && entry === entries[0])) show(entry); // not whichever is quickest
  layOut();
  pump();
  if (!busy && !queue.length) finish();
  else if ($("status").textContent.startsWith(BUSY)) announce(`Examining ${entries.length} images …`);
}

function finish() {
  if (sort) sortRows();
  const counts = ORDER.map((kind) => [kind, entries.filter((entry) => classOf(entry.row) === kind).length]);
  if (entries.length === 1) {
    const { name, row, problem } = entries[0];
    announce(row.status === "error" ? `${name}: ${problem.meaning}` : `${name}: ${wordOf(row)}, probability ${percent(row.prob_fake)}.`);
  } else {
    const said = counts.filter(([, count]) => count).map(([kind, count]) => `${count} ${wordOf({ verdict: kind })}`);
    announce(`${entries.length} images: ${said.join(", ")}. ${leftOutSaid}`.trim());
  }
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
  $("csv").disabled = $("report").disabled = done.length < entries.length;
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
  entry.word.textContent = titleOf(row);
  if (row.status === "error") {
    entry.word.after(make("span", { class: "beside" }, entry.problem.meaning));
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
  $("detail").replaceChildren(...detail(entry, model, () => mapOf(entry)));
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
  save(toCsv(entries.map((entry) => entry.row)), "text/csv", "cinemae.csv");
}

function save(text, type, name) {
  const url = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Save the report on all images: the service makes that of each, which are joined in the order of the table. */
async function saveReport() {
  const chosen = [...entries].sort((a, b) => a.tr.sectionRowIndex - b.tr.sectionRowIndex);
  const { signal } = abort;
  $("report").disabled = true;
  try {
    const documents = [];
    for (const { file, name, stable } of chosen) {
      announce(chosen.length === 1 ? "Making the report …" : `Making the report: ${documents.length + 1} of ${chosen.length} …`);
      documents.push({ name, html: await service.report(file, { stable, signal }) });
    }
    save(join(documents), "text/html", "cinemae-report.html");
    announce("The report is saved: one file to keep, send or print.");
  } catch (error) {
    if (!signal.aborted) announce(error instanceof Refused ? `No report: ${error.message}` : "The report could not be made: try again.");
  } finally {
    layOut();
  }
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

for (const [button, input] of [["choose", "files"], ["choose-folder", "folder"]]) {
  $(button).addEventListener("click", () => $(input).click());
  $(input).addEventListener("change", () => {
    add(fromInput($(input), isPicture));
    $(input).value = ""; // the same may be chosen again
  });
}
$("choose-folder").hidden = !("webkitdirectory" in $("folder")); // where a browser knows no folders
$("csv").addEventListener("click", download);
$("report").addEventListener("click", saveReport);
$("clear").addEventListener("click", clear);
for (const button of document.querySelectorAll("[data-sort]")) button.addEventListener("click", () => sortBy(button.dataset.sort));

/** Take what a drop or paste carries; a folder may be one that the browser does not give. */
async function handOver(transfer) {
  try {
    add(await fromTransfer(transfer, isPicture));
  } catch {
    announce("This folder could not be read: choose the pictures in it.");
  }
}

document.addEventListener("paste", (event) => event.target === $("key") || handOver(event.clipboardData));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  $("drop").classList.add("over");
});
document.addEventListener("dragleave", (event) => event.relatedTarget || $("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  handOver(event.dataTransfer);
});
service.model().then((answer) => {
  model = answer;
  $("model").textContent = ` · model ${model.model}`;
}).catch(() => {}); // the first image will tell
