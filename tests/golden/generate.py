#!/usr/bin/env python3
"""Writes the golden files of this folder: what PyTorch computes, in float64, for the cases of golden_test.cpp.

Run by hand (Debian: python3-torch) when a case changes:   python3 tests/golden/generate.py
Inputs and parameters are not stored.  Both sides make them from their names by `numbers`, whose values are exact in
float64, so the files hold expected results only: scalars, choices, and a digest of each tensor.
"""

import math
import pathlib

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

FOLDER = pathlib.Path(__file__).parent
SAMPLES = 6

# ---- numbers both sides can make -------------------------------------------------------------------------------------


def name_hash(name):
    """FNV-1a, 64 bits."""
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def hashed(name, n):
    """n 64-bit integers: the splitmix64 finaliser of hash + (i + 1) * golden ratio."""
    with np.errstate(over="ignore"):
        z = np.uint64(name_hash(name)) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def numbers(name, shape, scale, offset=0.0):
    """offset + scale * u, u in [-1, 1) a multiple of 2^-23; scale is a power of two, so nothing is rounded."""
    u = (hashed(name, math.prod(shape)) >> np.uint64(40)).astype(np.float64) / 2**23 - 1
    return torch.from_numpy(offset + scale * u).reshape(shape)


def parameter(case, name, shape):
    """The first value of a parameter: the rule is written down here and in golden_test.cpp."""
    if name.endswith("bias"):
        return numbers(f"{case}/{name}", shape, 0.25)
    if "norm" in name:
        return numbers(f"{case}/{name}", shape, 0.25, 1.0)
    return numbers(f"{case}/{name}", shape, 1.0 if "router" in name else 0.5)


# ---- golden files ----------------------------------------------------------------------------------------------------


