#!/usr/bin/env python3
"""The training steps of bench/gpu/train_bench.cu in PyTorch: the same vision transformers, on a GPU.

Pre-norm ViT on made-up 32x32 images that lie on the device, patch 4, learned positions, mean pooling; tanh GELU, attention
by scaled_dot_product_attention.  Parameters fp32, computed under bf16 autocast; AdamW (fused), gradients clipped at norm
1; flip and pad-crop on the device.  dense: MLP of 4 D; moe: dropless top-2 of 8 experts of width 2 D in every block, gates
of the softmax over all experts, products through torch's grouped product where there is one, else a loop over experts.

Each arm eagerly and through torch.compile; medians over rounds of 20 steps, times by the clock with a synchronisation at
both ends.  Status 77: no PyTorch or no GPU.  --device cpu runs a step of everything, to try the script.
"""
import argparse
import json
import statistics
import sys
import time

try:
    import torch
    import torch.nn as nn
    import torch.nn.functional as F
except ImportError as e:
    print("train_torch_gpu: PyTorch cannot be imported (%s); nothing was measured" % e, file=sys.stderr)
    sys.exit(77)


def grouped_product():
    return getattr(F, "grouped_mm", None) or getattr(torch, "_grouped_mm", None)


class Moe(nn.Module):
    """Dropless top-k of E experts D-H-D."""

    def __init__(self, dim, hidden, experts, k):
        super().__init__()
        self.k = k
        self.router = nn.Parameter(torch.randn(experts, dim) / dim**0.5)
        bound = (6 / (dim + hidden)) ** 0.5
        self.w1 = nn.Parameter(torch.empty(experts, hidden, dim).uniform_(-bound, bound))
        self.w2 = nn.Parameter(torch.empty(experts, dim, hidden).uniform_(-bound, bound))
        self.b1 = nn.Parameter(torch.zeros(experts, hidden))
        self.b2 = nn.Parameter(torch.zeros(experts, dim))

    def forward(self, x):
        shape, experts = x.shape, self.router.shape[0]
        x = x.reshape(-1, shape[-1])
        with torch.autocast(x.device.type, enabled=False):
            gates, chosen = torch.softmax(F.linear(x.float(), self.router), dim=1).topk(self.k, dim=1)
        flat = chosen.reshape(-1)
        order = torch.sort(flat, stable=True).indices
        token = torch.div(order, self.k, rounding_mode="floor")
        counts = torch.zeros(experts, dtype=torch.int64, device=x.device).scatter_add_(0, flat, torch.ones_like(flat))
        product = grouped_product() if x.is_cuda else None
        rows = x.index_select(0, token)
        if product is not None:
            t = torch.bfloat16
            ends, expert = torch.cumsum(counts, 0).to(torch.int32), flat.index_select(0, order)
            h = product(rows.to(t), self.w1.to(t).transpose(1, 2), offs=ends) + self.b1.to(t).index_select(0, expert)
            out = product(F.gelu(h, approximate="tanh"), self.w2.to(t).transpose(1, 2), offs=ends)
            out = out + self.b2.to(t).index_select(0, expert)
        else:
            parts = rows.split(counts.tolist())
            out = torch.cat([F.linear(F.gelu(F.linear(r, self.w1[e], self.b1[e]), approximate="tanh"), self.w2[e], self.b2[e])
                             for e, r in enumerate(parts)])
        out = out * gates.reshape(-1).index_select(0, order).unsqueeze(1).to(out.dtype)
        y = torch.zeros(x.shape, dtype=out.dtype, device=x.device).index_add_(0, token, out)
        return y.view(shape)


