#!/usr/bin/env python3
"""The layer of bench/layer_bench.cpp in PyTorch, timed the same way: one JSON object on standard output.

Softmax over all experts, top-k gates as they are, MLP experts with tanh GELU and biases, nothing dropped.  Choices are
sorted by expert, every expert is two addmm calls over its rows.  Two ways of moving rows take turns:

  index_add   x.index_select, then y.index_add_: what one writes first
  gather      both directions as gathers (two autograd functions): the fastest plain PyTorch we know

bf16: activations and expert weights are bf16 tensors, the router computes in fp32; no autocast.  Gradients of
parameters are set to None before every run, which saves PyTorch one addition per parameter.
"""
import argparse
import json
import os
import statistics
import sys
import time

import torch
import torch.nn.functional as F


class Gather(torch.autograd.Function):
    """Rows of x in slot order; slots of one token are added up by a gather through the inverse permutation."""

    @staticmethod
    def forward(ctx, x, token, slot_of, k):
        ctx.save_for_backward(slot_of)
        ctx.k = k
        return x.index_select(0, token)

    @staticmethod
    def backward(ctx, d_slots):
        (slot_of,) = ctx.saved_tensors
        if ctx.k == 1:
            return d_slots.index_select(0, slot_of), None, None, None
        d = d_slots.index_select(0, slot_of)
        return d.view(-1, ctx.k, d.shape[1]).sum(1), None, None, None


class Combine(torch.autograd.Function):
    """y[t] = sum over j of gates[t, j] * out[slot_of[t, j]]."""

    @staticmethod
    def forward(ctx, out, gates, token, slot_of, order):
        k = gates.shape[1]
        rows = out.index_select(0, slot_of).view(-1, k, out.shape[1])
        ctx.save_for_backward(rows, gates, token, order)
        return torch.bmm(gates.unsqueeze(1), rows).squeeze(1)

    @staticmethod
    def backward(ctx, dy):
        rows, gates, token, order = ctx.saved_tensors
        d_gates = torch.bmm(rows, dy.unsqueeze(2)).squeeze(2)
        d_out = dy.index_select(0, token) * gates.reshape(-1).index_select(0, order).unsqueeze(1)
        return d_out, d_gates, None, None, None


class Moe:
    def __init__(self, dim, hidden, experts, k, dtype, seed):
        g = torch.Generator().manual_seed(seed)

        def uniform(rows, cols):
            bound = (6.0 / (rows + cols)) ** 0.5
            return ((torch.rand(rows, cols, generator=g) * 2 - 1) * bound).to(dtype).requires_grad_()

        self.k, self.experts = k, experts
        self.router = (torch.randn(experts, dim, generator=g) / dim ** 0.5).requires_grad_()
        self.w1 = [uniform(hidden, dim) for _ in range(experts)]
        self.w2 = [uniform(dim, hidden) for _ in range(experts)]
        self.b1 = [torch.zeros(hidden, dtype=dtype).requires_grad_() for _ in range(experts)]
        self.b2 = [torch.zeros(dim, dtype=dtype).requires_grad_() for _ in range(experts)]

    def parameters(self):
        return [self.router, *self.w1, *self.w2, *self.b1, *self.b2]

    def __call__(self, x, variant):
        scores = torch.softmax(F.linear(x.float(), self.router), dim=1)
        gates, chosen = scores.topk(self.k, dim=1)
        flat = chosen.reshape(-1)
        order = torch.sort(flat, stable=True).indices
        token = torch.div(order, self.k, rounding_mode="floor")
        counts = torch.bincount(flat, minlength=self.experts).tolist()
        gates = gates.to(x.dtype)
        if variant == "gather":
            slot_of = torch.empty_like(order)
            slot_of[order] = torch.arange(order.numel())
            rows = Gather.apply(x, token, slot_of, self.k)
        else:
            rows = x.index_select(0, token)
        outs = []
        for e, part in enumerate(rows.split(counts)):
            if part.shape[0]:
                h = F.gelu(torch.addmm(self.b1[e], part, self.w1[e].t()), approximate="tanh")
                outs.append(torch.addmm(self.b2[e], h, self.w2[e].t()))
        out = torch.cat(outs)
        if variant == "gather":
            return Combine.apply(out, gates, token, slot_of, order)
        weighted = out * gates.reshape(-1).index_select(0, order).unsqueeze(1)
        return torch.zeros_like(x).index_add_(0, token, weighted)


def loaded_blas():
    """File names of the BLAS and OpenMP libraries in this process."""
    try:
        with open("/proc/self/maps") as f:
            paths = {line.split()[-1] for line in f if "/" in line}
    except OSError:
        return []
    names = ("blas", "mkl", "omp", "dnnl")
    return sorted({os.path.basename(os.path.realpath(p)) for p in paths
                   if any(n in os.path.basename(p) for n in names) and ".so" in p})


def main():
    p = argparse.ArgumentParser(description="Times a Mixture-of-Experts layer in PyTorch on the CPU")
    p.add_argument("--row", default="2048,384,1536,8,2", help="T,D,H,E,K")
    p.add_argument("--dtype", default="fp32", choices=["fp32", "bf16"])
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--seconds", type=float, default=0.5, help="time per variant")
    p.add_argument("--repeats", type=int, default=3, help="least number of runs per variant")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--variants", default="index_add,gather")
    a = p.parse_args()
    tokens, dim, hidden, experts, k = (int(v) for v in a.row.split(","))
    torch.set_num_threads(a.threads)
    dtype = torch.float32 if a.dtype == "fp32" else torch.bfloat16
    moe = Moe(dim, hidden, experts, k, dtype, a.seed)
    g = torch.Generator().manual_seed(a.seed + 1)
    x = torch.randn(tokens, dim, generator=g).to(dtype).requires_grad_()
    dy = torch.randn(tokens, dim, generator=g).to(dtype)
    variants = a.variants.split(",")
    ms = {v: {"forward": [], "backward": [], "both": []} for v in variants}

    def run(variant, keep):
        for q in (x, *moe.parameters()):
            q.grad = None
        t0 = time.perf_counter()
        y = moe(x, variant)
        t1 = time.perf_counter()
        y.backward(dy)
        t2 = time.perf_counter()
        if keep:
            for name, seconds in (("forward", t1 - t0), ("backward", t2 - t1), ("both", t2 - t0)):
                ms[variant][name].append(seconds * 1e3)
        return y

    # The first run warms up, and shows that the variants compute the same.
    first = {}
    for v in variants:
        y = run(v, False).detach().float()
        got = {"y": y, "dx": x.grad.float(), "d_router": moe.router.grad}
        for name, value in got.items():
            if not torch.isfinite(value).all():
                sys.exit("moe_torch: %s of %s is not finite" % (name, v))
            want = first.setdefault(name, value)
            error = ((value - want).norm() / want.norm()).item()
            if error > (1e-4 if a.dtype == "fp32" else 3e-2):
                sys.exit("moe_torch: %s of %s differs from that of %s by %.2g" % (name, v, variants[0], error))
    start, rounds = time.perf_counter(), 0
    while rounds < a.repeats or time.perf_counter() - start < a.seconds * len(variants):
        for v in variants:
            run(v, True)
        rounds += 1
    times = {v: {n: {"median": statistics.median(s), "least": min(s), "runs": len(s)} for n, s in m.items()}
             for v, m in ms.items()}
    print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads(), "libraries": loaded_blas(),
                      "row": a.row, "dtype": a.dtype, "ms": times}))


if __name__ == "__main__":
    main()
