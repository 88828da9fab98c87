#!/usr/bin/env python3
"""The training steps of bench/train_bench.cpp in PyTorch on the CPU: one JSON object on standard output.

Same networks, maths, batch, optimiser and threads; images are random bytes of the same shapes, taken by a random order and
normalised, not augmented.  bf16: parameters, gradients and optimiser are fp32, forward and backward run under autocast.
Convolutions with channels last.  Experts: choices sorted by expert, two linear maps per expert over the rows that have a
place, index_select and index_add_ around them (peers/moe_torch.py: the other way of moving rows is as fast).

Debian's PyTorch 1.13 computes fp32 GELU gradients wrongly for strided gradients; here they are contiguous.
"""
import argparse
import json
import math
import os
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

from moe_torch import loaded_blas


def places(chosen, experts, capacity):
    """For each expert the units it serves, first choices before second ones, then in order: (unit, choice), rows."""
    units = chosen.shape[0]
    flat = chosen.t().reshape(-1)
    order = torch.sort(flat, stable=True).indices
    counts = torch.bincount(flat, minlength=experts).tolist()
    kept = [part[:capacity] for part in order.split(counts)]
    order = torch.cat(kept)
    return order % units, torch.div(order, units, rounding_mode="floor"), [p.numel() for p in kept]


def squared_cv(total):
    return total.var(unbiased=False) / total.mean() ** 2


def normal_cdf(x):
    return 0.5 * (1 + torch.erf(x / math.sqrt(2)))


class VMoe(nn.Module):
    """V-MoE: top-2 of noisy softmax scores, capacity 1.25, importance and load losses."""

    def __init__(self, dim, hidden, experts):
        super().__init__()
        self.router = nn.Parameter(torch.randn(experts, dim) / dim ** 0.5)
        bound = (6 / (dim + hidden)) ** 0.5
        self.w1 = nn.Parameter(torch.empty(experts, hidden, dim).uniform_(-bound, bound))
        self.w2 = nn.Parameter(torch.empty(experts, dim, hidden).uniform_(-bound, bound))
        self.b1 = nn.Parameter(torch.zeros(experts, hidden))
        self.b2 = nn.Parameter(torch.zeros(experts, dim))
        self.loss = 0

    def forward(self, x):
        shape, experts = x.shape, self.router.shape[0]
        x = x.reshape(-1, shape[-1])
        with torch.autocast("cpu", enabled=False):
            clean = F.linear(x.float(), self.router)
            noisy = clean + torch.randn_like(clean) / experts
            gates, chosen = torch.softmax(noisy, dim=1).topk(2, dim=1)
            threshold = noisy.topk(2, dim=1).values[:, 1:]
            self.loss = 0.005 * squared_cv(torch.softmax(clean, dim=1).sum(0)) + 0.005 * squared_cv(
                normal_cdf((clean - threshold) * experts).sum(0))
        capacity = math.ceil(1.25 * 2 * x.shape[0] / experts)
        unit, choice, rows = places(chosen, experts, capacity)
        out = torch.cat([
            F.linear(F.gelu(F.linear(part, self.w1[e], self.b1[e]), approximate="tanh"), self.w2[e], self.b2[e])
            for e, part in enumerate(x.index_select(0, unit).split(rows))])
        out = out * gates[unit, choice].unsqueeze(1).to(out.dtype)
        return torch.zeros(x.shape, dtype=out.dtype).index_add_(0, unit, out).view(shape)


class SparseHead(nn.Module):
    """Paper B's sparse head as published: two of 8 ReLU classifiers by noisy scores, Shazeer's losses."""

    def __init__(self, dim, hidden, classes, experts):
        super().__init__()
        self.gate, self.noise = nn.Linear(dim, experts), nn.Linear(dim, experts)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Dropout(0.1),
                                                   nn.Linear(hidden, classes)) for _ in range(experts))
        self.classes, self.loss = classes, 0

    def forward(self, x):
        with torch.autocast("cpu", enabled=False):
            seen = F.dropout(x.float(), 0.1)
            clean, deviation = self.gate(seen), F.softplus(self.noise(seen))
            noisy = clean + torch.randn_like(clean) * deviation
            gates, chosen = torch.softmax(noisy, dim=1).topk(2, dim=1)
            gates = gates / gates.sum(1, keepdim=True)
            top = noisy.topk(3, dim=1).values
            threshold = torch.where(noisy >= top[:, 1:2], top[:, 2:3], top[:, 1:2])
            self.loss = 0.2 * squared_cv(torch.softmax(clean, dim=1).sum(0)) + 0.2 * squared_cv(
                normal_cdf((clean - threshold) / deviation).sum(0))
        unit, choice, rows = places(chosen, len(self.experts), x.shape[0])
        out = torch.cat([self.experts[e](part) for e, part in enumerate(x.index_select(0, unit).split(rows))])
        out = out * gates[unit, choice].unsqueeze(1).to(out.dtype)
        return torch.zeros(x.shape[0], self.classes, dtype=out.dtype).index_add_(0, unit, out)


