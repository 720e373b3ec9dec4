// What is shown of one image: verdict, reasons, doubts, what the file says, and the picture with its map.

// The words and groups of the library, which the service writes into the page.
const WORDS = JSON.parse(document.body.dataset.words);
const GROUPS = JSON.parse(document.body.dataset.groups);
const SIGNATURE = { true: "signature holds", false: "signature does not hold", null: "not verified" };

/** Return the word of a row's verdict, or of its failure, as it stands within a sentence. */
export const wordOf = (row) => WORDS[row.verdict ?? "error"];

/** Return the same where it stands alone. */
export const titleOf = (row) => wordOf(row)[0].toUpperCase() + wordOf(row).slice(1);

/** Return the class of a row's verdict. */
export const classOf = (row) => row.verdict ?? "error";

/** Return a probability as people read it; never 0 or 100 %, which would claim certainty. */
export function percent(share, decimals = 0) {
  const step = 10 ** -decimals;
  if (share < 0.005 * step) return `less than ${step.toFixed(decimals)} %`;
  return share >= 1 - 0.005 * step ? `more than ${(100 - step).toFixed(decimals)} %` : `${(100 * share).toFixed(decimals)} %`;
}

/** Return how many decimals keep shares apart that differ. */
function decimalsFor(shares) {
  const apart = [...new Set(shares)];
  const distinct = (decimals) => new Set(apart.map((share) => (100 * share).toFixed(decimals))).size === apart.length;
  return [0, 1, 2, 3].find(distinct) ?? 4;
}

/** Return what is said under one heading. */
const under = (row, group) => row.reasons.filter((_, index) => GROUPS[row.reason_kinds[index]] === group);

/** Make an element; strings become text, never markup. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/**
 * Return what is shown of an image.
 * @param entry Its file, name, row, and URL of the picture.
 * @param model What the service says of its model, or null.
 * @param {() => Promise<string>} getMap Gives the URL of its map.
 */
export function detail(entry, model, getMap) {
  const { row, name } = entry;
  const title = make("h3", { id: "detail-title", tabindex: "-1" }, make("bdi", {}, name));
  const head = make("div", { class: `verdict ${classOf(row)}` }, make("p", { class: "word" }, titleOf(row)));
  if (row.status === "error") {
    const { meaning, exact } = entry.problem;
    head.append(make("p", {}, meaning));
    if (exact) head.append(make("p", { class: "exact" }, exact));
    return [title, head];
  }
  const value = make("strong", { class: "value" }, percent(row.prob_fake, decimalsOf(row, model)));
  head.append(make("p", { class: "probability" }, value, " probability of being AI-generated"), ...scale(row, model));
  head.prepend(...under(row, "conflict").map((sentence) => make("p", { class: "conflict", role: "note" }, sentence)));
  return [
    title,
    make("div", { class: "sides" },
      head,
      picture(entry, getMap),
      make("div", { class: "parts" },
        part("Why", list(under(row, "why"))),
        part("What makes it less sure", list(doubts(row))),
        part("What the file says of its origin", ...provenance(row)))),
    technical(row, entry.file),
  ];
}

function part(title, ...content) {
  return make("section", { class: "part" }, make("h4", {}, title), ...content);
}

function list(sentences) {
  return make("ul", {}, ...sentences.map((sentence) => make("li", {}, sentence)));
}

const decimalsOf = (row, model) => decimalsFor([row.prob_fake, ...(model ? [model.decision.real_below, model.decision.threshold] : [])]);

/** The whole range of probabilities with the three verdicts, and where this one lies. */
function scale(row, model) {
  if (!model) return [];
  const { real_below: low, threshold: high } = model.decision;
  const zone = (kind, from, to) => {
    const element = make("span", { class: `zone ${kind}` });
    element.style.width = `${100 * (to - from)}%`;
    return element;
  };
  const marker = make("span", { class: "marker" });
  marker.style.left = `${100 * row.prob_fake}%`;
  const bar = make("div", { class: "scale", "aria-hidden": "true" },
    zone("real", 0, low), zone("uncertain", low, high), zone("ai", high, 1), marker);
  const decimals = decimalsOf(row, model);
  const limits = `Photograph below ${percent(low, decimals)}, AI-generated from ${percent(high, decimals)} on; between them the model cannot tell.`;
  return [bar, make("p", { class: "limits" }, limits)];
}

