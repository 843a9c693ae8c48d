// @ts-check
/** Blurry Gaussians that fill the holes that a cut file leaves. */

import { accumulate } from "../render-cpu.js";
import { makeArrays } from "./symbols.js";

const FILLERS = 4; // cells that are looked at for each Gaussian that is there
const THIN = 0.1; // sum of the weights below which a cell is a hole
const EPSILON = 1e-2;

/**
 * Add blurry Gaussians, of the colours around, where the first layers of a file leave the canvas black.
 *
 * @param {import("./symbols.js").Arrays} gaussians K Gaussians of the blend rule "normalized", at least one.
 * @param {number} width Width of the canvas in pixels.
 * @param {number} height Height of the canvas in pixels.
 * @returns {import("./symbols.js").Arrays} At least as many Gaussians; the first K are those that were given.
 */
export function fillHoles(gaussians, width, height) {
  const count = gaussians.rotations.length;
  const channels = gaussians.colors.length / count;
  const { rows, columns, cell } = sizeCells(count, FILLERS, width, height);
  const planes = accumulate({ ...gaussians, width, height, channels }, columns, rows);
  const stride = channels + 1;
  const holes = [];
  const isHole = new Uint8Array(rows * columns);
  for (let place = 0; place < isHole.length; place++) {
    if (planes[stride * place] < THIN) {
      isHole[place] = 1;
      holes.push(place);
    }
  }
  if (!holes.length || holes.length === isHole.length) return gaussians;
  const nearest = findNearest(isHole, columns, rows);
  const filled = makeArrays(count + holes.length, channels);
  for (const name of /** @type {const} */ (["means", "scales", "rotations", "colors"])) {
    filled[name].set(gaussians[name]);
  }
  holes.forEach((place, hole) => {
    const index = count + hole;
    const column = place % columns;
    const row = (place - column) / columns;
    filled.means[2 * index] = ((column + 0.5) * width) / columns;
    filled.means[2 * index + 1] = ((row + 0.5) * height) / rows;
    filled.scales.fill(0.7 * cell, 2 * index, 2 * index + 2);
    const source = stride * nearest[place];
    for (let channel = 0; channel < channels; channel++) {
      filled.colors[channels * index + channel] = planes[source + 1 + channel] / (planes[source] + EPSILON);
    }
  });
  return filled;
}

/**
 * Return the numbers of rows and columns of cells, so many for each Gaussian, and the side of one in pixels.
 *
 * @param {number} count Number of Gaussians.
 * @param {number} perGaussian
 * @param {number} width Width of the canvas in pixels.
 * @param {number} height Height of the canvas in pixels.
 * @returns {{rows: number, columns: number, cell: number}}
 */
export function sizeCells(count, perGaussian, width, height) {
  const cell = Math.sqrt((height * width) / (perGaussian * count));
  const rows = Math.max(1, roundHalfToEven(height / cell));
  const columns = Math.max(1, roundHalfToEven(width / cell));
  return { rows, columns, cell };
}

/**
 * Return the nearest cell that is no hole for every cell.
 *
 * First the nearest cell in each column is found, then the nearest of these along each row: the parabolas of squared
 * distances have a lower envelope, which is found in one pass (Felzenszwalb and Huttenlocher, 2012).
 *
 * @param {Uint8Array} isHole (rows, columns) 1 for a hole; at least one cell is none.
 * @param {number} columns
 * @param {number} rows
 * @returns {Int32Array} (rows, columns) indices of cells.
 */
function findNearest(isHole, columns, rows) {
  const above = findNearestInColumns(isHole, columns, rows);
  const nearest = new Int32Array(isHole.length);
  const sites = new Int32Array(columns);
  const starts = new Float64Array(columns);
  for (let row = 0; row < rows; row++) {
    let last = -1;
    for (let column = 0; column < columns; column++) {
      const found = above[row * columns + column];
      if (found < 0) continue;
      const height = column * column + (found - row) ** 2;
      let start = -Infinity;
      while (last >= 0) {
        const site = sites[last];
        const other = site * site + (above[row * columns + site] - row) ** 2;
        start = (height - other) / (2 * (column - site));
        if (start > starts[last]) break;
        last--;
        start = -Infinity;
      }
      last++;
      sites[last] = column;
      starts[last] = start;
    }
    for (let column = 0, site = 0; column < columns; column++) {
      while (site < last && starts[site + 1] < column) site++;
      nearest[row * columns + column] = above[row * columns + sites[site]] * columns + sites[site];
    }
  }
  return nearest;
}

/**
 * Return the row of the nearest cell in the same column that is no hole, the upper one of two; -1 if there is none.
 *
 * @param {Uint8Array} isHole (rows, columns)
 * @param {number} columns
 * @param {number} rows
 * @returns {Int32Array} (rows, columns)
 */
function findNearestInColumns(isHole, columns, rows) {
  const found = new Int32Array(isHole.length);
  for (let column = 0; column < columns; column++) {
    let last = -1;
    for (let row = 0; row < rows; row++) {
      if (!isHole[row * columns + column]) last = row;
      found[row * columns + column] = last;
    }
    last = -1;
    for (let row = rows - 1; row >= 0; row--) {
      const place = row * columns + column;
      if (!isHole[place]) last = row;
      if (last >= 0 && (found[place] < 0 || last - row < row - found[place])) found[place] = last;
    }
  }
  return found;
}

/**
 * Return the nearest integer, the even one of two.
 *
 * @param {number} value From 0 up.
 * @returns {number}
 */
function roundHalfToEven(value) {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest === 0.5) return floor + (floor % 2);
  return rest > 0.5 ? floor + 1 : floor;
}
