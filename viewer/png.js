/** Writes PNG files of any size, row by row, so that no picture is ever whole in memory. */

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

/** Return the CRC-32 of parts of bytes, one after the other. */
function crc32(...parts) {
  let value = 0xffffffff;
  for (const part of parts) {
    for (const byte of part) value = CRC_TABLE[(value ^ byte) & 255] ^ (value >>> 8);
  }
  return (value ^ 0xffffffff) >>> 0;
}

/** Return a chunk of a PNG file. */
function chunk(name, data) {
  const kind = Uint8Array.from(name, (letter) => letter.charCodeAt(0));
  const result = new Uint8Array(12 + data.length);
  const numbers = new DataView(result.buffer);
  numbers.setUint32(0, data.length);
  result.set(kind, 4);
  result.set(data, 8);
  numbers.setUint32(8 + data.length, crc32(kind, data));
  return result;
}

/**
 * Return a PNG file of 8 bits per channel, tagged as sRGB.
 * @param {number} width Width in pixels.
 * @param {number} height Height in pixels.
 * @param {boolean} alpha True to keep the fourth channel.
 * @param {number} rows Number of rows in a band.
 * @param {(top: number, count: number) => Promise<Uint8Array>} band Callable that gives R, G, B, A of some rows.
 * @returns {Promise<Blob>} The file.
 */
export async function encodePng(width, height, alpha, rows, band) {
  const channels = alpha ? 4 : 3;
  const header = new Uint8Array(13);
  new DataView(header.buffer).setUint32(0, width);
  new DataView(header.buffer).setUint32(4, height);
  header.set([8, alpha ? 6 : 2, 0, 0, 0], 8);
  const stream = new CompressionStream("deflate");
  const packed = new Response(stream.readable).arrayBuffer();
  const writer = stream.writable.getWriter();
  for (let top = 0; top < height; top += rows) {
    const count = Math.min(rows, height - top);
    const pixels = await band(top, count);
    const lines = new Uint8Array(count * (1 + channels * width));
    let to = 0;
    for (let row = 0; row < count; row++) {
      lines[to++] = 1; // each byte is the difference to the pixel on its left
      const from = 4 * width * row;
      for (let column = 0; column < width; column++) {
        for (let channel = 0; channel < channels; channel++) {
          const at = from + 4 * column + channel;
          lines[to++] = pixels[at] - (column ? pixels[at - 4] : 0);
        }
      }
    }
    await writer.write(lines);
  }
  await writer.close();
  const data = new Uint8Array(await packed);
  const parts = [Uint8Array.from(SIGNATURE), chunk("IHDR", header), chunk("sRGB", Uint8Array.of(0))];
  return new Blob([...parts, chunk("IDAT", data), chunk("IEND", new Uint8Array())], { type: "image/png" });
}