class Golden:
    def __init__(self, name):
        self.path = FOLDER / f"{name}.txt"
        self.lines = [f"# Made by generate.py with PyTorch {torch.__version__}, float64."]

    def values(self, key, *values):
        self.lines.append(" ".join([key, *(f"{v:.17g}" for v in values)]))

    def tensor(self, key, x):
        """Elements, norm, two sums under pseudo-random signs (any wrong element shows), and a few elements."""
        x = x.detach().contiguous().reshape(-1)
        assert x.dtype == torch.float64 and bool(torch.isfinite(x).all()), key
        h, n = hashed("signs", x.numel()), x.numel()
        bits = [((h >> np.uint64(b)) & np.uint64(1)).astype(np.float64) for b in (20, 40)]
        signs = [torch.from_numpy(1.0 - 2.0 * b) for b in bits]
        picks = [x[i * (n - 1) // (SAMPLES - 1)].item() for i in range(SAMPLES)]
        self.values(key, n, x.norm().item(), *((x * s).sum().item() for s in signs), *picks)

    def parameters(self, what, module, value):
        for name, p in module.named_parameters():
            self.tensor(f"{what}:{name}", value(p))

    def write(self):
        self.path.write_text("\n".join(self.lines) + "\n")
        print(f"{self.path.name}: {self.path.stat().st_size} bytes")


# ---- models ----------------------------------------------------------------------------------------------------------


class Expert(nn.Module):
    def __init__(self, dim, hidden, out, act):
        super().__init__()
        self.fc1, self.fc2, self.act = nn.Linear(dim, hidden), nn.Linear(hidden, out), act

    def forward(self, x):
        return self.fc2(self.act(self.fc1(x)))


def gelu(x):
    return F.gelu(x, approximate="tanh")


def squared_cv(x):
    return x.var(unbiased=False) / x.mean() ** 2


class MoE(nn.Module):
    """Token choice of the `k` best experts by softmax; gates are the scores themselves.

    factor: None (dropless) or the capacity factor of each group; places go to all first choices in the order of tokens,
    then to all second choices (V-MoE).  weights: of the balance losses, each the mean over groups.  renormalised: gates
    are divided by their sum over the chosen experts.
    """

    def __init__(self, dim, hidden, experts, k=2, factor=None, group=0, weights=None, renormalised=False):
        super().__init__()
        self.router = nn.Linear(dim, experts, bias=False)
        self.experts = nn.ModuleList(Expert(dim, hidden, dim, gelu) for _ in range(experts))
        self.k, self.factor, self.group, self.weights = k, factor, group, weights or {}
        self.renormalised = renormalised

    def place(self, chosen, group):
        """[T, K] booleans: choices that got a slot."""
        tokens, experts = len(chosen), len(self.experts)
        if self.factor is None:
            return torch.ones_like(chosen, dtype=torch.bool)
        capacity = min(group, math.ceil(self.factor * group * self.k / experts))
        kept = torch.zeros_like(chosen, dtype=torch.bool)
        for first in range(0, tokens, group):
            used = [0] * experts
            for j in range(self.k):
                for t in range(first, min(tokens, first + group)):
                    e = int(chosen[t, j])
                    kept[t, j] = used[e] < capacity
                    used[e] += 1
        return kept

    def balance(self, logits, p, chosen, group):
        experts, losses = p.shape[1], []
        for first in range(0, len(p), group):
            z, q, c = logits[first : first + group], p[first : first + group], chosen[first : first + group]
            share = F.one_hot(c, experts).double().sum(1).mean(0) / self.k
            terms = {
                "importance": squared_cv(q.sum(0)),
                "switch": experts * (share * q.mean(0)).sum(),
                "z": torch.logsumexp(z, 1).square().mean(),
            }
            losses.append(sum(w * terms[name] for name, w in self.weights.items()))
        return sum(losses) / len(losses)

    def forward(self, x):
        shape, x = x.shape, x.reshape(-1, x.shape[-1])
        group = self.group or len(x)
        logits = self.router(x)
        p = torch.softmax(logits, 1)
        top = torch.topk(p.detach(), self.k + 1, dim=1).values
        assert (top[:, :-1] - top[:, 1:]).min() > 1e-6, "a choice is too close to call"
        chosen = torch.topk(p.detach(), self.k, dim=1).indices
        kept = self.place(chosen, group)
        gates = p / p.gather(1, chosen).sum(1, keepdim=True) if self.renormalised else p
        y = torch.zeros_like(x)
        for e, expert in enumerate(self.experts):
            for j in range(self.k):
                rows = torch.nonzero((chosen[:, j] == e) & kept[:, j]).reshape(-1)
                # No row: still a product, so that the gradient is zero and not missing.
                y = y.index_add(0, rows, gates[rows, e : e + 1] * expert(x[rows]))
        self.loss = self.balance(logits, p, chosen, group)
        self.chosen, self.kept = chosen, kept
        return y.reshape(shape)


class Mixture(nn.Module):
    """Every expert for every row, weighted by the softmax; KL(u || mean score) as balance loss."""

    def __init__(self, dim, hidden, experts, classes, weight):
        super().__init__()
        self.router = nn.Linear(dim, experts, bias=False)
        self.experts = nn.ModuleList(Expert(dim, hidden, classes, torch.relu) for _ in range(experts))
        self.weight = weight

    def forward(self, x):
        p = torch.softmax(self.router(x), 1)
        uniform = torch.full((p.shape[1],), 1 / p.shape[1], dtype=p.dtype)
        self.loss = self.weight * F.kl_div(p.mean(0).log(), uniform, reduction="sum")
        return torch.einsum("te,teo->to", p, torch.stack([e(x) for e in self.experts], 1))


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.qkv, self.proj, self.heads = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim), heads

    def forward(self, x):
        x = x.transpose(0, 1)
        y, _ = F.multi_head_attention_forward(
            x, x, x, x.shape[-1], self.heads, self.qkv.weight, self.qkv.bias, None, None, False, 0.0,
            self.proj.weight, self.proj.bias, need_weights=False)
        return y.transpose(0, 1)


class Block(nn.Module):
    def __init__(self, dim, heads, moe):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(dim, eps=1e-6), Attention(dim, heads)
        self.norm2, self.moe = nn.LayerNorm(dim, eps=1e-6), moe

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.moe(self.norm2(x))


class PatchEmbed(nn.Module):
    def __init__(self, channels, patch, dim):
        super().__init__()
        self.proj = nn.Conv2d(channels, dim, patch, stride=patch)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)