class Block(nn.Module):
    def __init__(self, dim, heads, moe):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim, 1e-6), nn.LayerNorm(dim, 1e-6)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = VMoe(dim, 2 * dim, 8) if moe else nn.Sequential(
            nn.Linear(dim, 4 * dim), nn.GELU(approximate="tanh"), nn.Linear(4 * dim, dim))

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        a = torch.softmax(q @ k.transpose(-1, -2) * (d // self.heads) ** -0.5, -1) @ v
        x = x + self.out(a.transpose(1, 2).reshape(b, t, d))
        return x + self.mlp(self.norm2(x))


class Vit(nn.Module):
    def __init__(self, moe, dim=192, depth=12, heads=3):
        super().__init__()
        self.patch = nn.Conv2d(3, dim, 4, 4)
        self.positions = nn.Parameter(torch.randn(1, 64, dim) * 0.02)
        self.blocks = nn.Sequential(*[Block(dim, heads, moe) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(dim, 1e-6), nn.Linear(dim, 10)
        nn.init.zeros_(self.head.weight)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2) + self.positions
        return self.head(self.norm(self.blocks(x)).mean(1))

    def losses(self):
        return [b.mlp.loss for b in self.blocks if isinstance(b.mlp, VMoe)]


class BasicBlock(nn.Module):
    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(c_out), nn.BatchNorm2d(c_out)
        self.side = nn.Sequential() if stride == 1 else nn.Sequential(
            nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.side(x))


class ResNet(nn.Module):
    def __init__(self, sparse):
        super().__init__()
        blocks, width = [], 64
        for stage, out in enumerate((64, 128, 256, 512)):
            blocks += [BasicBlock(width, out, 2 if stage else 1), BasicBlock(out, out, 1)]
            width = out
        self.stem, self.bn = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64)
        self.blocks = nn.Sequential(*blocks)
        self.head = SparseHead(512, 64, 10, 8) if sparse else nn.Sequential(
            nn.Linear(512, 512), nn.ReLU(), nn.Dropout(0.1), nn.Linear(512, 10))

    def forward(self, x):
        return self.head(self.blocks(F.relu(self.bn(self.stem(x)))).mean((2, 3)))

    def losses(self):
        return [self.head.loss] if isinstance(self.head, SparseHead) else []


def main():
    p = argparse.ArgumentParser(description="Times training steps of whole classifiers in PyTorch on the CPU")
    p.add_argument("--row", default="vit", choices=["resnet", "resnet_sparse", "vit", "vit_moe"])
    p.add_argument("--dtype", default="fp32", choices=["fp32", "bf16"])
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--steps", type=int, default=3)
    p.add_argument("--warmup", type=int, default=1)
    p.add_argument("--resnet-batch", type=int, default=128)
    p.add_argument("--vit-batch", type=int, default=256)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(1)
    resnet = a.row.startswith("resnet")
    batch = a.resnet_batch if resnet else a.vit_batch
    if resnet:
        model = ResNet(a.row == "resnet_sparse").to(memory_format=torch.channels_last)
        optimiser = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)
    else:
        model = Vit(a.row == "vit_moe")
        weights = [q for n, q in model.named_parameters() if q.ndim > 1 and "router" not in n and n != "positions"]
        known = {id(q) for q in weights}
        optimiser = torch.optim.AdamW([{"params": weights, "weight_decay": 0.05},
                                       {"params": [q for q in model.parameters() if id(q) not in known],
                                        "weight_decay": 0.0}], 1e-3)
    images = torch.randint(0, 256, (4 * batch, 3, 32, 32), dtype=torch.uint8)
    labels = torch.randint(0, 10, (4 * batch,))

    def step(i):
        if i % 4 == 0:
            step.order = torch.randperm(4 * batch)
        at = step.order[i % 4 * batch:(i % 4 + 1) * batch]
        x = (images[at].float() - 127.5) / 64
        if resnet:
            x = x.contiguous(memory_format=torch.channels_last)
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=a.dtype == "bf16"):
            out = model(x)
        loss = F.cross_entropy(out.float(), labels[at])
        sum(model.losses(), loss).backward()
        if not resnet:
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        return loss.item()

    ms, loss = [], 0.0
    for i in range(a.warmup + a.steps):
        begin = time.perf_counter()
        loss = step(i)
        if i >= a.warmup:
            ms.append(1e3 * (time.perf_counter() - begin))
    if not math.isfinite(loss):
        sys.exit("train_torch: the loss is %s" % loss)
    print(json.dumps({"torch": torch.__version__, "libraries": loaded_blas(), "row": a.row, "dtype": a.dtype, "batch": batch,
                      "params": sum(q.numel() for q in model.parameters()), "loss": loss, "ms": ms}))


if __name__ == "__main__":
    main()
