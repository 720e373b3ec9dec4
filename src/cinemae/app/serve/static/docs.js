// Starts Swagger UI: light or dark as the browser is, and without the links that would stand within its buttons.

const root = document.getElementById("swagger");
document.documentElement.classList.toggle("dark-mode", matchMedia("(prefers-color-scheme: dark)").matches);

/** Name for screen readers what Swagger UI leaves without a name, and put its title below the page's own. */
function name() {
  for (const field of root.querySelectorAll(":is(select, input):not([aria-label])")) {
    const parameter = field.closest("[data-param-name], [data-property-name]")?.dataset;
    field.setAttribute("aria-label", parameter?.paramName ?? parameter?.propertyName ?? (field.type === "file" ? "File" : "Example"));
  }
  for (const button of root.querySelectorAll(".copy-to-clipboard button:not([aria-label])")) {
    button.setAttribute("aria-label", "Copy");
  }
  for (const table of root.querySelectorAll("[role=region]:not([aria-label])")) {
    const path = table.closest(".opblock").querySelector("[data-path]").dataset.path;
    table.setAttribute("aria-label", `Responses of ${path}`);
  }
  root.querySelector("h1.title")?.setAttribute("aria-level", "2");
}

new MutationObserver(name).observe(root, { childList: true, subtree: true });
SwaggerUIBundle({ url: "openapi.json", dom_id: "#swagger", deepLinking: false, syntaxHighlight: false, validatorUrl: null });
