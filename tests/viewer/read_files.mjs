// Reads .fgs files for the tests in Python: one job per line of standard input, one result per line of standard output.
import { createInterface } from "node:readline";

import { readBaseline } from "../../viewer/codec/baselines.js";
import { readFrame } from "../../viewer/codec/container.js";
import { decodeCutLayers } from "../../viewer/codec/cut-layer.js";
import { decodeLayers } from "../../viewer/codec/layer.js";
import { FgsError, decode, inspect, loadModels } from "../../viewer/fgs.js";
import { renderColors, renderPixels } from "../../viewer/render-cpu.js";

function encode(array) {
  return Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString("base64");
}

function toRows(columns) {
  const count = columns[0].length;
  const rows = new Int32Array(columns.length * count);
  columns.forEach((values, column) => values.forEach((value, row) => (rows[columns.length * row + column] = value)));
  return encode(rows);
}

function read({ bytes, partial = false, layers, facts = false, symbols = false, sizes = [] }) {
  const data = new Uint8Array(Buffer.from(bytes, "base64"));
  const gaussians = decode(data, { partial, layers });
  const result = { ...gaussians };
  for (const name of ["means", "scales", "rotations", "colors"]) result[name] = encode(gaussians[name]);
  if (facts) result.facts = inspect(data);
  if (symbols) {
    const frame = readFrame(data, partial);
    if (frame.scheme === "fastgs") {
      const read = frame.whole ? { layers: decodeLayers(frame) } : decodeCutLayers(frame);
      if (read.hasColor) result.hasColor = encode(read.hasColor);
      result.layers = read.layers.map(({ columns, steps, mixing }) => {
        return { symbols: toRows(columns), steps, mixing: mixing && Array.from(mixing) };
      });
    } else {
      result.layers = [{ symbols: toRows(readBaseline(frame).columns) }];
    }
  }
  result.images = sizes.map(([width, height, antialias]) => ({
    colors: encode(renderColors(gaussians, width, height, { antialias })),
    pixels: encode(renderPixels(gaussians, width, height, { antialias })),
  }));
  return result;
}

await loadModels();
for await (const line of createInterface({ input: process.stdin })) {
  let result;
  try {
    result = read(JSON.parse(line));
  } catch (error) {
    // Anything else ends the process, which fails the test.
    if (!(error instanceof FgsError)) throw error;
    result = { error: error.message };
  }
  console.log(JSON.stringify(result));
}