class Block(nn.Module):
    def __init__(self, dim, heads, moe):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = Moe(dim, 2 * dim, 8, 2) if moe else nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(approximate="tanh"),
                                                                     nn.Linear(4 * dim, dim))

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        if hasattr(F, "scaled_dot_product_attention"):
            a = F.scaled_dot_product_attention(q, k, v)
        else:
            a = torch.softmax(q @ k.transpose(-1, -2) * (d // self.heads) ** -0.5, -1) @ v
        x = x + self.out(a.transpose(1, 2).reshape(b, t, d))
        return x + self.mlp(self.norm2(x))


class Vit(nn.Module):
    def __init__(self, dim, depth, heads, moe):
        super().__init__()
        self.patch = nn.Conv2d(3, dim, 4, 4)
        self.positions = nn.Parameter(torch.randn(1, 64, dim) * 0.02)
        self.blocks = nn.Sequential(*[Block(dim, heads, moe) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, 10)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2) + self.positions
        return self.head(self.norm(self.blocks(x)).mean(1))


def augment(x):
    """A random flip and a random shift of up to 4 pixels, per image, on the device."""
    n = x.shape[0]
    x = torch.where(torch.rand(n, 1, 1, 1, device=x.device) < 0.5, x.flip(3), x)
    shift = torch.randint(0, 9, (2, n, 1), device=x.device)
    rows = (torch.arange(32, device=x.device) + shift[0]).view(n, 1, 32, 1)
    cols = (torch.arange(32, device=x.device) + shift[1]).view(n, 1, 1, 32)
    return F.pad(x, (4, 4, 4, 4))[torch.arange(n, device=x.device).view(n, 1, 1, 1),
                                  torch.arange(3, device=x.device).view(1, 3, 1, 1), rows, cols]


def measure(arm, compiled, o):
    torch.manual_seed(1)
    model = Vit(o.dim, o.depth, o.heads, arm == "moe").to(o.device)
    cuda = o.device == "cuda"
    optimiser = torch.optim.AdamW(model.parameters(), 1e-4, weight_decay=0.05, **({"fused": True} if cuda else {}))
    images = torch.randint(0, 256, (20 * o.batch, 3, 32, 32), dtype=torch.uint8, device=o.device)
    labels = torch.randint(0, 10, (20 * o.batch,), device=o.device)

    def loss_of(x, y):
        with torch.autocast(o.device, torch.bfloat16):
            return F.cross_entropy(model(augment((x.float() - 127.5) / 64)).float(), y)

    step_loss = torch.compile(loss_of) if compiled else loss_of

    def steps(n):
        if cuda:
            torch.cuda.synchronize()
        start = time.perf_counter()
        for i in range(n):
            at = torch.randint(0, images.shape[0], (o.batch,), device=o.device)
            optimiser.zero_grad(set_to_none=True)
            loss = step_loss(images[at], labels[at])
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
        if not torch.isfinite(loss):  # also waits for the device
            raise RuntimeError("the loss is %s" % loss.item())
        if cuda:
            torch.cuda.synchronize()
        return 1e3 * (time.perf_counter() - start) / n

    steps(1 if not cuda else 10)
    times, spent, each = [], 0.0, 20 if cuda else 1
    while len(times) < (5 if cuda else 1) or (cuda and spent < o.seconds and len(times) < 200):
        times.append(steps(each))
        spent += 1e-3 * times[-1] * each
    ms = statistics.median(times)
    how = "compiled" if compiled else "eager"
    print("%-6s %-9s %9.3f ms a step (least %.3f, %d rounds of %d)  %9.0f images/s" %
          (arm, how, ms, min(times), len(times), each, 1e3 * o.batch / ms))
    return {"arm": arm, "how": how, "ms": ms, "least_ms": min(times), "images_per_second": 1e3 * o.batch / ms,
            "params": sum(p.numel() for p in model.parameters())}


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, value in (("dim", 192), ("depth", 12), ("heads", 3), ("batch", 256)):
        p.add_argument("--" + name, type=int, default=value)
    p.add_argument("--seconds", type=float, default=3)
    p.add_argument("--json")
    p.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    o = p.parse_args()
    if o.device == "cuda" and not torch.cuda.is_available():
        print("train_torch_gpu: no GPU; nothing was measured", file=sys.stderr)
        return 77
    results, failed = [], []
    for compiled in (False, True):
        if compiled and not hasattr(torch, "compile"):
            failed.append("compiled: PyTorch %s has no torch.compile" % torch.__version__)
            continue
        for arm in ("dense", "moe"):
            try:
                results.append(measure(arm, compiled, o))
            except Exception as e:  # the other arms are still worth having
                failed.append("%s%s: %s: %s" % (arm, ", compiled" if compiled else "", type(e).__name__, str(e)[:200]))
                print(failed[-1], file=sys.stderr)
    if o.json:
        with open(o.json, "w") as f:
            json.dump({"torch": torch.__version__, "dim": o.dim, "depth": o.depth, "batch": o.batch, "results": results,
                       "failed": failed}, f, indent=1)
    return 0 if any(r["how"] == "eager" for r in results) else 1


if __name__ == "__main__":
    sys.exit(main())
