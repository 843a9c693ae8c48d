/** The state of the page as the fragment of its address, so that a link shows the same view. */

const NUMBERS = ["picture", "x", "y", "zoom", "k", "layers", "split", "limit"];
const CHOICES = {
  overlay: ["none", "ellipses", "centres"],
  compare: ["none", "swipe", "side", "original", "error"],
  theme: ["system", "light", "dark"],
  precision: ["single", "half"],
};

/**
 * Parse a fragment; whatever makes no sense is left out.
 * @param {string} hash Text such as "#picture=2&x=100&y=50&zoom=8&k=500&overlay=ellipses&pixel=100,50".
 * @returns {object} The entries: numbers, names, `pixel` as two integers, and `channels` as a text.
 */
export function parseState(hash) {
  const state = {};
  for (const [name, value] of new URLSearchParams(hash.replace(/^#/, ""))) {
    if (NUMBERS.includes(name)) {
      if (value !== "" && Number.isFinite(Number(value))) state[name] = Number(value);
    } else if (CHOICES[name]) {
      if (CHOICES[name].includes(value)) state[name] = value;
    } else if (name === "pixel") {
      const pixel = value.split(",").map(Number);
      if (pixel.length === 2 && pixel.every(Number.isInteger)) state.pixel = pixel;
    } else if (name === "channels" && /^\d{1,2}$/.test(value)) {
      state.channels = value;
    }
  }
  return state;
}

/**
 * Return the fragment of a state; entries that are undefined are left out.
 * @param {object} state State as `parseState` returns it.
 */
export function formatState(state) {
  const parts = Object.entries(state).filter(([, value]) => value !== undefined);
  return "#" + parts.map(([name, value]) => `${name}=${typeof value === "number" ? short(value) : value}`).join("&");
}

/** Return a number with as many digits as a view needs. */
function short(value) {
  return String(Number(value.toPrecision(7)));
}
