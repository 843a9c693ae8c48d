"""Script of `encoding.compare`: encode images and decode their files, with the package of any commit.

A request has the paths of an image and of its decoded image to write, both (C, H, W) in .npy files, and bits per pixel.
Nothing is used but what the first encoders had: no effort, no number of steps.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import torch

import fastgs
from fastgs import codec

answers, sys.stdout = sys.stdout, sys.stderr  # where nothing but answers may go
for line in sys.stdin:
    request = json.loads(line)
    image = torch.from_numpy(np.load(request["image"]))
    wall, cpu = time.perf_counter(), time.process_time()
    data = codec.encode(image, bpp=request["bpp"]).data
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    gaussians = codec.decode(data)
    # Files can ask for restoration since there is this function.
    decoded = codec.decode_image(data) if hasattr(codec, "decode_image") else fastgs.render(gaussians)
    np.save(request["decoded"], decoded.detach().numpy())
    answer = {"cpu_seconds": cpu, "seconds": wall, "bytes": len(data), "num_gaussians": len(gaussians)}
    print(json.dumps(answer), file=answers, flush=True)
