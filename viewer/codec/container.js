// @ts-check
/** Container of every scheme: the kind of file, its canvas, and layers with checksums (FORMAT.md of fastgs.codec). */

import { FgsError, damaged } from "./error.js";
import { MODELS } from "./models.js";

export const VERSION = 3; // of RGB with restoration or learned probabilities; other RGB is of version 1, the rest of 2
const RESTORED = 2; // flag of version 3: an entry of restoration follows
const LEARNED = 4; // flag of version 3: the number of a model of symbols follows
const RESTORATION_BYTES = 4; // the number of the network, and three gains
export const MAX_SIDE = 65535;
export const MAX_LAYERS = 32;
export const MAX_CHANNELS = 32;

const MAGIC = [0x46, 0x47, 0x53]; // "FGS"
const ALPHA = 128; // added to the number of channels if the last one is alpha
const FIRST_PRIVATE_CODE = 128;
const CHECKSUM = 2; // bytes
const ZEROS = 16; // bytes of zeros that settle all that the end of a stream says

/** Names of the schemes by their codes. */
const SCHEMES = ["fastgs", "gaussianimage", "gaussianimage-plus"];

/**
 * Parts of a file.
 *
 * @typedef {object} Frame
 * @property {number} version Version of the file, 1 to 3.
 * @property {string} scheme "fastgs", "gaussianimage" or "gaussianimage-plus".
 * @property {number} width Width of the canvas in pixels.
 * @property {number} height Height of the canvas in pixels.
 * @property {import("./channels.js").Channels} channels Channels of the image.
 * @property {number} symbols Number of the learned model of symbols; 0 without one.
 * @property {Uint8Array[]} layers Payloads, the most important first.
 * @property {number} count Number of layers that the header tells.
 * @property {boolean} whole False if layers are missing.
 * @property {Uint8Array} cut First bytes of the payload of the layer that was cut, if there is one.
 */

/** Error for a file that ends too early. */
class CutError extends FgsError {}

/** Reader of bytes, one after the other; every method throws FgsError if there are not as many. */
export class Reader {
  /**
   * @param {Uint8Array} data All bytes.
   * @param {number} place Index of the next byte.
   */
  constructor(data, place) {
    this.data = data;
    this.place = place;
  }

  /**
   * Return the next few bytes, without a copy.
   *
   * @param {number} count
   * @returns {Uint8Array}
   */
  take(count) {
    if (count > this.data.length - this.place) {
      throw new CutError(`The file is cut short (after ${this.data.length} bytes).`);
    }
    this.place += count;
    return this.data.subarray(this.place - count, this.place);
  }

  /**
   * Return a number in groups of seven bits, the lowest first; it takes at most 5 bytes.
   *
   * @returns {number}
   */
  varint() {
    let value = 0;
    for (let group = 0, unit = 1; group < 5; group++, unit *= 128) {
      const byte = this.take(1)[0];
      value += (byte & 127) * unit; // up to 35 bits, more than the operators on bits take
      if (group && !byte) throw damaged("a number has needless zeros");
      if (byte < 128) return value;
    }
    throw damaged("a number has no end");
  }
}

/**
 * Tell whether a file needs the weights of a learned model; of bytes that are no file, anything.
 *
 * @param {Uint8Array} data Whole file, or its beginning.
 * @returns {boolean}
 */
export function isLearned(data) {
  return data[MAGIC.length] === VERSION && (data[MAGIC.length + 2] & LEARNED) !== 0;
}

/**
 * Read the parts of a file.
 *
 * @param {Uint8Array} data Whole file.
 * @param {boolean} partial True to take a file that is cut anywhere behind its header.
 * @returns {Frame}
 * @throws {FgsError} The bytes are no such file, are damaged or cut, or of a version or scheme that is not known.
 */