class ViT(nn.Module):
    def __init__(self, dim, heads, depth, classes, tokens, patch, moe):
        super().__init__()
        self.patch_embed = PatchEmbed(1, patch, dim)
        self.pos_embed = nn.Parameter(torch.zeros(tokens, dim))
        self.blocks = nn.ModuleList(Block(dim, heads, moe()) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(dim, eps=1e-6), nn.Linear(dim, classes)

    def forward(self, images):
        x = self.patch_embed(images) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))

    def balance(self):
        return sum(b.moe.loss for b in self.blocks)


def filled(case, module):
    """The module in float64 with the parameters of the case."""
    module = module.double()
    with torch.no_grad():
        for name, p in module.named_parameters():
            p.copy_(parameter(case, name, p.shape))
    return module


# ---- cases -----------------------------------------------------------------------------------------------------------


def layer_case(case, module, rows, dim, out):
    """y, dx and every parameter gradient of sum(y * dy) + balance loss."""
    g, m = Golden(case), filled(case, module)
    x, dy = numbers(f"{case}/x", (rows, dim), 2.0).requires_grad_(), numbers(f"{case}/dy", (rows, out), 1.0)
    y = m(x)
    ((y * dy).sum() + m.loss).backward()
    g.values("balance", m.loss.item())
    if hasattr(m, "chosen"):
        experts = torch.where(m.kept, m.chosen, torch.full_like(m.chosen, -1))
        g.values("expert_of", *experts.reshape(-1).tolist())
        print(f"  {int((~m.kept).sum())} of {m.kept.numel()} choices dropped, balance {m.loss.item():.4f}")
    g.tensor("y", y)
    g.tensor("dx", x.grad)
    g.parameters("grad", m, lambda p: p.grad)
    g.write()


def three_losses():
    return {"importance": 0.125, "switch": 0.5, "z": 0.0625}


def make_vit(case):
    return filled(case, ViT(dim=16, heads=2, depth=2, classes=5, tokens=9, patch=4, moe=lambda: MoE(
        16, 24, 5, factor=1.0, weights=three_losses())))


def vit_loss(model, case, step=0):
    batch = 6
    images = numbers(f"{case}/x{step}", (batch, 1, 12, 12), 2.0).requires_grad_()
    labels = torch.tensor([(3 * i + step) % 5 for i in range(batch)])
    logits = model(images)
    return images, logits, F.cross_entropy(logits, labels, label_smoothing=0.1)


def vit_case(case):
    g, m = Golden(case), make_vit(case)
    images, logits, loss = vit_loss(m, case)
    balance = m.balance()
    (loss + balance).backward()
    g.values("loss", loss.item())
    g.values("balance", balance.item())
    dropped = [int((~b.moe.kept).sum()) for b in m.blocks]
    g.values("dropped", *dropped)
    choices = m.blocks[0].moe.kept.numel()
    print(f"  loss {loss.item():.4f}, balance {balance.item():.4f}, dropped {dropped} of {choices}")
    g.values("logits", *logits.reshape(-1).tolist())
    g.tensor("dx", images.grad)
    g.parameters("grad", m, lambda p: p.grad)
    g.write()


def decays(name):
    """Weight decay is for matrices of linear maps only."""
    return not (name.endswith("bias") or "norm" in name or "router" in name or "pos_embed" in name)


def optimizer_case(case, make):
    """The loss of five steps, and the parameters after them."""
    g, m = Golden(case), make_vit(case)
    named = list(m.named_parameters())
    optimizer = make([
        {"params": [p for n, p in named if decays(n)], "weight_decay": 0.05},
        {"params": [p for n, p in named if not decays(n)], "weight_decay": 0.0},
    ])
    losses = []
    for step in range(5):
        optimizer.zero_grad(set_to_none=False)
        _, _, loss = vit_loss(m, case, step)
        loss = loss + m.balance()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print("  losses", " ".join(f"{x:.4f}" for x in losses))
    g.values("losses", *losses)
    g.parameters("param", m, lambda p: p)
    g.write()


