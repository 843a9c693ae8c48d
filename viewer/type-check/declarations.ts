// The declarations that are written by hand agree with those that the sources have: each can stand for the other.
import type * as Image from "../fgs-image.js";
import type * as Reader from "../fgs.js";
import type * as Renderer from "../render-cpu.js";
import type * as ImageSource from "./generated/fgs-image.js";
import type * as ReaderSource from "./generated/fgs.js";
import type * as RendererSource from "./generated/render-cpu.js";

type Accepts<Written, Source extends Written> = Source;

export type Checks = [
  Accepts<typeof Reader, typeof ReaderSource>,
  Accepts<typeof ReaderSource, typeof Reader>,
  Accepts<typeof Renderer, typeof RendererSource>,
  Accepts<typeof RendererSource, typeof Renderer>,
  // The element has more than it promises.
  Accepts<Image.FgsImage, ImageSource.FgsImage>,
];
