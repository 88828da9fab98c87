#!/usr/bin/env python3
"""Convolution layers beside PyTorch on the CPU: conv_torch.py <path of conv_bench> [threads]

Runs conv_bench, then the same shapes in PyTorch (channels last, forward under autograd, backward with the gradients of
input, weight and bias), and prints milliseconds and ratios ours / PyTorch (below 1: ours is faster).  Debian:
python3-torch.  bf16 rows use bf16 tensors with bf16 weights.
"""

import statistics
import subprocess
import sys
import time

import torch

KINDS = {"f32": torch.float32, "bf16": torch.bfloat16}
# name: images, channels in, out, height, kernel, stride, depthwise; as in conv_bench.cpp
SHAPES = {
    "stem-3-32-32x32": (128, 3, 32, 32, 3, 1, False),
    "conv-64-64-16x16": (128, 64, 64, 16, 3, 1, False),
    "down-64-128-16x16": (128, 64, 128, 16, 3, 2, False),
    "conv-128-128-8x8": (128, 128, 128, 8, 3, 1, False),
    "conv-256-256-4x4": (128, 256, 256, 4, 3, 1, False),
    "pointwise-128-512-8x8": (128, 128, 512, 8, 1, 1, False),
    "depthwise-128-16x16": (128, 128, 128, 16, 3, 1, True),
    "depthwise7-128-16x16": (128, 128, 128, 16, 7, 1, True),
}


def measure(shape, dtype, seconds=0.3):
    """Median milliseconds of forward and of backward."""
    images, c_in, c_out, size, kernel, stride, depthwise = shape
    groups = c_in if depthwise else 1
    m = torch.nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups)
    m = m.to(dtype=dtype, memory_format=torch.channels_last)
    x = torch.randn(images, c_in, size, size).to(dtype=dtype, memory_format=torch.channels_last).requires_grad_()
    dy = torch.full_like(m(x), 0.5)
    forward, backward, spent = [], [], 0.0
    while spent < 2 * seconds or len(forward) < 7:
        x.grad = m.weight.grad = m.bias.grad = None
        a = time.perf_counter()
        y = m(x)
        b = time.perf_counter()
        y.backward(dy)
        c = time.perf_counter()
        forward.append(b - a), backward.append(c - b)
        spent += c - a
    return 1e3 * statistics.median(forward[2:]), 1e3 * statistics.median(backward[2:])


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    threads = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    torch.set_num_threads(threads)
    lines = subprocess.run([sys.argv[1], str(threads)], check=True, capture_output=True, text=True).stdout.splitlines()
    print(f"# {threads} threads, PyTorch {torch.__version__}; ms of ours, of PyTorch, ours / PyTorch")
    print(f"# {'shape':<20} {'type':<5} {'forward':>9} {'backward':>9} {'PyTorch':>9} {'PyTorch':>9}   ratios")
    for line in lines:
        if line.startswith("#"):
            continue
        name, kind, forward, backward = line.split()[:4]
        f, b = measure(SHAPES[name], KINDS[kind])
        print(f"{name:<22} {kind:<5} {float(forward):9.3f} {float(backward):9.3f} {f:9.3f} {b:9.3f}   "
              f"{float(forward) / f:.2f} {float(backward) / b:.2f}", flush=True)


if __name__ == "__main__":
    main()