def hessian_case(case, rows=33, dim=4, classes=3):
    """The whole Hessian of the mean cross-entropy of a small sparse net by double backward, and its eigenvalues by LAPACK."""
    m = nn.Sequential()
    m.add_module("stem", nn.Linear(dim, dim))
    m.add_module("moe", MoE(dim, 5, 3, renormalised=True))
    m.add_module("head", nn.Linear(dim, classes))
    g, m = Golden(case), filled(case, m)
    x, labels = numbers(f"{case}/x", (rows, dim), 2.0), torch.arange(rows) % classes
    named = list(m.named_parameters())
    sizes = [p.numel() for _, p in named]

    def loss(flat):
        parts = {n: v.reshape(p.shape) for (n, p), v in zip(named, flat.split(sizes))}
        return F.cross_entropy(torch.nn.utils.stateless.functional_call(m, parts, x), labels)

    flat = torch.cat([p.detach().reshape(-1) for _, p in named])
    h = torch.autograd.functional.hessian(loss, flat)
    assert (h - h.T).abs().max() < 1e-14 * h.abs().max() + 1e-15
    values = np.linalg.eigvalsh(h.numpy())[::-1]
    print(f"  loss {loss(flat).item():.4f}, eigenvalues {values[:3]} .. {values[-1]}")
    g.values("loss", loss(flat).item())
    g.values("largest", *values[:5])
    g.values("smallest", values[-1])
    g.values("trace", np.trace(h.numpy()))
    g.values("frobenius", np.linalg.norm(h.numpy()))
    g.write()


def maps_case(case, batch=3):
    """Feature maps: convolutions with strides and padding, plain and depthwise, group and batch norms, both kinds of pooling."""
    m = nn.Sequential()
    for name, layer in (
        ("conv1", nn.Conv2d(3, 12, 3, padding=1)),
        ("norm1", nn.GroupNorm(4, 12)),
        ("act1", nn.ReLU()),
        ("max", nn.MaxPool2d(3, 2, 1)),
        ("dw", nn.Conv2d(12, 12, 5, stride=2, padding=2, groups=12)),
        ("norm2", nn.GroupNorm(3, 12)),
        ("act2", nn.SiLU()),
        ("conv2", nn.Conv2d(12, 10, 2, bias=False)),
        ("norm3", nn.BatchNorm2d(10)),
        ("mean", nn.AvgPool2d(2, 1, 1)),
        ("pool", nn.AdaptiveAvgPool2d(1)),
        ("flat", nn.Flatten()),
        ("head", nn.Linear(10, 5)),
    ):
        m.add_module(name, layer)
    m = m.double()
    with torch.no_grad():
        for name, p in m.named_parameters():
            p.copy_(parameter(case, name, p.shape))
    g = Golden(case)
    x = numbers(f"{case}/x", (batch, 3, 14, 11), 2.0).requires_grad_()
    y = m(x)
    (y * numbers(f"{case}/dy", (batch, 5), 1.0)).sum().backward()
    g.tensor("y", y)
    g.tensor("dx", x.grad)
    g.parameters("grad", m, lambda p: p.grad)
    m.eval()
    g.tensor("y_eval", m(x))
    g.write()


def main():
    torch.manual_seed(0)  # PyTorch's own first values are overwritten; this keeps even those the same
    torch.set_num_threads(1)
    tokens, dim, hidden, experts = 37, 12, 20, 5
    # Loss weights are floats in the library: 0.7 is its nearest float.
    importance = {"importance": float(np.float32(0.7))}
    layer_case("moe_dropless", MoE(dim, hidden, experts, weights=importance), tokens, dim, dim)
    for case, group in (("moe_capacity", 0), ("moe_groups", 10)):
        layer_case(case, MoE(dim, hidden, experts, factor=0.8, group=group, weights=three_losses()), tokens, dim, dim)
    layer_case("mixture", Mixture(24, 16, 8, 10, weight=0.5), 29, 24, 10)
    vit_case("vit")
    hessian_case("hessian")
    maps_case("maps")
    # The gradient of the bias of k is zero but for rounding (softmax ignores a shift of its logits).  AdamW divides by
    # its size: eps far above rounding keeps that noise out of the parameters.
    optimizer_case("adamw", lambda groups: torch.optim.AdamW(groups, lr=2**-7, betas=(0.9, 0.999), eps=1e-5))
    optimizer_case("sgd", lambda groups: torch.optim.SGD(groups, lr=2**-7, momentum=0.9, nesterov=True))


if __name__ == "__main__":
    main()
