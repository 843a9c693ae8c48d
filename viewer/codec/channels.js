// @ts-check
/** Channels of an image, and the columns of symbols that stand for their colours. */

/**
 * Channels of an image.
 *
 * @typedef {object} Channels
 * @property {number} count Number of channels C, alpha included, from 1 to 32.
 * @property {boolean} alpha True if the last channel is opacity and the others are multiplied by it; C is 2 or 4 then.
 */

/**
 * Return the attribute of each of the C columns of colours.
 *
 * @param {Channels} channels
 * @returns {("alpha" | "luma" | "chroma" | "channels")[]}
 */
export function listAttributes({ count, alpha }) {
  const opaque = count - (alpha ? 1 : 0);
  /** @type {("alpha" | "luma" | "chroma" | "channels")[]} */
  const attributes = alpha ? ["alpha"] : [];
  if (opaque === 1) attributes.push("luma");
  else if (opaque === 3) attributes.push("luma", "chroma", "chroma");
  else for (let channel = 0; channel < opaque; channel++) attributes.push("channels");
  return attributes;
}

/**
 * Tell whether channels have no known meaning, so that their columns may be mixtures that each file chooses.
 *
 * @param {Channels} channels
 * @returns {boolean}
 */
export function areMixed({ count, alpha }) {
  return !alpha && count !== 1 && count !== 3;
}

/**
 * Return the matrix of which a colour is the product with its columns.
 *
 * @param {Channels} channels
 * @returns {Float64Array} (C, C), row after row; orthonormal.
 */
export function makeBasis({ count, alpha }) {
  const basis = new Float64Array(count * count);
  const first = alpha ? 1 : 0;
  if (count - first === 3) {
    const rows = [
      [1, 1, 1, Math.sqrt(3)],
      [1, 0, -1, Math.sqrt(2)],
      [1, -2, 1, Math.sqrt(6)],
    ];
    rows.forEach(([red, green, blue, length], row) => {
      basis.set([red / length, green / length, blue / length], (first + row) * count);
    });
  } else {
    for (let row = first; row < count; row++) basis[row * count + row - first] = 1;
  }
  if (alpha) basis[count - 1] = 1;
  return basis;
}
