import type { Gaussians } from "./fgs.js";

/** What the renderer needs of Gaussians; `decode` returns it. */
export type Drawable = Pick<Gaussians, "means" | "scales" | "rotations" | "colors" | "width" | "height" | "channels"> &
  Partial<Pick<Gaussians, "blend" | "alpha">>;

/** Options of the renderer. */
export interface RenderOptions {
  /** True to average over the area of each pixel where the image is smaller than the canvas; false by default. */
  antialias?: boolean;
}

/** Largest number of pixels of an image. */
export const MAX_PIXELS: number;

/**
 * Render Gaussians as 8-bit RGBA, (height, width, 4), for `ImageData`: colours are not multiplied by alpha.
 *
 * @throws {FgsError} A size is no integer of at least 1, or there would be too many pixels or too much work.
 */
export function renderPixels(
  gaussians: Drawable,
  width?: number,
  height?: number,
  options?: RenderOptions,
): Uint8ClampedArray<ArrayBuffer>;

/**
 * Render Gaussians as numbers, (height, width, C), which are not clamped.
 *
 * @throws {FgsError} As for `renderPixels`.
 */
export function renderColors(
  gaussians: Drawable,
  width?: number,
  height?: number,
  options?: RenderOptions,
): Float32Array;

/**
 * Return the sums of weights and of weighted colours at the samples of a grid over the canvas, (height, width, 1 + C).
 *
 * @throws {FgsError} There would be too much work.
 */
export function accumulate(gaussians: Drawable, width: number, height: number): Float32Array;

/**
 * Render Gaussians as numbers, row after row: `emit` gets the (width, C) colours of each, which are overwritten afterwards.
 *
 * @throws {FgsError} There would be too much work.
 */
export function forEachRow(
  gaussians: Drawable,
  width: number,
  height: number,
  antialias: boolean,
  emit: (row: number, colors: Float32Array) => void,
): void;
