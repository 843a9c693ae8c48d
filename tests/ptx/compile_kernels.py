"""Compiles the kernels for GPUs, for a process of its own in which Triton does not interpret them; needs no GPU.

    python tests/ptx/compile_kernels.py TARGET...

A target is a compute capability times 10, or a name such as gfx942. For each, it prints the most registers of a thread,
the bytes that it spills, and the most bytes of shared memory of a program.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget

from fastgs.fitting import optimizer_cuda_kernels, placement_cuda_kernels
from fastgs.render import cuda_bin_kernels, cuda_kernels

ASSEMBLERS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"


def floats(names):
    return dict.fromkeys(names.split(), "*fp32")


def integers(names):
    return dict.fromkeys(names.split(), "*i32")


def numbers(names, kind="i32"):
    return dict.fromkeys(names.split(), kind)


def variants():
    """Yield kernels with the types of their arguments, constants and numbers of warps."""
    batch = integers("images") | floats("pitches")
    bins = integers("starts counts bins state")
    sizes = numbers("number height width tiles_y tiles_x")
    attributes = floats("means scales rotations colors rows") | numbers("number")
    yield cuda_bin_kernels.prepare, attributes, {"CHANNELS": 3, "BLOCK": 128}, 4
    for normalized, channels, descend in ((True, 3, True), (False, 4, False), (True, 1, False)):
        kinds = floats("rows") | integers("bins entries starts counts state") | floats("pitches output sums target")
        constants = {"CHANNELS": channels, "NORMALIZED": normalized, "DESCEND": descend}
        yield cuda_kernels.forward, kinds | sizes, constants, 1
    kinds = floats("upstream output totals gradients") | numbers("area")
    yield cuda_kernels.pixel_gradients, kinds, {"CHANNELS": 3, "NORMALIZED": True, "BLOCK": 512}, 4
    kinds = floats("expected noise errors") | integers("counts") | numbers("height width")
    yield placement_cuda_kernels.diffuse, kinds, {"LANES": 512}, 16
    kinds = floats("rows") | batch | floats("gradients") | integers("items bases") | floats("partials")
    kinds |= integers("state") | numbers("height width")
    yield cuda_kernels.sum_slices, kinds, {"CHANNELS": 3, "SLICE": 512, "LANES": 32}, 1
    kinds = floats("rows") | batch | bins | integers("items bases") | numbers("room height width tiles_y tiles_x")
    yield cuda_bin_kernels.spread, kinds, {"SLICE": 512, "LANES": 32}, 1
    for lanes, channels in ((8, 3), (512, 4)):
        shape = {"GAUSSIANS": max(1, 32 // lanes), "LANES": lanes}
        warps = max(1, lanes // 32)
        items, room = integers("items bases"), numbers("room")
        cut = {"SLICE": 512, "LIMIT": 32 * lanes, **shape}
        kinds = floats("rows") | batch | bins | items | room | sizes
        yield cuda_bin_kernels.fill, kinds, {"FILL": channels == 3, **cut}, warps
        kinds = floats("scales rows") | batch | floats("gradients in_means in_scales in_rotations in_colors")
        yield cuda_kernels.backward, kinds | numbers("number height width"), {"CHANNELS": channels, **shape}, warps
        kinds = floats("variables averages squares start turns floors scales rows") | batch | floats("gradients")
        kinds |= bins | items | room | floats("partials units factors weights")
        kinds |= numbers("rate_offsets rate_scales rate_rotations rate_colors", "fp32")
        constants = {"CHANNELS": channels, "LAST": 1024, "BATCH": 10, **cut}
        yield optimizer_cuda_kernels.descend, kinds | sizes, constants, warps


def target_of(name):
    if name.startswith("gfx"):
        return GPUTarget("hip", name, 64 if name.startswith("gfx9") else 32)
    return GPUTarget("cuda", int(name), 32)


def registers_and_spills(compiled, target):
    """Return the registers of a thread, and what it spills."""
    if target.backend == "hip":
        assembly = compiled.asm["amdgcn"]
        return tuple(int(re.search(rf"\.vgpr_{name}:\s*(\d+)", assembly)[1]) for name in ("count", "spill_count"))
    text = compiled.asm["ptx"]
    assembler = ASSEMBLERS / ("ptxas" if target.arch < 100 else "ptxas-blackwell")
    with tempfile.NamedTemporaryFile("w", suffix=".ptx", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        architecture = re.search(r"\.target (sm_\w+)", text)[1]
        command = [assembler, "-v", f"-arch={architecture}", file.name, "-o", "/dev/null"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    stores, loads = (int(re.search(rf"(\d+) bytes spill {kind}", said)[1]) for kind in ("stores", "loads"))
    return int(re.search(r"Used (\d+) registers", said)[1]), stores + loads


if __name__ == "__main__":
    for name in sys.argv[1:]:
        target, found = target_of(name), []
        for kernel, kinds, constants, warps in variants():
            kinds = kinds | dict.fromkeys(constants, "constexpr")
            assert list(kinds) == kernel.arg_names, (kernel, kernel.arg_names)
            aligned = {
                (place,): [["tt.divisibility", 16]] for place, kind in enumerate(kinds.values()) if kind[0] == "*"
            }
            source = triton.compiler.ASTSource(fn=kernel, signature=kinds, constexprs=constants, attrs=aligned)
            compiled = triton.compile(source, target=target, options={"num_warps": warps})
            found.append((*registers_and_spills(compiled, target), compiled.metadata.shared))
        print(name, *map(max, zip(*found, strict=True)))
