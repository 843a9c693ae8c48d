// @ts-check
/** Layers of a file that was cut: those that are whole, and as much of the next as its first bytes tell. */

import { readColumns, readModel } from "./columns.js";
import { plainLevels } from "./contexts.js";
import { areInRange, findProblem, mostGaussians, readHeader, readLayers, readPositions } from "./layer.js";
import { EndOfPrefixError, PrefixDecoder } from "./prefix.js";

const COLOR = 3; // first column of colours among those behind x and y

/**
 * Read the layers of a file that was cut, and the Gaussians of the next one that its first bytes tell.
 *
 * These have their places. Symbols of their shapes and colours that are not there are as predicted from neighbours.
 *
 * @param {import("./container.js").Frame} frame
 * @returns {{layers: import("./layer.js").Layer[], hasColor: Uint8Array}} The layers, and 1 for each Gaussian, in their
 *   order, whose colours were read, at least the first column; 0 for the others.
 * @throws {FgsError} No encoder writes such bytes.
 */
export function decodeCutLayers(frame) {
  const { layers, state } = readLayers(frame);
  const last = readPrefix(frame, layers, state);
  const before = layers.reduce((sum, layer) => sum + layer.count, 0);
  const hasColor = new Uint8Array(before + (last ? last.layer.count : 0)).fill(1, 0, before);
  if (!last) return { layers, hasColor };
  hasColor.set(last.hasColor, before);
  return { layers: [...layers, last.layer], hasColor };
}

/**
 * Read the Gaussians that the first bytes of a payload tell.
 *
 * Without their places, which come first, there are none: null.
 *
 * @param {import("./container.js").Frame} frame
 * @param {import("./layer.js").Layer[]} before Layers before it.
 * @param {import("./layer.js").State} state
 * @returns {{layer: import("./layer.js").Layer, hasColor: Uint8Array} | null} The Gaussians, and 1 for each whose colour
 *   was read.
 */
function readPrefix(frame, before, state) {
  const { channels, cut } = frame;
  const decoder = new PrefixDecoder(cut);
  try {
    const count = decoder.number();
    // Positions alone take more bytes. So few bytes cause little work here, too.
    if (count > mostGaussians(channels, cut.length)) return null;
    const { steps, mixing } = readHeader(decoder, channels, before);
    const model = readModel(decoder, state.gaps);
    state.attributes.readParameters(decoder);
    const gaps = readColumns(decoder, count, plainLevels(count), [model]);
    if (decoder.ended) return null;
    const [x, y] = readPositions(decoder, gaps.columns[0], frame, steps);
    const known = Array.from({ length: COLOR + channels.count }, () => new Uint8Array(count));
    const read = state.attributes.read(decoder, x, y, steps, known);
    if (!areInRange(read.columns)) return null;
    const columns = read.columns.map((values) => Int32Array.from(values));
    const layer = { count, columns: [x, y, ...columns], steps, mixing, bits: {} };
    // What is predicted can be out of range where what is read is at the limit.
    return findProblem(layer, channels) ? null : { layer, hasColor: known[COLOR] };
  } catch (error) {
    if (error instanceof EndOfPrefixError) return null;
    throw error;
  }
}
