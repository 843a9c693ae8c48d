import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { readFrame } from "../codec/container.js";
import { decodeCutLayers } from "../codec/cut-layer.js";
import { decodeLayers } from "../codec/layer.js";
import { FgsError, decode, inspect, loadModels } from "../fgs.js";

await loadModels();

const GOLDEN = new URL("../../tests/golden/", import.meta.url);
const read = (name) => new Uint8Array(readFileSync(new URL(`${name}.fgs`, GOLDEN)));
const SYMBOLS = ["vector", "learned", "gray", "gray-alpha", "rgba", "channels"];
const SCHEMES = [...SYMBOLS, "waves", "gaussianimage", "gaussianimage-plus"];

/** Return a function of random integers below a number, the same in every run (Numerical Recipes, an LCG). */
function makeRandom(seed) {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

for (const name of SYMBOLS) {
  test(`symbols of ${name} are those of the golden file`, () => {
    const expected = JSON.parse(readFileSync(new URL(`${name}.json`, GOLDEN), "utf8"));
    const layers = decodeLayers(readFrame(read(name), false));
    const rows = layers.map(({ count, columns }) =>
      Array.from({ length: count }, (_, row) => columns.map((values) => values[row])),
    );
    assert.deepEqual(
      rows,
      expected.layers.map((layer) => layer.symbols),
    );
    layers.forEach((layer, number) => assert.deepEqual(layer.steps, expected.layers[number].steps));
  });
}

test("attributes of the other schemes are those of the golden file", () => {
  const expected = JSON.parse(readFileSync(new URL("peers.json", GOLDEN), "utf8"));
  for (const name of ["gaussianimage", "gaussianimage-plus"]) {
    const gaussians = decode(read(name));
    assert.equal(gaussians.blend, "sum");
    for (const field of ["means", "scales", "rotations", "colors"]) {
      const values = expected[name][field].flat();
      assert.equal(gaussians[field].length, values.length);
      values.forEach((value, index) => assert.ok(Math.abs(gaussians[field][index] - value) < 2e-5, `${name} ${field}`));
    }
  }
});

test("arrays have the shapes that the declarations tell, for every kind of bytes", () => {
  for (const name of SCHEMES) {
    const bytes = read(name);
    const gaussians = decode(bytes);
    const { numGaussians: count, channels } = gaussians;
    const lengths = ["means", "scales", "rotations", "colors"].map((field) => gaussians[field].length);
    assert.deepEqual(lengths, [2 * count, 2 * count, count, channels * count]);
    assert.ok(gaussians.scales.every((scale) => scale > 0));
    assert.deepEqual(decode(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)), gaussians);
    assert.deepEqual(decode(Buffer.from(bytes)), gaussians);
  }
});

test("bits of the attributes add up to the size of the file", () => {
  for (const name of SCHEMES) {
    const bytes = read(name);
    const facts = inspect(bytes);
    const total = Object.values(facts.bits).reduce((sum, each) => sum + each, 0);
    assert.equal(total, 8 * bytes.length);
    assert.equal(facts.numGaussians, decode(bytes).numGaussians);
    assert.ok(Object.values(facts.bits).every((each) => each >= 0 && Number.isInteger(each)));
  }
});

test("beginnings of a file give coarse images, of all that has arrived", () => {
  const bytes = read("vector");
  const whole = decode(bytes);
  const found = new Set();
  let begun = 0;
  for (let length = 0; length < bytes.length; length++) {
    const part = bytes.subarray(0, length);
    assert.throws(() => decode(part), FgsError);
    try {
      const coarse = decode(part, { partial: true });
      assert.ok(!coarse.whole && coarse.numLayers < whole.totalLayers);
      assert.deepEqual(coarse.means.slice(0, 40), whole.means.slice(0, 40));
      found.add(coarse.numLayers);
      if (coarse.numLayers) {
        const layers = decode(bytes, { layers: coarse.numLayers });
        assert.deepEqual(decode(part, { partial: true, layers: coarse.numLayers }), layers);
        if (coarse.numGaussians === layers.numGaussians) assert.deepEqual(coarse, layers);
        else begun++;
      }
    } catch (error) {
      assert.ok(error instanceof FgsError);
    }
  }
  assert.deepEqual([...found], [0, 1, 2]);
  assert.ok(begun > 100);
  assert.deepEqual(decode(bytes, { layers: 9, partial: true }), whole);
});

test("a file without its last checksum is whole but for it", () => {
  const bytes = read("rgba");
  const frame = readFrame(bytes, false);
  const whole = decodeLayers(frame);
  for (const missing of [1, 2]) {
    const cut = readFrame(bytes.subarray(0, bytes.length - missing), true);
    const { layers, hasColor } = decodeCutLayers(cut);
    assert.ok(!cut.whole && cut.layers.length === whole.length - 1 && hasColor.every((each) => each === 1));
    assert.deepEqual(
      layers.map(({ columns }) => columns),
      whole.map(({ columns }) => columns),
    );
  }
});

test("few bytes that claim many Gaussians give none", () => {
  // 2^22 Gaussians: a length of 23 bits, and zeros.
  const layer = Uint8Array.of(0b01011100, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
  const frame = { ...readFrame(read("vector"), false), layers: [], cut: layer, whole: false };
  assert.deepEqual(decodeCutLayers(frame), { layers: [], hasColor: new Uint8Array() });
});

test("damaged files and random bytes are refused or read, and nothing else is thrown", () => {
  const random = makeRandom(1);
  const files = SCHEMES.map(read);
  let refused = 0;
  for (let number = 0; number < 2000; number++) {
    let bytes = files[number % files.length].slice();
    const kind = number % 4;
    if (kind === 0) bytes = bytes.subarray(0, random(bytes.length));
    else if (kind === 1) bytes[random(bytes.length)] ^= 1 << random(8);
    else if (kind === 2) bytes = Uint8Array.from({ length: random(300) }, () => random(256));
    else for (let place = 5 + random(9); place < bytes.length; place += 1 + random(9)) bytes[place] = random(256);
    try {
      decode(bytes, { partial: number % 8 > 3 });
    } catch (error) {
      assert.ok(error instanceof FgsError, String(error));
      assert.match(error.message, /^The file [^\n]*\.$/);
      refused++;
    }
  }
  assert.ok(refused > 1500);
});

test("wrong arguments are refused in a sentence", () => {
  const bytes = read("vector");
  for (const wrong of [undefined, null, "FGS", [70, 71, 83], 3]) {
    assert.throws(() => decode(wrong), { name: "FgsError", message: /must be a Uint8Array or an ArrayBuffer/ });
    assert.throws(() => inspect(wrong), FgsError);
  }
  for (const layers of [0, -1, 1.5, NaN, "1", null]) {
    assert.throws(() => decode(bytes, { layers }), { name: "FgsError", message: /"layers" must be an integer/ });
  }
});
