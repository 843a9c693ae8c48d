/** Elements of the page, and sentences for its reader. */

import { DataError } from "./data.js";
import { RenderError } from "./webgl.js";

/** Return an element of the page by its id. */
export const $ = (id) => document.getElementById(id);

/** Show a sentence about what is wrong; without one, hide it. */
export function tell(sentence = "") {
  $("problem").textContent = sentence;
  $("problem").hidden = !sentence;
}

/** Say something to screen readers. */
export function announce(sentence) {
  $("status").textContent = sentence;
}

/** Return the sentence for an error, and let the console have what is not for readers. */
export function explain(error) {
  if (error instanceof DataError || error instanceof RenderError) return error.message;
  console.error(error);
  return `Something went wrong in this page (${error?.message ?? error}). Reload it, or make it again with fastgs view.`;
}
