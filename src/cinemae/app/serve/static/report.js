// Reports on single images, joined to one. The service makes them, so that they look as those of the command line.

const STYLE = /<style>[^]*?<\/style>/; // goes around the parser: this page's policy would complain of it

/**
 * Return one report, an HTML page.
 * @param {{name: string, html: string}[]} documents Each of one image; the name may hold folders, which the service drops.
 */
export function join(documents) {
  const [whole, ...others] = documents.map(({ name, html }) => {
    const parsed = new DOMParser().parseFromString(html.replace(STYLE, ""), "text/html"); // no part of this page, and never run
    for (const element of parsed.querySelectorAll(".name")) element.textContent = name;
    return parsed;
  });
  for (const other of others) {
    for (const list of [".conflicts", ".images"]) whole.querySelector(list).append(...other.querySelectorAll(`${list} > li`));
    whole.querySelector("main").append(...other.querySelectorAll("article"));
  }
  const articles = [...whole.querySelectorAll("article")];
  articles.forEach((article, index) => { article.id = `image-${index + 1}`; });
  whole.querySelectorAll(".images a").forEach((link, index) => link.setAttribute("href", `#image-${index + 1}`));
  for (const count of whole.querySelectorAll("[data-count]")) {
    const kind = count.dataset.count;
    count.textContent = articles.filter((article) => kind === "all" || article.classList.contains(kind)).length;
  }
  whole.querySelector(".sheet").hidden = articles.length < 2;
  const page = whole.documentElement.outerHTML.replace("</head>", () => `${documents[0].html.match(STYLE)[0]}\n</head>`);
  return `<!doctype html>\n${page}\n`;
}
