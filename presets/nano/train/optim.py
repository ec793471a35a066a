"""What all training stages share: the optimizer, averaged weights, the clock and checkpoints.

The optimizer is Muon for matrices (convolution kernels are flattened) and AdamW for all else.
The clock counts core-seconds, so pauses and other programs use up no schedule. Knows no model.
"""
import os
import time

import numpy as np
import torch


def orthogonalize(g, steps=5):
    """Newton-Schulz iteration towards the nearest orthogonal matrix, of every matrix of a stack
    [count, rows, columns]; in bf16, as its author does, for it need not be exact."""
    flip = g.size(1) > g.size(2)
    x = g.mT if flip else g
    x = (x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)).bfloat16()
    for _ in range(steps):
        a = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(a, a, a, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return (x.mT if flip else x).float()


class Optimizer:
    """Muon and AdamW in one. `plain` names matrices that AdamW takes: inputs and outputs."""

    def __init__(self, named, lr, muon_lr=None, decay=0.01, plain=()):
        self.matrices, rest = [], []
        for name, p in named:
            muon = p.ndim >= 2 and not any(s in name for s in plain)
            (self.matrices if muon else rest).append(p)
        self.momentum = [torch.zeros_like(p) for p in self.matrices]
        self.alike = {}                                      # matrices of one shape go together
        for p, m in zip(self.matrices, self.momentum):
            self.alike.setdefault(p.flatten(1).shape, []).append((p, m))
        self.lr, self.muon_lr, self.decay = lr, muon_lr or lr, decay
        self.adam = torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True)

    @torch.no_grad()
    def step(self, factor):
        """One step; factor (0..1) scales both learning rates."""
        for group in self.adam.param_groups:
            group["lr"] = self.lr * factor
        self.adam.step()
        rate = self.muon_lr * factor
        for shape, pairs in self.alike.items():
            pairs = [(p, m) for p, m in pairs if p.grad is not None]
            if not pairs:
                continue
            weights, momentum = zip(*pairs)
            grads = [p.grad for p in weights]
            torch._foreach_lerp_(momentum, grads, 0.05)
            ahead = torch.stack([g.flatten(1) for g in torch._foreach_lerp(grads, momentum, 0.95)])
            update = orthogonalize(ahead) * (0.2 * max(shape) ** 0.5)
            torch._foreach_mul_(weights, 1 - rate * self.decay)
            torch._foreach_add_(weights, [u.view_as(p) for u, p in zip(update.contiguous(), weights)],
                                alpha=-rate)
            for p in weights:
                p.grad = None
        self.adam.zero_grad(set_to_none=True)

    def state_dict(self):
        return {"adam": self.adam.state_dict(), "momentum": self.momentum}

    def load_state_dict(self, state):
        self.adam.load_state_dict(state["adam"])
        for m, old in zip(self.momentum, state["momentum"]):
            m.copy_(old)


class Average:
    """Exponential average of a model's weights; short at the start."""

    def __init__(self, model, decay=0.999):
        self.model, self.decay, self.steps = model, decay, 0
        self.weights = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self):
        self.steps += 1
        d = min(self.decay, (1 + self.steps) / (10 + self.steps))
        now = self.model.state_dict()
        torch._foreach_lerp_([self.weights[k] for k in now], list(now.values()), 1 - d)


class swapped:
    """`with swapped(model, weights):` runs with other weights, then puts the old ones back."""

    def __init__(self, model, weights):
        self.model, self.weights = model, weights

    def __enter__(self):
        self.old = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.model.load_state_dict(self.weights)

    def __exit__(self, *_):
        self.model.load_state_dict(self.old)


class Clock:
    """Core-seconds that a stage has used, over all runs: what a schedule may count on when the
    machine is shared. Time stopped or starved does not move it."""

    def __init__(self, before=0.0):
        self.used, self.last = before, time.process_time()

    def tick(self):
        now = time.process_time()
        self.used += now - self.last
        self.last = now
        return self.used

    def skip(self):
        """Leaves out what was used since the last tick (measuring, saving)."""
        self.last = time.process_time()


class Run:
    """One stage's training run: what its checkpoint holds, and where its schedule stands.

    `at` is written into the checkpoint: steps and core-seconds so far. A process that goes on
    with a run warms up anew, for the learning rate may differ from where it stopped.
    """

    KEEP_EVERY = 120.0                                       # core-seconds

    def __init__(self, path, model, optimizer, minutes, seed, decay=0.999):
        self.path, self.model, self.opt, self.total = path, model, optimizer, minutes * 60.0
        self.average, self.at = Average(model, decay), dict(step=0, used=0.0)
        if os.path.exists(path):
            saved = torch.load(path, weights_only=False)
            model.load_state_dict(saved["model"])
            optimizer.load_state_dict(saved["opt"])
            self.average.weights, self.at = saved["average"], saved["at"]
            self.average.steps = self.at["step"]
        self.first, self.kept, self.clock = self.at["step"], self.at["used"], Clock(self.at["used"])
        self.rng = np.random.default_rng([seed, self.at["step"]])
        torch.manual_seed(seed + self.at["step"])

    @property
    def progress(self):
        return self.clock.used / self.total

    def goes_on(self):
        """Reads the clock and keeps a checkpoint now and then; False when the time is used up."""
        self.at["used"] = self.clock.tick()
        if self.clock.used - self.kept > self.KEEP_EVERY:
            self.keep()
        return self.clock.used < self.total

    def step(self, loss, tail):
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.opt.step(factor(self.progress, self.at["step"] - self.first, tail=tail))
        self.average.update()
        self.at["step"] += 1
        return self.at["step"]

    def keep(self):
        self.kept = self.clock.used
        save_atomically(dict(model=self.model.state_dict(), opt=self.opt.state_dict(),
                             average=self.average.weights, at=self.at), self.path)


def factor(progress, step, warm=50, tail=0.3):
    """Learning rate factor: short warm-up, constant, linear to nothing in the last `tail`."""
    return min(1.0, (step + 1) / warm) * max(0.0, min(1.0, (1 - progress) / tail))


def save_atomically(state, path):
    """A checkpoint that is never half written."""
    torch.save(state, path + ".part")
    os.replace(path + ".part", path)


class Log:
    """Prints and appends to a file, with the wall clock."""

    def __init__(self, path):
        self.path = path

    def __call__(self, *words):
        line = time.strftime("%H:%M:%S ") + " ".join(str(w) for w in words)
        print(line, flush=True)
        with open(self.path, "a", encoding="utf-8") as f:
            f.write(line + "\n")
