import type { Gaussians } from "./fgs.js";

/**
 * Element `<fgs-image src="photo.fgs" width="640" alt="...">`, which draws a .fgs file into a canvas.
 *
 * It fires `load` when the image is drawn, and `error`, a CustomEvent with the error in `detail`, when it cannot be.
 */
export class FgsImage extends HTMLElement {
  /** Gaussians that are shown; null before they are loaded. */
  gaussians: Gaussians | null;
  /** Canvas that they are drawn into. */
  canvas: HTMLCanvasElement;
  /** Load the file that `src` names, and draw it; what is wrong is shown instead, never thrown. */
  load(): Promise<void>;
}

declare global {
  interface HTMLElementTagNameMap {
    "fgs-image": FgsImage;
  }
}