function doubts(row) {
  const found = under(row, "doubt");
  return found.length ? found : ["Nothing was found that does. That does not make the verdict certain."];
}

function provenance(row) {
  const note = make("p", { class: "note" }, "Separate evidence: it does not enter the score.");
  if (!row.provenance.length) {
    return [make("p", {}, "Nothing. Most sites remove such notes, so this speaks neither way."), note];
  }
  const items = row.provenance.map(({ sentence, verified }) =>
    make("li", {}, `${sentence[0].toUpperCase()}${sentence.slice(1)}. `, make("span", { class: "tag" }, SIGNATURE[verified])));
  return [make("ul", {}, ...items), note];
}

/** The picture, and over it the map as soon as it is asked for. */
function picture(entry, getMap) {
  const { row, name } = entry;
  const image = make("img", { src: entry.url, alt: `The picture ${name}` });
  const stage = make("div", { class: "stage" }, image);
  stage.style.aspectRatio = `${row.width} / ${row.height}`;
  stage.style.setProperty("--wide", `${row.width / row.height}`);
  image.addEventListener("error", () => {
    image.replaceWith(make("p", { class: "unshown" }, `This browser cannot show ${row.format} pictures. It was scored all the same.`));
  });
  const note = make("p", { class: "note", role: "status" });
  const button = make("button", { type: "button" }, "Show the map");
  const figure = make("figure", {}, stage, make("div", { class: "map-tools" }, button, note));
  button.addEventListener("click", async (event) => {
    button.disabled = true;
    note.textContent = "Drawing the map …";
    try {
      const map = make("img", { class: "map", src: await getMap(), alt: "Map of how hard each part is to predict from what surrounds it" });
      stage.append(map);
      const tools = blend(map);
      button.parentElement.replaceWith(tools);
      if (event.isTrusted) tools.querySelector("input").focus(); // not when an earlier map comes back by itself
    } catch (error) {
      button.disabled = false;
      note.textContent = error.message;
    }
  });
  if (entry.mapUrl) button.click();
  return figure;
}

function blend(map) {
  const slider = make("input", { type: "range", id: "blend", min: "0", max: "100", value: "75" });
  const set = () => {
    map.style.opacity = slider.value / 100;
    slider.setAttribute("aria-valuetext", `${100 - slider.value} % picture, ${slider.value} % map`);
  };
  slider.addEventListener("input", set);
  set();
  return make("div", { class: "map-tools" },
    make("div", { class: "blend" },
      make("label", { for: "blend" }, "Blend of picture and map"),
      make("div", { class: "ends" }, make("span", { "aria-hidden": "true" }, "Picture"), slider, make("span", { "aria-hidden": "true" }, "Map"))),
    make("div", { class: "legend" },
      make("span", {}, "easy"), make("span", { class: "ramp", "aria-hidden": "true" }), make("span", {}, "hard to predict from its surroundings")),
    make("p", { class: "note" }, "Photographs and generated images both have such parts: the map does not show what is fake. What lies outside a frame was not looked at."));
}

function technical(row, file) {
  const number = (value) => (value === null ? "unknown" : value.toFixed(4));
  const facts = [
    ["File", `${row.format}, ${row.width} × ${row.height} pixels, ${file.size.toLocaleString("en")} bytes`],
    ["SHA-256", row.content_hash],
    ["Model", row.model],
    ["Probability, and before calibration", `${number(row.prob_fake)}, ${number(row.logit)}`],
    ["Variability, overall, sensitivity (s1, s2, s3)", `${number(row.variability)}, ${number(row.overall)}, ${number(row.sensitivity)}`],
    ["Photographs less unlike the training images", row.ood_score === null ? "unknown" : percent(row.ood_score)],
  ];
  const pairs = facts.map(([term, value]) => make("div", {}, make("dt", {}, term), make("dd", {}, value)));
  return make("details", { class: "technical" }, make("summary", {}, "File and figures"), make("dl", {}, ...pairs));
}
