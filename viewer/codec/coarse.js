// @ts-check
/** Coarse picture of a file that was cut: colours that were not read, and holes. */

import { forEachRow } from "../render-cpu.js";
import { FgsError } from "./error.js";
import { fillHoles, sizeCells } from "./holes.js";
import { makeArrays } from "./symbols.js";

// Cells for each Gaussian of the picture that missing colours are taken from: a canvas may be far larger than its file.
const DETAIL = 64;

/**
 * Return the Gaussians of a file that was cut together with what stands for the missing ones.
 *
 * A colour that was not read is the mean of two guesses: the one that came, from the neighbours in the same layer, and
 * the picture without such Gaussians.
 *
 * @param {import("./symbols.js").Arrays} gaussians K Gaussians of the blend rule "normalized"; colours that were not read
 *   are changed in place.
 * @param {Uint8Array} hasColor (K,) 1 for those whose colours were read, at least in part.
 * @param {number} width Width of the canvas in pixels.
 * @param {number} height Height of the canvas in pixels.
 * @returns {import("./symbols.js").Arrays} At least as many Gaussians; the first K are those that were given.
 * @throws {FgsError} There are no Gaussians.
 */
export function complete(gaussians, hasColor, width, height) {
  if (!hasColor.length) throw new FgsError("The file is cut before its first Gaussians.");
  if (hasColor.includes(1) && hasColor.includes(0)) guessColors(gaussians, hasColor, width, height);
  return fillHoles(gaussians, width, height);
}

/**
 * Change colours that were not read, in place, halfway to the picture of the Gaussians whose colours were.
 *
 * @param {import("./symbols.js").Arrays} gaussians K Gaussians.
 * @param {Uint8Array} hasColor (K,) 1 for those whose colours were read, at least one.
 * @param {number} width Width of the canvas in pixels.
 * @param {number} height Height of the canvas in pixels.
 */
function guessColors(gaussians, hasColor, width, height) {
  const { means, colors } = gaussians;
  const channels = colors.length / hasColor.length;
  const cells = sizeCells(hasColor.length, DETAIL, width, height);
  const rows = Math.min(cells.rows, height);
  const columns = Math.min(cells.columns, width);
  const picture = { ...fillHoles(select(gaussians, hasColor), width, height), width, height, channels };
  const rowOf = Int32Array.from(hasColor, (_, index) => findCell(means[2 * index + 1], rows, height));
  const missing = Uint32Array.from(hasColor.keys())
    .filter((index) => !hasColor[index])
    .sort((first, second) => rowOf[first] - rowOf[second]);
  let next = 0;
  forEachRow(picture, columns, rows, false, (row, around) => {
    for (; next < missing.length && rowOf[missing[next]] === row; next++) {
      const target = channels * missing[next];
      const source = channels * findCell(means[2 * missing[next]], columns, width);
      for (let channel = 0; channel < channels; channel++) {
        colors[target + channel] = (colors[target + channel] + around[source + channel]) / 2;
      }
    }
  });
}

/**
 * Return the cell that a coordinate is in.
 *
 * @param {number} coordinate From 0 to the size of the canvas.
 * @param {number} cells Number of cells.
 * @param {number} size Size of the canvas in pixels.
 * @returns {number}
 */
function findCell(coordinate, cells, size) {
  return Math.min(Math.floor(coordinate * (cells / size)), cells - 1);
}

/**
 * Return some of the Gaussians.
 *
 * @param {import("./symbols.js").Arrays} gaussians K Gaussians.
 * @param {Uint8Array} chosen (K,) 1 for those to return.
 * @returns {import("./symbols.js").Arrays}
 */
function select(gaussians, chosen) {
  const count = chosen.reduce((sum, each) => sum + each, 0);
  const selected = makeArrays(count, gaussians.colors.length / chosen.length);
  for (const name of /** @type {const} */ (["means", "scales", "rotations", "colors"])) {
    const stride = selected[name].length / count;
    let target = 0;
    for (let index = 0; index < chosen.length; index++) {
      if (!chosen[index]) continue;
      for (let each = 0; each < stride; each++) selected[name][target++] = gaussians[name][stride * index + each];
    }
  }
  return selected;
}
