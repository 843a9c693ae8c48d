import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { Dense } from "../codec/dense.js";
import * as hilbert from "../codec/hilbert.js";
import { Mixture } from "../codec/symbol-model.js";
import { TOTAL } from "../codec/tables.js";
import { FgsError, decode, inspect, loadModels } from "../fgs.js";

// A file without layers on a canvas of 5 x 7 pixels, coded by model 1 of symbols.
const EMPTY = Uint8Array.of(0x46, 0x47, 0x53, 3, 0, 4, 1, 5, 7, 0, 0x6e, 0x0a);
const WEIGHTS = readFileSync(new URL("../../checkpoints/symbols.safetensors", import.meta.url));

/** Return random integers of a magnitude below a bound, the same in every run. */
function makeIntegers(count, bound, seed) {
  let state = seed;
  return Float64Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.round((state / 2 ** 31 - 1) * bound);
  });
}

test("files of version 3 are refused before weights are loaded, and wrong weights always", async () => {
  assert.throws(() => decode(EMPTY), /^FgsError: The file needs the weights symbols\.safetensors.*loadModels/);
  const shorter = WEIGHTS.subarray(0, WEIGHTS.length - 1);
  const renamed = Buffer.from(WEIGHTS.toString("latin1").replace('"exponential"', '"exponentiaI"'), "latin1");
  for (const wrong of [new Uint8Array(), new Uint8Array(64).fill(255), EMPTY, shorter, renamed]) {
    await assert.rejects(loadModels(wrong), FgsError);
  }
  assert.throws(() => decode(EMPTY), FgsError);
  await loadModels();
  await loadModels(WEIGHTS);
  assert.deepEqual([decode(EMPTY).numGaussians, decode(EMPTY).width, inspect(EMPTY).symbols], [0, 5, 1]);
});

test("layers of a network are exact, whether outputs share numbers or not", () => {
  for (const [outputs, inputs, bound, isPacked] of [
    [9, 60, 200, true],
    [1, 3, 200, true],
    [5, 700, 32767, false],
    [48, 95, 32767, false],
  ]) {
    const weights = makeIntegers(outputs * inputs, bound, 1);
    const bias = makeIntegers(outputs, 2 ** 20, 2);
    const x = makeIntegers(4 * inputs, 4095, 3);
    const layer = new Dense(weights, bias, new Array(inputs).fill(4095), false);
    assert.equal(layer.isPacked, isPacked);
    const out = new Float64Array(4 * outputs);
    layer.multiply(x, 0, inputs, layer.bias, out, 0, outputs);
    for (let row = 0; row < 4; row++) {
      for (let output = 0; output < outputs; output++) {
        let sum = BigInt(bias[output]);
        for (let input = 0; input < inputs; input++) {
          sum += BigInt(weights[output * inputs + input]) * BigInt(x[row * inputs + input]);
        }
        assert.equal(BigInt(out[row * outputs + output]), sum);
      }
    }
  }
});

test("frequencies of mixtures are positive, add up, and are found", () => {
  const logistic = Float64Array.from({ length: 2049 }, (_, place) =>
    Math.round(2 ** 20 / (1 + Math.exp((1024 - place) / 64))),
  );
  for (const bound of [1, 7, 32, 256]) {
    for (const inverse of [1e-6, 0.3, 5, 1e6]) {
      const mixture = new Mixture(logistic, bound);
      mixture.places.set([64 * 10 + 20, 64 * 300, -64 * 5 - 1]);
      mixture.inverses.set([inverse, 1, inverse]);
      mixture.shares.set([200, 0, 56]);
      assert.deepEqual([mixture.nearest, mixture.low, mixture.size], [10, -bound, 2 * bound + 1]);
      let end = 0;
      for (let index = 0; index < mixture.size; index++) {
        assert.equal(mixture.locate(end), index);
        assert.ok(mixture.begin === end && mixture.end > end);
        end = mixture.end;
        assert.equal(mixture.locate(end - 1), index);
      }
      assert.equal(end, TOTAL);
    }
  }
});

test("distances along the curve are those whose positions are their cells", () => {
  for (const order of [0, 1, 2, 5, 18]) {
    const last = 4 ** order - 1;
    const distances = Float64Array.from({ length: 50 }, (_, place) => Math.floor((last * place) / 49));
    const [x, y] = hilbert.position(distances, order);
    distances.forEach((distance, place) => assert.equal(hilbert.index(x[place], y[place], order), distance));
  }
});
