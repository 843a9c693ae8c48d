/**
 * Reads what the page carries: facts as JSON in #fastgs-items, and bytes as base64 in scripts of other types.
 *
 * An item either has the bytes of a .fgs file, which `decode` of fgs.js reads, or Gaussians as little-endian float32
 * arrays, one after the other: means, scales, rotations, colors.
 */

/** Version of what pages carry; a page with a higher one was made for another reader. */
const VERSION = 1;

const LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/** Error with a sentence for the reader of the page. */
export class DataError extends Error {}

/**
 * @typedef {object} Item Facts of a picture, as Python writes them.
 * @property {string} name Name of the file.
 * @property {"fgs"|"arrays"} kind How the Gaussians are carried.
 * @property {number} width Width of the canvas.
 * @property {number} height Height of the canvas.
 * @property {number} count Number of Gaussians.
 * @property {number} channels Number of channels.
 * @property {string} blend Rule of blending.
 * @property {boolean} alpha True if the last channel is opacity.
 * @property {boolean} original True if the page carries the original.
 * @property {Uint8Array} [data] Bytes of a file that was dropped on the page, which does not carry them.
 * @property {number[]} layerCounts Number of Gaussians up to the end of each layer.
 * @property {number[]} layerBytes Number of bytes of the file up to the end of each layer.
 * @property {{[name: string]: number}} bits Bits of the file by attribute; empty if not known.
 * @property {[string, string][]} facts Further statistics as text.
 */

/**
 * Return the facts of all pictures.
 * @returns {Item[]} Items in the order of the page.
 * @throws {DataError} The page is damaged or newer than its scripts.
 */
export function readItems() {
  let content;
  try {
    content = JSON.parse(document.getElementById("fastgs-items").textContent);
  } catch {
    throw new DataError("This page is damaged: its list of pictures cannot be read. Make it again with fastgs view.");
  }
  if (content?.version > VERSION) {
    throw new DataError(`This page is of version ${Number(content.version)}, and its scripts know ${VERSION}.`);
  }
  if (!Array.isArray(content?.items) || !content.items.length) {
    throw new DataError("This page holds no picture. Make it again with fastgs view.");
  }
  return content.items;
}

/**
 * Return the facts of a .fgs file that the page does not carry.
 * @param {string} name Name of the file.
 * @param {Uint8Array} data Bytes of the file.
 * @param {Function} decode Reader of .fgs files.
 * @param {Function} inspect Reader of their facts.
 * @returns {Item} Facts, with the bytes.
 * @throws {DataError} No such file can be read from the bytes.
 */
export function describeFile(name, data, decode, inspect) {
  const found = read(() => inspect(data));
  const { version, symbols, scheme, width, height, channels, alpha, blend, layerBytes, numGaussians, bits } = found;
  const layerCounts = layerBytes.map((_, layer) => read(() => decode(data, { layers: layer + 1 }).numGaussians));
  let behind = layerBytes.reduce((sum, size) => sum + size, 0);
  const ends = layerBytes.map((size) => data.length - (behind -= size));
  const facts = Object.entries({ Scheme: scheme, Format: `version ${version}` });
  if (symbols) facts.push(["Symbols", `model ${symbols}`]);
  const shape = { width, height, count: numGaussians, channels, blend, alpha };
  const file = { kind: "fgs", data, bytes: data.length, layerCounts, layerBytes: ends, bits };
  return { name, original: false, facts, ...shape, ...file };
}

/** Return what a reader of .fgs files returns; its messages are sentences for readers of the page, too. */
function read(act) {
  try {
    return act();
  } catch (error) {
    if (error?.name !== "FgsError") throw error;
    throw new DataError(error.message);
  }
}

/** Return the bytes of a script of the page, by its id. */
function readBytes(id) {
  const element = document.getElementById(id);
  if (!element) throw new DataError("This page is damaged: a part of its data is missing.");
  let text;
  try {
    text = atob(element.textContent.trim());
  } catch {
    throw new DataError("This page is damaged: its data is not base64.");
  }
  const bytes = new Uint8Array(text.length);
  for (let place = 0; place < text.length; place++) bytes[place] = text.charCodeAt(place);
  return bytes;
}

