import assert from "node:assert/strict";
import { test } from "node:test";

import { MAX_PIXELS, renderColors, renderPixels } from "../render-cpu.js";

/** Return Gaussians of all shapes, some of them off the canvas. */
function makeGaussians(channels, blend, alpha = false) {
  const count = 30;
  const wave = (index, factor) => 0.5 + 0.5 * Math.sin(factor * (index + 1));
  const make = (length, value) => Float32Array.from({ length }, (_, index) => value(index));
  return {
    means: make(2 * count, (index) => 50 * wave(index, 12.9898) - 5),
    scales: make(2 * count, (index) => 0.05 + 9 * wave(index, 4.1414) ** 4),
    rotations: make(count, (index) => 7 * wave(index, 1.7) - 3.5),
    colors: make(channels * count, (index) => 1.5 * wave(index, 3.3) - 0.2),
    width: 40,
    height: 30,
    channels,
    blend,
    alpha,
  };
}

/** Return the image by the equations, pixel after pixel. */
function renderPlainly(gaussians, width, height) {
  const { means, scales, rotations, colors, channels, blend } = gaussians;
  const image = [];
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const sums = new Array(channels + 1).fill(0);
      for (let index = 0; index < rotations.length; index++) {
        const dx = ((column + 0.5) * gaussians.width) / width - means[2 * index];
        const dy = ((row + 0.5) * gaussians.height) / height - means[2 * index + 1];
        const [cosine, sine] = [Math.cos(rotations[index]), Math.sin(rotations[index])];
        const u = (dx * cosine + dy * sine) / scales[2 * index];
        const v = (dy * cosine - dx * sine) / scales[2 * index + 1];
        const fade = Math.min(Math.max((12.25 - u * u - v * v) / 3.25, 0), 1);
        const weight = Math.exp(-0.5 * (u * u + v * v)) * fade;
        sums[channels] += weight;
        for (let channel = 0; channel < channels; channel++) {
          sums[channel] += weight * colors[channels * index + channel];
        }
      }
      const divisor = blend === "normalized" ? sums[channels] + 0.01 : 1;
      image.push(...sums.slice(0, channels).map((sum) => sum / divisor));
    }
  }
  return image;
}

function assertClose(values, expected, tolerance) {
  assert.equal(values.length, expected.length);
  expected.forEach((each, index) =>
    assert.ok(Math.abs(values[index] - each) <= tolerance, `${values[index]}, ${each}`),
  );
}

for (const blend of ["normalized", "sum"]) {
  for (const channels of [1, 2, 3, 4, 7]) {
    test(`images of ${channels} channels by the rule ${blend} are those of the equations`, () => {
      const gaussians = makeGaussians(channels, blend);
      for (const [width, height] of [
        [40, 30],
        [13, 50],
      ]) {
        assertClose(renderColors(gaussians, width, height), renderPlainly(gaussians, width, height), 2e-5);
      }
    });
  }
}

test("with antialias, each pixel is the mean over its area", () => {
  const gaussians = makeGaussians(3, "normalized");
  const fine = renderPlainly(gaussians, 40, 30);
  const expected = [];
  for (let place = 0; place < 20 * 10 * 3; place++) {
    const [channel, column, row] = [place % 3, Math.floor(place / 3) % 20, Math.floor(place / 60)];
    let sum = 0;
    for (let sample = 0; sample < 6; sample++) {
      sum += fine[3 * (40 * (3 * row + (sample % 3)) + 2 * column + (sample % 2)) + channel];
    }
    expected.push(sum / 6);
  }
  assertClose(renderColors(gaussians, 20, 10, { antialias: true }), expected, 2e-5);
});

test("an image that is rendered in several bands is the same", () => {
  const gaussians = makeGaussians(3, "normalized");
  const image = renderColors(gaussians, 4000, 50);
  const expected = renderPlainly(gaussians, 4000, 50);
  const largest = image.reduce((most, value, index) => Math.max(most, Math.abs(value - expected[index])), 0);
  assert.ok(largest < 2e-5);
});

test("pixels are RGBA, not multiplied by alpha", () => {
  const one = (color, alpha) => ({
    means: Float32Array.of(0.5, 0.5),
    scales: Float32Array.of(9, 9),
    rotations: Float32Array.of(0),
    colors: Float32Array.from(color),
    width: 1,
    height: 1,
    channels: color.length,
    blend: "sum",
    alpha,
  });
  const cases = [
    [[0.2], false, [51, 51, 51, 255]],
    [[0.2, 0.4], false, [51, 51, 51, 255]],
    [[0.2, 0.4], true, [128, 128, 128, 102]],
    [[0.2, 0.4, 1.7], false, [51, 102, 255, 255]],
    [[0.1, 0.2, 0.3, 0.5], true, [51, 102, 153, 128]],
    [[0.1, 0.2, 0.3, 0], true, [0, 0, 0, 0]],
    [[0.2, 0.4, -1, 0.6, 0.8], false, [51, 102, 0, 255]],
  ];
  for (const [color, alpha, expected] of cases) assert.deepEqual([...renderPixels(one(color, alpha))], expected);
});

test("no Gaussians give a black image", () => {
  const none = new Float32Array(0);
  const gaussians = { means: none, scales: none, rotations: none, colors: none, width: 3, height: 2, channels: 3 };
  assert.deepEqual([...renderPixels(gaussians, 2, 1)], [0, 0, 0, 255, 0, 0, 0, 255]);
});

test("sizes that cannot be, and too much work, are refused", () => {
  const gaussians = makeGaussians(3, "sum");
  for (const size of [0, -1, 1.5, NaN, Infinity, "3"]) {
    assert.throws(() => renderPixels(gaussians, size, 3), { name: "FgsError" });
    assert.throws(() => renderColors(gaussians, 3, size), { name: "FgsError" });
  }
  assert.throws(() => renderPixels(gaussians, MAX_PIXELS, 2), { name: "FgsError", message: /larger than/ });
  const count = 100_000;
  const large = {
    ...gaussians,
    means: new Float32Array(2 * count),
    scales: new Float32Array(2 * count).fill(1e6),
    rotations: new Float32Array(count),
    colors: new Float32Array(3 * count),
  };
  assert.throws(() => renderPixels(large, 2000, 2000), { name: "FgsError", message: /too many/ });
});
