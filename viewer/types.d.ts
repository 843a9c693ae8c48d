/** Gaussians of a file, in float32 arrays that are flat and row after row. */
export interface Gaussians {
  /** Centres x (right), y (down) in pixels, (K, 2); pixel (row i, column j) has its centre at x = j + 0.5, y = i + 0.5. */
  means: Float32Array;
  /** Standard deviations in pixels along the two axes of each ellipse, (K, 2), positive. */
  scales: Float32Array;
  /** Angles of the first axis in radians, from +x towards +y, (K,). */
  rotations: Float32Array;
  /** Colours, (K, C): gray, RGB, either of them with alpha, or any channels; multiplied by alpha where there is alpha. */
  colors: Float32Array;
  /** Width of the canvas in pixels. */
  width: number;
  /** Height of the canvas in pixels. */
  height: number;
  /** Rule by which Gaussians make an image: the weighted mean of their colours, or the weighted sum. */
  blend: "normalized" | "sum";
  /** True if the last channel is opacity and the others are multiplied by it. */
  alpha: boolean;
  /** Number C of channels, alpha included. */
  channels: number;
  /** Number K of Gaussians, those that fill holes of a cut file included. */
  numGaussians: number;
  /** Number of layers that were read and are whole; Gaussians of the next one may be there where a file is cut. */
  numLayers: number;
  /** Number of layers of the file. */
  totalLayers: number;
  /** False if layers are missing or cut, and the image is coarse. */
  whole: boolean;
}

/** Options of `decode`. */
export interface DecodeOptions {
  /** Largest number of layers to read, from 1 up; all by default. */
  layers?: number;
  /** True to take a file that is cut anywhere behind the places of its first Gaussians; false by default. */
  partial?: boolean;
}

/** Facts about a file, as `fastgs info --json` has them. */
export interface Facts {
  /** Version of the format. */
  version: number;
  /** "fastgs", "gaussianimage" or "gaussianimage-plus". */
  scheme: string;
  width: number;
  height: number;
  channels: number;
  alpha: boolean;
  blend: "normalized" | "sum";
  /** Number of the learned model that the symbols are coded by; null without one. */
  symbols: number | null;
  /** Bytes of the payload of each layer. */
  layerBytes: number[];
  /** Number of Gaussians. */
  numGaussians: number;
  /** Size of the file. */
  bytes: number;
  /** Bits per pixel of the canvas. */
  bpp: number;
  /** Bits by attribute; their sum is that of the file. */
  bits: Record<string, number>;
}