/**
 * Return the weights of the models that .fgs files are coded by.
 * @returns {[number, Uint8Array][]} Number of each model that the page carries, and the bytes of its weights.
 */
export function readWeights() {
  const ids = [...document.querySelectorAll('script[id^="weights-"]')].map(({ id }) => id);
  return ids.map((id) => [Number(id.slice("weights-".length)), readBytes(id)]);
}

/**
 * Return the Gaussians of an item.
 * @param {Item} item Facts of the picture.
 * @param {number} number Its number in the page, from 0.
 * @param {?Function} decode Reader of .fgs files; null if the page carries none.
 * @param {number} [layers] Number of layers to read of a .fgs file, all by default; blurry Gaussians fill holes then.
 * @returns {import("./scene.js").Decoded} Gaussians in the order of the file.
 * @throws {DataError} They are damaged, or of a kind that the page does not know.
 */
export function readGaussians(item, number, decode, layers = Infinity) {
  const bytes = item.data ?? readBytes(`gaussians-${number}`);
  let gaussians;
  if (item.kind === "fgs") {
    if (!decode) throw new DataError("This page carries a .fgs file, but no reader for it.");
    gaussians = read(() => (layers < item.layerCounts.length ? decode(bytes, { layers }) : decode(bytes)));
  } else if (item.kind === "arrays") {
    gaussians = split(item, bytes);
  } else {
    throw new DataError("This page is newer than its scripts: it carries Gaussians in a way that they do not know.");
  }
  check(gaussians);
  return gaussians;
}

/** Return the arrays that follow one another in bytes. */
function split(item, bytes) {
  const { count, channels, width, height, blend, alpha } = item;
  const sizes = { means: 2 * count, scales: 2 * count, rotations: count, colors: channels * count };
  const total = Object.values(sizes).reduce((sum, size) => sum + size, 0);
  if (bytes.length !== 4 * total) {
    throw new DataError("This page is damaged: its data has another length than it says.");
  }
  const numbers = new DataView(bytes.buffer);
  const gaussians = { width, height, blend, alpha, channels };
  let from = 0;
  for (const [name, size] of Object.entries(sizes)) {
    const begin = 4 * from;
    gaussians[name] = LITTLE_ENDIAN
      ? new Float32Array(bytes.buffer.slice(begin, begin + 4 * size))
      : Float32Array.from({ length: size }, (_, place) => numbers.getFloat32(begin + 4 * place, true));
    from += size;
  }
  return gaussians;
}

/** Refuse what cannot be drawn. */
function check({ means, scales, rotations, colors, width, height, channels }) {
  const count = rotations.length;
  const fits = means.length === 2 * count && scales.length === 2 * count && colors.length === channels * count;
  if (!fits || !(width >= 1) || !(height >= 1)) throw new DataError("The Gaussians of this picture are inconsistent.");
  for (const values of [means, scales, rotations, colors]) {
    if (!values.every(Number.isFinite)) throw new DataError("The Gaussians of this picture hold NaN or infinity.");
  }
  if (!scales.every((scale) => scale > 0)) throw new DataError("A Gaussian of this picture has no positive scale.");
}

/**
 * Return the photo to compare with.
 * @param {number} number Number of the picture in the page, from 0.
 * @returns {Promise<ImageBitmap>} Photo with colours as they are in the file, not multiplied by alpha.
 * @throws {DataError} It is damaged.
 */
export async function readOriginal(number) {
  const blob = new Blob([readBytes(`original-${number}`)], { type: "image/png" });
  try {
    return await createImageBitmap(blob, { premultiplyAlpha: "none", colorSpaceConversion: "none" });
  } catch {
    throw new DataError("The original of this picture is damaged, so there is nothing to compare with.");
  }
}
