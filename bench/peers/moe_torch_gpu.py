#!/usr/bin/env python3
"""The layers of bench/gpu/gpu_bench in PyTorch and in libraries made for them, on a GPU: a table and JSON.

Softmax over all experts in fp32, top-k gates as they are, bf16 MLP experts with tanh GELU and biases; dropless, or with
capacity 1.0 (first choices before second ones, then token order).  Popularity of experts as in gpu/layer_case.cuh:
column 0 of x is 1 and the router's column 0 is log(1 / rank) for "zipf".

  loop             choices sorted by expert, two addmm per expert, rows moved by gathers in both directions
  loop_compiled    the same through torch.compile (graph breaks where it reads counts)
  grouped          torch's grouped product (F.grouped_mm, or torch._grouped_mm in older versions) on groups padded to 8
                   rows, which its weight gradient asks for; dropless it reads no counts on the host
  grouped_compiled the same through torch.compile
  scattermoe, megablocks, sonicmoe   those libraries, dropless, where they can be imported; what differs is noted
  liger            Liger-Kernel's fused MoE (Triton), dropless.  Another layer: its experts are gated by SiLU, three
                   products; with 2/3 of the hidden width, so that they have the same FLOP, and no biases

Each variant has a process of its own (what one allocates, compiles or breaks, no other meets), the compiled ones last.  Timed
with CUDA events around batches of calls, medians.  "forward" is a training forward: what backward needs is kept.  Gradients are None before every backward, which
saves PyTorch one addition per parameter.
Status 77: no GPU or no PyTorch; 1: a variant failed that should run.
"""
import argparse
import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time

try:
    import torch
    import torch.nn.functional as F
except ImportError as e:
    print("moe_torch_gpu: PyTorch cannot be imported (%s); nothing was measured" % e, file=sys.stderr)
    sys.exit(77)

ROWS = {"R1": (65536, 768, 3072, 16, 2), "R2": (65536, 384, 1536, 16, 2), "R3": (16384, 192, 768, 8, 1),
        "R4": (65536, 768, 384, 64, 4), "V1": (25088, 192, 768, 8, 2), "V2": (25088, 384, 1536, 8, 1),
        "V3": (25088, 384, 1536, 32, 2), "V4": (65536, 192, 768, 8, 1), "V5": (8192, 384, 1536, 8, 1),
        "V6": (65536, 384, 1536, 8, 2), "V7": (65536, 768, 3072, 8, 2)}
# Compilations take minutes in all: last, as far as time goes.
VARIANTS = ["loop", "grouped", "scattermoe", "megablocks", "sonicmoe", "liger", "grouped_compiled", "loop_compiled"]
MODULES = {"scattermoe": "scattermoe", "megablocks": "megablocks", "sonicmoe": "sonicmoe", "liger": "liger_kernel"}
OWN = ("loop", "grouped", "loop_compiled", "grouped_compiled")
GROUP_ROWS = 8  # 16 bytes of bf16: what the grouped product's weight gradient wants of every group


class LeftOut(Exception):
    """A variant that cannot run here, with the reason."""


def short(e):
    lines = str(e).strip().splitlines()
    return "%s: %s" % (type(e).__name__, lines[0][:200] if lines else "")


class Gather(torch.autograd.Function):
    """Rows of x in slot order; backward adds up the slots of a token with a gather.  keep [T, k] or None."""

    @staticmethod
    def forward(ctx, x, token, slot_of, keep, k):
        ctx.save_for_backward(slot_of, keep)
        ctx.k = k
        return x.index_select(0, token)

    @staticmethod
    def backward(ctx, d_slots):
        slot_of, keep = ctx.saved_tensors
        d = d_slots.index_select(0, slot_of).view(-1, ctx.k, d_slots.shape[1])
        if keep is not None:
            # Not a product: what a dropped choice points at may be anything.
            d = d.masked_fill(~keep.unsqueeze(2), 0)
        return (d.squeeze(1) if ctx.k == 1 else d.sum(1)), None, None, None, None


