// @ts-check
/** Numbers of the format: powers of two, half octaves and 16-bit floating point. */

/**
 * Return 2 to an integer power, exactly; `**` need not be exact in every engine.
 *
 * @param {number} exponent From -1000 to 1000.
 * @returns {number}
 */
export function powerOfTwo(exponent) {
  let power = 1;
  for (let step = 0; step < Math.abs(exponent); step++) power *= 2;
  return exponent < 0 ? 1 / power : power;
}

/**
 * Return the number of raw bits behind a half octave.
 *
 * @param {number} magnitude Half octave, an integer from 0 up.
 * @returns {number}
 */
export function restLength(magnitude) {
  return Math.max((magnitude >> 1) - 1, 0);
}

/**
 * Return the least value of a half octave.
 *
 * @param {number} magnitude Half octave, an integer from 0 to 100.
 * @returns {number}
 */
export function leastOf(magnitude) {
  return magnitude < 2 ? magnitude : (2 | (magnitude & 1)) * powerOfTwo(restLength(magnitude));
}

/**
 * Return the number whose 16-bit floating-point representation has given bits.
 *
 * @param {number} bits From 0 to 65535.
 * @returns {number} NaN and infinities included.
 */
export function fromHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  if (exponent === 0) return sign * fraction * powerOfTwo(-24);
  return sign * (1024 + fraction) * powerOfTwo(exponent - 25);
}
