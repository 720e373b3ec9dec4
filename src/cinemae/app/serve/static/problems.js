// What an error means to people who do not program, and what they can do. The exact sentence stands below it, small.

const MEANINGS = [
  [/ is empty \(0 bytes\)/, "This file is empty: there is no picture in it. Copy or download it again."],
  [/must be one of .* began with/, "This is not a picture of a kind that can be read here, whatever its name says. Open it in a picture viewer and save it as JPEG or PNG."],
  [/needs a plugin|was built without|needs the extra/, "This kind of picture can be read only if a further part is installed with the service. Save it as JPEG or PNG, or ask whoever runs the service."],
  [/by its first bytes, but the rest/, "This picture is damaged, incomplete or of a rare kind. Download or copy it again; if other programs can open it, save it there as JPEG or PNG."],
  [/pixels, more than the .* allowed/, "This picture has too many pixels for this service. Save a copy at half its size, and remember that a copy is judged, not the original."],
  [/more than the .* bytes allowed|has at most .* bytes/, "This file is too large for this service. Save a smaller copy, and remember that a copy is judged, not the original."],
  [/^an unexpected /, "Something went wrong in the service at this picture; the picture need not be at fault. Tell whoever runs the service, with the number below."],
  [/must arrive within/, "It took too long to send this picture. Try again, or save a smaller copy."],
  [/were not scored within|shutting down|has no room|too many connections/, "The service has too much to do at the moment. Try this picture again in a few minutes."],
];
const UNKNOWN = "This picture could not be examined.";

/** Return a sentence for people and, where it says more, the exact one; an error of this page's own has only the first. */
export function explain(message) {
  const meaning = MEANINGS.find(([pattern]) => pattern.test(message))?.[1] ?? UNKNOWN;
  const exact = message.replaceAll("the byte string given", "the file");
  return { meaning, exact: exact[0].toUpperCase() + exact.slice(1) };
}
