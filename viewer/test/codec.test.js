import assert from "node:assert/strict";
import { test } from "node:test";

import * as hilbert from "../codec/hilbert.js";
import { fromHalf, leastOf, powerOfTwo } from "../codec/numbers.js";
import { EndOfPrefixError, PrefixDecoder } from "../codec/prefix.js";
import { RangeDecoder } from "../codec/range-decoder.js";
import { TOTAL, Table, bell, makeHistogram } from "../codec/tables.js";

/** Range decoder as FORMAT.md has it, in big integers. */
class PlainDecoder {
  constructor(data) {
    this.data = data;
    this.place = 0;
    this.range = 2n ** 64n - 1n;
    this.point = (this.word() << 32n) | this.word();
  }

  word() {
    let word = 0n;
    for (let byte = 0; byte < 4; byte++) word = (word << 8n) | BigInt(this.data[this.place++] ?? 0);
    return word;
  }

  symbol({ starts, low }) {
    const scale = this.range / BigInt(TOTAL);
    const quantile = this.point / scale;
    if (quantile >= BigInt(TOTAL)) throw new Error("damaged");
    let symbol = 0;
    while (BigInt(starts[symbol + 1]) <= quantile) symbol++;
    this.point -= scale * BigInt(starts[symbol]);
    this.range = scale * BigInt(starts[symbol + 1] - starts[symbol]);
    if (this.range < 2n ** 32n) {
      this.range <<= 32n;
      this.point = (this.point << 32n) | this.word();
    }
    return low + symbol;
  }
}

function uniform(bits) {
  return Table.of(new Float64Array(1 << bits).fill(1));
}

test("symbols are those of the coder in big integers", () => {
  const tables = [bell(0.25, 0, 3), bell(5, 1, 40), bell(300, 3, 4096), Table.of(Float64Array.of(1, 2 ** 25))];
  let state = 7;
  const random = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0);
  for (let stream = 0; stream < 40; stream++) {
    const data = Uint8Array.from({ length: stream * 3 }, () =>
      stream % 4 ? random() >>> 24 : 255 * (random() >>> 31),
    );
    const decoder = new RangeDecoder(data);
    const plain = new PlainDecoder(data);
    for (let count = 0; count < 300; count++) {
      const choice = random() >>> 29;
      let expected;
      try {
        expected = plain.symbol(choice < 4 ? tables[choice] : uniform(choice));
      } catch {
        assert.throws(() => (choice < 4 ? decoder.symbol(tables[choice]) : decoder.rawPiece(choice)));
        break;
      }
      assert.equal(choice < 4 ? decoder.symbol(tables[choice]) : decoder.rawPiece(choice), expected);
    }
  }
});

test("a point beyond all parts of the range is refused", () => {
  assert.throws(() => new RangeDecoder(new Uint8Array(8).fill(255)).rawPiece(8), { name: "FgsError" });
});

test("a prefix settles the symbols of the whole stream and nearly all of its bits", () => {
  const data = Uint8Array.from({ length: 60 }, (_, place) => (place * 73 + 11) % 251);
  const tables = [bell(1, 1, 60), bell(9, 1, 60), bell(0.3, 2, 60)];
  for (let length = 0; length < data.length; length++) {
    const decoder = new PrefixDecoder(data.subarray(0, length));
    const whole = new RangeDecoder(data, true);
    for (let number = 0; ; number++) {
      const table = tables[number % tables.length];
      const symbol = decoder.available(table);
      if (symbol === null) {
        whole.symbol(table);
        break;
      }
      assert.equal(symbol, whole.symbol(table));
      assert.ok(whole.bits <= 8 * length + 1);
    }
    assert.ok(8 * length - 16 < whole.bits);
    assert.equal(decoder.available(tables[0]), null);
    for (const read of [() => decoder.symbol(tables[0]), () => decoder.rawPiece(1), () => decoder.number()]) {
      assert.throws(read, EndOfPrefixError);
    }
  }
});

test("frequencies are positive and add up", () => {
  for (const table of [bell(10, 0, 65536), bell(0.25, 3, 32768), makeHistogram(Int32Array.of(0, 0)), uniform(16)]) {
    assert.equal(table.starts.at(-1), TOTAL);
    for (let symbol = 0; symbol < table.size; symbol++) assert.ok(table.starts[symbol + 1] > table.starts[symbol]);
  }
});

test("the curve visits every cell once, from neighbour to neighbour", () => {
  for (let order = 0; order < 6; order++) {
    const [x, y] = hilbert.position(
      Float64Array.from({ length: 4 ** order }, (_, place) => place),
      order,
    );
    assert.equal(new Set(x.map((each, place) => each * 64 + y[place])).size, 4 ** order);
    for (let place = 1; place < x.length; place++) {
      assert.equal(Math.abs(x[place] - x[place - 1]) + Math.abs(y[place] - y[place - 1]), 1);
    }
  }
  const [x, y] = hilbert.position(Float64Array.of(4 ** 22 - 1), 22);
  assert.deepEqual([x[0], y[0]], [2 ** 22 - 1, 0]);
  assert.deepEqual(
    [0, 1, 2, 3, 2 ** 22, 2 ** 22 + 1].map((size) => hilbert.orderFor(size, 1)),
    [0, 0, 1, 2, 22, 23],
  );
});

test("numbers of the format", () => {
  assert.deepEqual([0, 1, 2, 3, 4, 5, 6, 7, 89].map(leastOf), [0, 1, 2, 3, 4, 6, 8, 12, 3 * 2 ** 43]);
  assert.deepEqual([-24, 0, 5, 44].map(powerOfTwo), [2 ** -24, 1, 32, 2 ** 44]);
  const halves = [0x0000, 0x3c00, 0xc000, 0x0001, 0x7bff, 0x7c00, 0x3555].map(fromHalf);
  assert.deepEqual(halves, [0, 1, -2, 2 ** -24, 65504, Infinity, 0.333251953125]);
  assert.ok(Number.isNaN(fromHalf(0x7e00)));
});