class Combine(torch.autograd.Function):
    """y[t] = sum over j of gates[t, j] * out[slot_of[t, j]]; choice[s] is the choice in slot s, T * k: none."""

    @staticmethod
    def forward(ctx, out, gates, token, slot_of, choice):
        rows = out.index_select(0, slot_of).view(-1, gates.shape[1], out.shape[1])
        ctx.save_for_backward(rows, gates, token, choice)
        return torch.bmm(gates.unsqueeze(1), rows).squeeze(1)

    @staticmethod
    def backward(ctx, dy):
        rows, gates, token, choice = ctx.saved_tensors
        d_gates = torch.bmm(rows, dy.unsqueeze(2)).squeeze(2)
        weight = F.pad(gates.reshape(-1), (0, 1))  # of no choice: 0
        d_out = dy.index_select(0, token) * weight.index_select(0, choice).unsqueeze(1)
        return d_out, d_gates, None, None, None


class Moe:
    """Parameters of one layer, and the ways to compute it.  device and dtype can be CPU and fp32, for tests."""

    def __init__(self, row, zipf, capacity, device="cuda", dtype=torch.bfloat16, seed=1):
        self.tokens, dim, hidden, self.experts, self.k = row
        self.dim, self.hidden = dim, hidden
        g = torch.Generator(device=device).manual_seed(seed)

        def normal(*shape):
            return torch.randn(*shape, generator=g, device=device)

        def weight(*shape):
            bound = (6.0 / (dim + hidden)) ** 0.5
            return ((torch.rand(*shape, generator=g, device=device) * 2 - 1) * bound).to(dtype).requires_grad_()

        router = normal(self.experts, dim) * ((1.2825 if zipf else 1.0) / math.sqrt(dim))
        rank = torch.arange(1, self.experts + 1, device=device, dtype=torch.float32)
        router[:, 0] = -torch.log(rank) if zipf else 0.0
        self.router = router.requires_grad_()
        self.w1, self.w2 = weight(self.experts, hidden, dim), weight(self.experts, dim, hidden)
        self.b1 = torch.zeros(self.experts, hidden, device=device, dtype=dtype).requires_grad_()
        self.b2 = torch.zeros(self.experts, dim, device=device, dtype=dtype).requires_grad_()
        x = normal(self.tokens, dim)
        x[:, 0] = 1.0
        self.x = x.to(dtype).requires_grad_()
        self.dy = normal(self.tokens, dim).to(dtype)
        # None: unlimited.  A factor gives ceil(factor T K / E) places per expert, as capacity::bounded does.
        self.places = None if capacity is None else min(
            self.tokens, math.ceil(capacity * self.tokens * self.k / self.experts))

    def parameters(self):
        return [self.router, self.w1, self.w2, self.b1, self.b2]

    def scores(self):
        return torch.softmax(F.linear(self.x.float(), self.router), dim=1)

    def count(self, experts):
        """Times each expert occurs; without reading anything on the host, which bincount does."""
        zeros = torch.zeros(self.experts, dtype=torch.int64, device=experts.device)
        return zeros.scatter_add_(0, experts, torch.ones_like(experts))

    def route(self):
        """gates [T, k] (0 where dropped), token and choice per slot, slot_of [T * k], keep, counts [E]."""
        gates, chosen = self.scores().topk(self.k, dim=1)
        n, device = self.tokens * self.k, chosen.device
        if self.places is None:
            flat = chosen.reshape(-1)
            choice = torch.sort(flat, stable=True).indices
            counts = self.count(flat)
            slot_of = torch.empty_like(choice)
            slot_of[choice] = torch.arange(n, device=device)
            token = torch.div(choice, self.k, rounding_mode="floor")
            return gates.to(self.x.dtype), token, choice, slot_of, None, counts
        flat = chosen.t().reshape(-1)  # first choices of all tokens, then second ones
        sorted_expert, order = torch.sort(flat, stable=True)
        wished = self.count(flat)
        start = torch.cumsum(wished, 0) - wished
        rank = torch.arange(n, device=device) - start.index_select(0, sorted_expert)
        order = order[rank < self.places]  # waits for the device: how many are left decides the shapes
        token = order % self.tokens
        choice = token * self.k + torch.div(order, self.tokens, rounding_mode="floor")
        slot_of = torch.zeros(n, dtype=torch.int64, device=device)
        slot_of[choice] = torch.arange(choice.numel(), device=device)
        keep = torch.zeros(n, dtype=torch.bool, device=device)
        keep[choice] = True
        keep = keep.view(self.tokens, self.k)
        return (gates * keep).to(self.x.dtype), token, choice, slot_of, keep, wished.clamp(max=self.places)

    def loop(self):
        gates, token, choice, slot_of, keep, counts = self.route()
        rows = Gather.apply(self.x, token, slot_of, keep, self.k)
        outs = []
        # unbind: one gradient tensor for all experts, not one of the whole stack's size per expert
        weights = zip(self.w1.unbind(), self.b1.unbind(), self.w2.unbind(), self.b2.unbind())
        for part, (w1, b1, w2, b2) in zip(rows.split(counts.tolist()), weights):
            h = F.gelu(torch.addmm(b1, part, w1.t()), approximate="tanh")
            outs.append(torch.addmm(b2, h, w2.t()))
        return Combine.apply(torch.cat(outs), gates, token, slot_of, choice)

    def grouped(self):
        gates, token, choice, slot_of, keep, counts = self.route()
        n, device = token.numel(), token.device
        # Groups of whole GROUP_ROWS rows; the last one takes all rows that are left, so that every row belongs to one.
        # Rows in between read token 0 and have no choice: their gradient is 0.
        rows_in_all = -(-n // GROUP_ROWS) * GROUP_ROWS + GROUP_ROWS * self.experts
        ends = torch.cumsum((counts + GROUP_ROWS - 1) // GROUP_ROWS * GROUP_ROWS, 0)
        starts = F.pad(ends, (1, 0))[:-1]
        wanted = torch.bucketize(torch.arange(n, device=device), torch.cumsum(counts, 0), right=True)
        moved = torch.arange(n, device=device) + (starts - (torch.cumsum(counts, 0) - counts)).index_select(0, wanted)
        token = torch.zeros(rows_in_all, dtype=torch.int64, device=device).scatter_(0, moved, token)
        none = torch.full((rows_in_all,), self.tokens * self.k, dtype=torch.int64, device=device)
        choice = none.scatter_(0, moved, choice)
        slot_of = moved.index_select(0, slot_of)
        ends = torch.cat([ends[:-1], ends.new_full((1,), rows_in_all)]).to(torch.int32)
        rows = Gather.apply(self.x, token, slot_of, keep, self.k)
        expert = torch.bucketize(torch.arange(rows_in_all, device=device, dtype=torch.int32), ends, right=True)
        product = grouped_product()
        # Its bias argument is not supported: the rows of b1 and b2 are added.
        h = product(rows, self.w1.transpose(1, 2), offs=ends) + self.b1.index_select(0, expert)
        out = product(F.gelu(h, approximate="tanh"), self.w2.transpose(1, 2), offs=ends)
        out = out + self.b2.index_select(0, expert)
        return Combine.apply(out, gates, token, slot_of, choice)


def grouped_product():
    f = getattr(F, "grouped_mm", None) or getattr(torch, "_grouped_mm", None)
    if f is None:
        raise LeftOut("PyTorch %s has no grouped product" % torch.__version__)
    return f


def library(name, moe):
    """(call, parameters, note) of the layer in another library."""
    note = []
    if moe.places is not None:
        raise LeftOut("only the dropless layer is compared with libraries")
    if name == "scattermoe":
        from scattermoe.mlp import MLP
        mlp = MLP(moe.dim, moe.hidden, moe.experts, moe.k, activation=lambda h: F.gelu(h, approximate="tanh"))
        mlp = mlp.to(device="cuda", dtype=torch.bfloat16)
        note.append("experts without biases; router of this script")

        def call():
            gates, chosen = moe.scores().topk(moe.k, dim=1)
            return mlp(moe.x, gates.to(moe.x.dtype), chosen)
        return call, [moe.router, *mlp.parameters()], note
    if name == "megablocks":
        from megablocks.layers.arguments import Arguments
        from megablocks.layers.dmoe import dMoE
        last = None
        for impl in ("grouped", "sparse"):
            try:
                layer = dMoE(Arguments(hidden_size=moe.dim, ffn_hidden_size=moe.hidden, moe_num_experts=moe.experts,
                                       moe_top_k=moe.k, mlp_type="mlp", mlp_impl=impl, bias=False, return_bias=False,
                                       moe_loss_weight=0.0, fp16=False, bf16=True))
                break
            except Exception as e:  # a missing extension shows here
                last = e
        else:
            raise LeftOut(short(last))
        layer = layer.to(device="cuda", dtype=torch.bfloat16)
        with torch.no_grad():
            layer.router.layer.weight.copy_(moe.router)
        note.append("%s products, bf16 router, experts without biases" % impl)

        def call():
            y = layer(moe.x.view(1, moe.tokens, moe.dim))
            return (y[0] if isinstance(y, tuple) else y).view(moe.tokens, moe.dim)
        return call, list(layer.parameters()), note
    if name == "sonicmoe":
        from sonicmoe import KernelBackendMoE, MoE as SonicMoe
        from sonicmoe.enums import ActivationType
        layer = SonicMoe(num_experts=moe.experts, num_experts_per_tok=moe.k, hidden_size=moe.dim,
                         intermediate_size=moe.hidden, activation_function=ActivationType.GELU, add_bias=False,
                         std=0.02)
        layer = layer.to(device="cuda", dtype=torch.bfloat16)
        with torch.no_grad():
            layer.router.weight.copy_(moe.router)
        note.append("softmax over the chosen scores, bf16 router, experts without biases, with its balance loss")

        def call():
            return layer(moe.x, kernel_backend_moe=KernelBackendMoE.sonicmoe)[0]
        return call, list(layer.parameters()), note
    if name == "liger":
        from liger_kernel.ops.fused_moe import LigerFusedMoEFunction
        if 2 * moe.hidden % 3:
            raise LeftOut("no gated experts have the FLOP of a hidden width of %d" % moe.hidden)
        inner = 2 * moe.hidden // 3

        def weight(*shape):
            bound = (6.0 / (moe.dim + inner)) ** 0.5
            return ((torch.rand(*shape, device="cuda") * 2 - 1) * bound).to(torch.bfloat16).requires_grad_()

        gate_up, down = weight(moe.experts, 2 * inner, moe.dim), weight(moe.experts, moe.dim, inner)
        note.append("another layer of the same FLOP: experts gated by SiLU, hidden width %d, without biases; "
                    "gradients of gates by atomic additions" % inner)

        def call():
            gates, chosen = moe.scores().topk(moe.k, dim=1)
            return LigerFusedMoEFunction.apply(moe.x, gate_up, down, chosen.int(), gates.to(moe.x.dtype))
        return call, [moe.router, gate_up, down], note
    raise LeftOut("unknown variant")


def prepare(name, moe):
    if name == "loop":
        return moe.loop, moe.parameters(), []
    if name == "grouped":
        grouped_product()
        return moe.grouped, moe.parameters(), ["one more pass for each bias"]
    if name in ("loop_compiled", "grouped_compiled"):
        if not hasattr(torch, "compile"):
            raise LeftOut("PyTorch %s has no torch.compile" % torch.__version__)
        if name == "loop_compiled":
            return torch.compile(moe.loop), moe.parameters(), []
        grouped_product()
        return torch.compile(moe.grouped), moe.parameters(), []
    return library(name, moe)


def events_us(call):
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    call()
    end.record()
    end.synchronize()
    return 1e3 * start.elapsed_time(end)


def check_same(name, first, got):
    """Outputs and gradients of our own variants have to agree; everything has to be finite."""
    for what, value in got.items():
        if not torch.isfinite(value).all():
            raise RuntimeError("%s of %s is not finite" % (what, name))
        if name in OWN:
            want = first.setdefault(what, value)
            error = ((value - want).norm() / want.norm().clamp(min=1e-30)).item()
            if error > 3e-2:
                raise RuntimeError("%s of %s differs from the first variant's by %.2g" % (what, name, error))


def time_row(row, zipf, capacity, variants, seconds, over):
    """Figures per variant of one layer, and the reasons of those left out."""
    if over():
        return {}, {v: "time was up" for v in variants}, {}
    moe = Moe(row, zipf, capacity)
    ready, left_out, failed, first = {}, {}, {}, {}
    for v in variants:
        try:
            call, parameters, note = prepare(v, moe)
            if v in OWN and v != "loop" and not first:  # what it has to agree with
                y = moe.loop()
                y.backward(moe.dy)
                got = {"the output": y.detach().float(), "the input's gradient": moe.x.grad.float()}
                check_same("loop", first, got)

            def both(call=call, parameters=parameters):
                for p in (moe.x, *parameters):
                    p.grad = None
                y = call()
                y.backward(moe.dy)
                return y

            for _ in range(3):
                y = both()
            check_same(v, first, {"the output": y.detach().float(), "the input's gradient": moe.x.grad.float()})
            del y
            ready[v] = {"forward": call, "both": both, "note": note, "us": {"forward": [], "both": []}}
        except LeftOut as e:
            left_out[v] = str(e)
        except ImportError as e:
            left_out[v] = "cannot be imported: %s" % short(e)
        except Exception as e:
            (failed if v in ("loop", "grouped") else left_out)[v] = short(e)
    torch.cuda.synchronize()
    for r in ready.values():
        for p in ("forward", "both"):
            r[p + "_calls"] = max(1, min(50, int(5000 / max(events_us(r[p]), 1.0))))
    start, rounds = time.perf_counter(), 0
    while rounds < 5 or (time.perf_counter() - start < seconds and rounds < 200):
        for r in ready.values():
            for p in ("forward", "both"):
                n, f = r[p + "_calls"], r[p]

                def batch():
                    for _ in range(n):
                        f()
                r["us"][p].append(events_us(batch) / n)
        rounds += 1
    figures = {v: {"forward_us": statistics.median(r["us"]["forward"]), "both_us": statistics.median(r["us"]["both"]),
                   "batches": rounds, "note": "; ".join(r["note"])} for v, r in ready.items()}
    return figures, left_out, failed


def separate(a, variants, blocks, left, write):
    """Each variant by a process of its own; what they measured goes to the blocks.  What is not there needs none."""
    for v in variants:
        if v in MODULES and importlib.util.find_spec(MODULES[v]) is None:
            print("# %s left out: there is no module %s" % (v, MODULES[v]))
            for block in blocks.values():
                block["left_out"][v] = "cannot be imported: there is no module %s" % MODULES[v]
            continue
        sys.stdout.flush()
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "one.json")
            command = [sys.executable, os.path.abspath(__file__), "--variants", v, "--rows", a.rows, "--json", path,
                       "--capacities", a.capacities, "--routings", a.routings, "--seconds", str(a.seconds),
                       "--limit", str(max(left(), 0))]
            status = subprocess.call(command)
            try:
                with open(path) as f:
                    measured = {(b["row"], b["capacity"], b["routing"]): b for b in json.load(f)["blocks"]}
            except (OSError, ValueError):
                measured = {}
        for k, block in blocks.items():
            for kind in ("figures", "left_out", "failed"):
                block[kind].update(measured.get(k, {}).get(kind, {}))
            if not any(v in block[kind] for kind in ("figures", "left_out", "failed")):
                (block["failed"] if v in ("loop", "grouped") else block["left_out"])[v] = \
                    "its process ended with status %d" % status
        write()


def main():
    p = argparse.ArgumentParser(description="Times Mixture-of-Experts layers of PyTorch and other libraries on a GPU")
    p.add_argument("--rows", default=",".join(ROWS), help="of %s, or TxDxHxExK" % ",".join(ROWS))
    p.add_argument("--capacities", default="unlimited,1.0")
    p.add_argument("--routings", default="uniform,zipf")
    p.add_argument("--variants", default=",".join(VARIANTS))
    p.add_argument("--seconds", type=float, default=0.5, help="per row, capacity and routing")
    p.add_argument("--limit", type=float, default=1e9, help="seconds after which no row or compilation is begun")
    p.add_argument("--json", default="")
    p.add_argument("--one-process", action="store_true", help="all variants here, in turns")
    a = p.parse_args()
    rows = {}
    for r in a.rows.split(","):
        try:
            rows[r] = ROWS[r] if r in ROWS else tuple(int(v) for v in r.split("x"))
        except ValueError:
            rows[r] = ()
        if len(rows[r]) != 5:
            p.error("'%s' is no row: %s, or TxDxHxExK" % (r, ", ".join(ROWS)))
    variants, capacities, routings = a.variants.split(","), a.capacities.split(","), a.routings.split(",")
    for names, known, flag in ((variants, VARIANTS, "--variants"), (capacities, ["unlimited", "1.0"], "--capacities"),
                               (routings, ["uniform", "zipf"], "--routings")):
        for n in names:
            if n not in known:
                p.error("%s: '%s' is not one of %s" % (flag, n, ", ".join(known)))
    if not torch.cuda.is_available():
        print("moe_torch_gpu: PyTorch %s sees no GPU; nothing was measured" % torch.__version__, file=sys.stderr)
        return 77
    begin = time.perf_counter()

    def over():
        return time.perf_counter() - begin > a.limit

    def write():
        if a.json:
            with open(a.json + ".part", "w") as f:
                json.dump(result, f, indent=1)
            os.replace(a.json + ".part", a.json)

    result = {"program": "moe_torch_gpu", "torch": torch.__version__, "cuda": torch.version.cuda,
              "gpu": torch.cuda.get_device_name(0), "blocks": []}
    print("# %s, PyTorch %s, CUDA %s" % (result["gpu"], result["torch"], result["cuda"]))
    print("%-6s %-9s %-7s %-14s %12s %14s" % ("row", "capacity", "routing", "variant", "forward us", "fwd + bwd us"))
    blocks = {(name, c, r): {"row": name, "capacity": c, "routing": r, "figures": {}, "left_out": {}, "failed": {}}
              for name in rows for c in capacities for r in routings}
    result["blocks"] = list(blocks.values())
    if len(variants) > 1 and not a.one_process:
        separate(a, variants, blocks, lambda: a.limit - (time.perf_counter() - begin), write)
    else:
        for (name, capacity, routing), block in blocks.items():
            factor = None if capacity == "unlimited" else float(capacity)
            try:
                got = time_row(rows[name], routing == "zipf", factor, variants, a.seconds, over)
            except Exception as e:
                got = {}, {}, {",".join(variants): short(e)}
            if hasattr(torch, "compiler") and hasattr(torch.compiler, "reset"):
                torch.compiler.reset()  # otherwise the limit of recompilations is met after a few rows
            torch.cuda.empty_cache()
            for kind, values in zip(("figures", "left_out", "failed"), got):
                block[kind].update(values)
            head = (name, capacity, routing)
            for v, f in got[0].items():
                print("%-6s %-9s %-7s %-14s %12.1f %14.1f  %s" % (*head, v, f["forward_us"], f["both_us"], f["note"]))
            for v, why in got[1].items():
                print("# %s %s %s: %s left out: %s" % (*head, v, why))
            for v, why in got[2].items():
                print("# %s %s %s: %s FAILED: %s" % (*head, v, why))
            sys.stdout.flush()
            write()
    return 1 if any(b["failed"] for b in blocks.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