export function readFrame(data, partial) {
  if (MAGIC.some((byte, place) => data[place] !== byte)) throw new FgsError("The file is not a .fgs file.");
  const file = new Reader(data, MAGIC.length);
  const version = file.take(1)[0];
  if (version > VERSION) {
    throw new FgsError(
      `The file is of version ${version}, and this reader knows versions up to ${VERSION}; update fastgs-viewer.`,
    );
  }
  const code = file.take(1)[0];
  const kind = version === 2 ? file.take(1)[0] : 3;
  const flags = version === 3 ? file.take(1)[0] : 0;
  // What a network adds to the image is left out here: images are those of the Gaussians.
  const network = flags & RESTORED ? file.take(RESTORATION_BYTES)[0] : 1;
  const symbols = flags & LEARNED ? file.take(1)[0] : 0;
  const width = file.varint();
  const height = file.varint();
  const count = file.varint();
  if (!endsWithChecksum(file, data.subarray(0, file.place))) throw damaged("the checksum of its header differs");
  if (code >= FIRST_PRIVATE_CODE) {
    throw new FgsError(`The file is of a scheme of another package (code ${code}), which this reader does not know.`);
  }
  const isCanvas = Math.min(width, height) >= 1 && Math.max(width, height) <= MAX_SIDE;
  if (version < 1 || code >= SCHEMES.length || !isCanvas) throw damaged("its header makes no sense");
  const channels = readChannels(kind, version);
  const areFlags = flags > 0 && flags <= RESTORED + LEARNED && !(flags & 1);
  if ((version === 3) !== areFlags || !network) throw damaged("its header makes no sense");
  if (flags & LEARNED && (!symbols || code !== SCHEMES.indexOf("fastgs"))) throw damaged("its header makes no sense");
  if (symbols && !MODELS.has(symbols)) {
    const known = [...MODELS.keys()].join(", ");
    throw new FgsError(
      `The file is coded by model ${symbols} of symbols, and this reader knows ${known}; update fastgs-viewer.`,
    );
  }
  if (count > MAX_LAYERS) throw damaged(`${count} layers`);
  const layers = [];
  /** @type {Uint8Array} */
  let cut = new Uint8Array();
  try {
    for (let number = 1; number <= count; number++) {
      const size = file.varint();
      cut = data.subarray(file.place, file.place + size);
      const layer = file.take(size);
      // Where only the checksum is missing, the zeros follow that a reader sees behind the end.
      if (file.place + CHECKSUM > data.length) cut = addZeros(layer);
      if (!endsWithChecksum(file, layer)) throw damaged(`the checksum of layer ${number} of ${count} differs`);
      layers.push(layer);
      cut = new Uint8Array();
    }
  } catch (error) {
    if (!(partial && error instanceof CutError)) throw error;
  }
  const whole = layers.length === count;
  if (whole && file.place < data.length) throw damaged(`${data.length - file.place} bytes follow its end`);
  return { version, scheme: SCHEMES[code], width, height, channels, symbols, layers, count, whole, cut };
}

/**
 * Return the channels of a file of a version that its header tells in a byte.
 *
 * @param {number} kind
 * @param {number} version
 * @returns {import("./channels.js").Channels}
 */
function readChannels(kind, version) {
  const count = kind % ALPHA;
  const alpha = kind >= ALPHA;
  if (count < 1 || count > MAX_CHANNELS) throw damaged(`${count} channels`);
  if (alpha && count !== 2 && count !== 4) throw damaged(`alpha as the last of ${count} channels`);
  if ((count === 3 && !alpha) !== (version !== 2)) throw damaged("a file of RGB is of version 1");
  return { count, alpha };
}

/**
 * Return bytes with zeros behind them.
 *
 * @param {Uint8Array} bytes
 * @returns {Uint8Array}
 */
function addZeros(bytes) {
  const longer = new Uint8Array(bytes.length + ZEROS);
  longer.set(bytes);
  return longer;
}

/**
 * Read a checksum and tell whether it is that of some bytes: the low 16 bits of their CRC-32.
 *
 * @param {Reader} file
 * @param {Uint8Array} bytes
 * @returns {boolean}
 */
function endsWithChecksum(file, bytes) {
  const [low, high] = file.take(CHECKSUM);
  return (crc32(bytes) & 0xffff) === low + 256 * high;
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

/**
 * Return the CRC-32 of zlib.
 *
 * @param {Uint8Array} bytes
 * @returns {number}
 */
function crc32(bytes) {
  let value = 0xffffffff;
  for (let place = 0; place < bytes.length; place++) {
    value = CRC_TABLE[(value ^ bytes[place]) & 255] ^ (value >>> 8);
  }
  return (value ^ 0xffffffff) >>> 0;
}
