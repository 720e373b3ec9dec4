// The rows as `cinemae detect --format csv` writes them.

const COLUMNS = [
  "path", "status", "verdict", "prob_fake", "logit", "threshold", "false_positive_rate", "reasons", "variability",
  "overall", "sensitivity", "ood_score", "warnings", "redeliveries", "provenance", "width", "height", "format",
  "content_hash", "model", "examined", "error_message",
];
const TO_TEXT = {
  examined: (found) => Object.entries(found).map(([name, value]) => `${name}:${Number(value.toPrecision(6))}`).join(";"),
  reasons: (sentences) => sentences.join(" "),
  warnings: (names) => names.join(";"),
  redeliveries: (found) => Object.entries(found).map(([name, probability]) => `${name}:${probability}`).join(";"),
  provenance: (signals) => signals.map((signal) => signal.sentence).join(";"),
};
const FORMULA = /^[=+\-@\t\r\n]/;

/** Return the text of a CSV file. What a spreadsheet would run as a formula is written so that it does not. */
export function toCsv(rows) {
  const lines = [COLUMNS, ...rows.map((row) => COLUMNS.map((name) => cell(name, row[name])))];
  return lines.map((cells) => cells.map(quote).join(",") + "\n").join("");
}

function cell(name, value) {
  if (value === null || value === undefined) return "";
  const text = name in TO_TEXT ? TO_TEXT[name](value) : value;
  if (typeof text !== "string" || !FORMULA.test(text)) return String(text);
  return (name === "path" ? "./" : "'") + text; // ./ names the same file
}

function quote(text) {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
