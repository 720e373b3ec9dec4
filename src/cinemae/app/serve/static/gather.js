// What a person hands over: files, folders searched to the bottom, or the address of a picture, which is refused.

const ADDRESS = /^(https?|ftp|data|blob|file):/i;

/** What was handed over: pictures by name, how many other files lay in folders, and whether an address came instead. */
const nothing = () => ({ pictures: [], leftOut: 0, address: false });

/** Return the files of an input; those of a folder have its name before theirs. */
export function fromInput(input, isPicture) {
  const found = nothing();
  for (const file of input.files) take(found, file, file.webkitRelativePath, isPicture);
  return inOrder(found);
}

/** Return what was dropped or pasted. Call it within the event: afterwards the browser takes the items back. */
export async function fromTransfer(transfer, isPicture) {
  const items = [...(transfer?.items ?? [])].filter((item) => item.kind === "file");
  const given = items.map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile()).filter(Boolean);
  const text = transfer?.getData("text/uri-list") || transfer?.getData("text/plain") || "";
  const found = nothing();
  found.address = !given.length && ADDRESS.test(text.trim());
  for (const one of given) {
    if (one instanceof File) take(found, one, "", isPicture);
    else await search(one, found, isPicture, one.isFile ? "" : one.name);
  }
  return inOrder(found);
}

/** Put what lay in folders in the order of the names: a browser gives it as the disk has it. */
function inOrder(found) {
  found.pictures.sort((a, b) => (a.path && b.path ? a.path.localeCompare(b.path, undefined, { numeric: true }) : 0));
  return found;
}

/** A file that was chosen by itself is taken as it is; of a folder, what is a picture by its name. */
function take(found, file, path, isPicture) {
  if (!path || isPicture(file.name)) found.pictures.push({ file, path, name: path || file.name });
  else found.leftOut += 1;
}

async function search(entry, found, isPicture, path) {
  if (entry.isFile) {
    take(found, await new Promise((resolve, reject) => entry.file(resolve, reject)), path, isPicture);
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // some hundred at a time
    if (!some.length) return;
    for (const inner of some) await search(inner, found, isPicture, `${path}/${inner.name}`);
  }
}
