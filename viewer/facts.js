/** Panels of text: statistics, where the bits go, and the Gaussians of a pixel. Names are always set as text. */

/** Return an element with a text and a class. */
export function element(name, text = "", kind = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

/** Return a number with separators of thousands, which are thin spaces. */
export function grouped(value) {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

/** Return a size in bytes as text. */
export function sized(bytes) {
  return bytes < 10000 ? `${grouped(bytes)} bytes` : `${grouped(bytes)} bytes (${(bytes / 1000).toFixed(1)} kB)`;
}

/**
 * Show pairs of names and values.
 * @param {HTMLElement} list Element dl.
 * @param {[string, string][]} rows Names and values.
 */
export function showFacts(list, rows) {
  list.replaceChildren(...rows.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
}

/**
 * Show the share of each attribute in the bits of a file as bars.
 * @param {HTMLElement} place Element to fill.
 * @param {{[name: string]: number}} bits Bits by attribute.
 * @param {number} count Number of Gaussians.
 */
export function showBits(place, bits, count) {
  const total = Object.values(bits).reduce((sum, value) => sum + value, 0);
  place.replaceChildren();
  if (!total) return;
  const table = element("table", "", "bits");
  table.append(element("caption", "Where the bits go"));
  const head = element("tr");
  for (const name of ["attribute", "share", "bits each"]) head.append(element("th", name));
  for (const cell of head.children) cell.scope = "col";
  table.append(head);
  for (const [name, value] of Object.entries(bits)) {
    const row = element("tr");
    const title = element("th", name);
    title.scope = "row";
    const share = element("td", `${((100 * value) / total).toFixed(1)} %`, "share");
    share.style.setProperty("--share", `${(100 * value) / total}%`);
    row.append(title, share, element("td", count ? (value / count).toFixed(2) : "-"));
    table.append(row);
  }
  place.append(table);
}

const SHOWN = 24; // rows of the table of a pixel

/**
 * Show the Gaussians that touch a pixel.
 * @param {HTMLElement} place Element to fill.
 * @param {import("./scene.js").Scene} scene Gaussians.
 * @param {number[]} pixel Column and row.
 * @param {object} found What `Scene.touch` returned.
 * @param {?number[]} original Colour of the original there, from 0 to 255.
 */
export function showPixel(place, scene, pixel, found, original) {
  const { touching, color, total } = found;
  const { file } = scene;
  const values = (numbers) => numbers.map((number) => number.toFixed(3)).join(", ");
  const rows = [
    ["Pixel", `column ${pixel[0]}, row ${pixel[1]}`],
    ["Colour", values(color)],
    ["Sum of weights", total.toFixed(3)],
    ["Gaussians", String(touching.length)],
  ];
  if (original) rows.splice(2, 0, ["Original", values(original.map((byte) => byte / 255))]);
  const list = element("dl");
  showFacts(list, rows);
  const table = element("table", "", "touching");
  table.append(element("caption", touching.length > SHOWN ? `The ${SHOWN} heaviest` : "The heaviest first"));
  const head = element("tr");
  for (const name of ["colour", "rank", "weight", "share", "σ, pixels", "angle"]) {
    const cell = element("th", name);
    cell.scope = "col";
    head.append(cell);
  }
  table.append(head);
  for (const { index, weight } of touching.slice(0, SHOWN)) {
    const at = scene.order[index];
    const swatch = element("td");
    const chip = element("span", "", "chip");
    chip.style.backgroundColor = css(scene, at);
    swatch.append(chip);
    const degrees = (((file.rotations[at] * 180) / Math.PI) % 180) + 180;
    const scales = `${file.scales[2 * at].toPrecision(3)} × ${file.scales[2 * at + 1].toPrecision(3)}`;
    const row = element("tr");
    row.append(swatch, element("td", String(index + 1)), element("td", weight.toFixed(3)));
    row.append(element("td", `${((100 * weight) / total).toFixed(1)} %`), element("td", scales));
    row.append(element("td", `${(degrees % 180).toFixed(0)}°`));
    table.append(row);
  }
  place.replaceChildren(list, ...(touching.length ? [table] : []));
}

/** Return the colour of a Gaussian for the page. */
function css(scene, at) {
  const { file } = scene;
  const alpha = scene.alpha ? file.colors[(at + 1) * file.channels - 1] : 1;
  const bytes = scene.shown.map((channel) => {
    const value = file.colors[at * file.channels + channel] / (scene.alpha ? Math.max(alpha, 1e-3) : 1);
    return Math.round(255 * Math.min(Math.max(value, 0), 1));
  });
  return `rgb(${bytes.join(" ")} / ${Math.min(Math.max(alpha, 0), 1)})`;
}
