"""Trains the VAE (diffusers' AutoencoderKLHunyuanVideo) on pieces of procedural clips.

Loss: squared and absolute error, weighted up near objects, plus a small KL term. Most steps see
crops around an object, the rest whole clips, because group norm runs over the whole clip and
must meet both. Measured: PSNR, and the scorer's attributes, on reconstructions of unseen clips.
Must not know the transformer or the text encoders.
"""
import json
import math
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F

import scoring
import world
from optim import Log, Optimizer, Run, swapped

CONFIG = dict(block_out_channels=(16, 32, 48, 48), layers_per_block=1, norm_num_groups=2)
KL_WEIGHT = 3e-4
OBJECT_WEIGHT = 3.0
# Frames behind a cut are the hardest: its causal convolutions still see the shot before.
KINDS = {"one": 0.4, "cut": 0.45, "two": 0.15}


class _ReplicatePad(torch.autograd.Function):
    """Replicates edges as the model's causal convolutions want: one copy forward, one backward.
    Same values as F.pad(mode="replicate"), which autocast would run in fp32, four times slower."""

    @staticmethod
    def forward(ctx, x, sides):
        left, right, top, bottom, before, after = sides
        ctx.sides, ctx.shape = sides, x.shape
        b, c, t, h, w = x.shape
        y = x.new_empty(b, c, t + before + after, h + top + bottom, w + left + right)
        y[:, :, before:before + t, top:top + h, left:left + w] = x
        mid = y[:, :, before:before + t]
        if left:
            mid[..., top:top + h, :left] = x[..., :1]
        if right:
            mid[..., top:top + h, left + w:] = x[..., -1:]
        if top:
            mid[..., :top, :] = mid[..., top:top + 1, :]
        if bottom:
            mid[..., top + h:, :] = mid[..., top + h - 1:top + h, :]
        if before:
            y[:, :, :before] = y[:, :, before:before + 1]
        if after:
            y[:, :, before + t:] = y[:, :, before + t - 1:before + t]
        return y

    @staticmethod
    def backward(ctx, g):
        left, right, top, bottom, before, after = ctx.sides
        _, _, t, h, w = ctx.shape
        mid = g[:, :, before:before + t].clone()
        if before:
            mid[:, :, 0] += g[:, :, :before].sum(2)
        if after:
            mid[:, :, -1] += g[:, :, before + t:].sum(2)
        if top:
            mid[..., top, :] += mid[..., :top, :].sum(-2)
        if bottom:
            mid[..., top + h - 1, :] += mid[..., top + h:, :].sum(-2)
        mid = mid[..., top:top + h, :]
        if left:
            mid[..., left] += mid[..., :left].sum(-1)
        if right:
            mid[..., left + w - 1] += mid[..., left + w:].sum(-1)
        return mid[..., left:left + w], None


def _fast_padding(model):
    for m in model.modules():
        if type(m).__name__ == "HunyuanVideoCausalConv3d":
            sides = tuple(m.time_causal_padding)

            def forward(x, conv=m.conv, sides=sides):
                return conv(_ReplicatePad.apply(x, sides) if any(sides) else x)

            m.forward = forward


def make():
    """A new VAE whose residual blocks start as the identity, resamplers as plain resampling and
    whose first layers pass colours through: several hundred steps ahead of the default start."""
    from diffusers import AutoencoderKLHunyuanVideo
    vae = AutoencoderKLHunyuanVideo(**CONFIG)
    vae.use_framewise_encoding = vae.use_framewise_decoding = False
    with torch.no_grad():
        for name, m in vae.named_modules():
            kind = type(m).__name__
            if kind.endswith("ResnetBlockCausal3D"):
                m.conv2.conv.weight.zero_()
                m.conv2.conv.bias.zero_()
            if kind == "Attention":
                m.to_out[0].weight.zero_()
                m.to_out[0].bias.zero_()
            if kind.endswith(("UpsampleCausal3D", "DownsampleCausal3D")):
                w = m.conv.conv.weight.mul_(0.3)
                for c in range(len(w)):
                    w[c, c, 2, 1, 1] += 0.5
                    w[c, c, 1:] += 0.5 / 18
            if name in ("encoder.conv_in", "decoder.conv_in"):
                w = m.conv.weight.mul_(0.5 if name[0] == "e" else 0.3)
                for c in range(len(w)):
                    w[c, c % w.shape[1], 2, 1, 1] += 1 - 2 * (c // w.shape[1] % 2)
            if name.endswith("conv_shortcut"):
                torch.nn.init.orthogonal_(m.conv.weight.view(m.conv.weight.shape[:2]))
        vae.quant_conv.weight.zero_()
        vae.quant_conv.bias.zero_()
        for c in range(32):
            vae.quant_conv.weight[c, c] = 1.0 if c < 16 else 0.1
        vae.quant_conv.bias[16:] = -4.0                      # little noise at the start
    _fast_padding(vae)
    return vae


def load(folder):
    """A trained VAE in fp32 that encodes and decodes clips in one piece."""
    from diffusers import AutoencoderKLHunyuanVideo
    vae = AutoencoderKLHunyuanVideo.from_pretrained(folder).float().eval()
    vae.use_framewise_encoding = vae.use_framewise_decoding = False
    _fast_padding(vae)
    return vae


def to_tensor(clips):
    """uint8 (clips, frames, height, width, 3) -> fp32 (clips, 3, frames, height, width), -1..1"""
    return torch.from_numpy(np.stack(clips)).permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def to_pixels(y):
    """fp32 (3, frames, height, width), -1..1 -> uint8 (frames, height, width, 3)"""
    return ((y.permute(1, 2, 3, 0) / 2 + 0.5).clamp(0, 1) * 255).round().byte().numpy()


def _batch(rng, whole):
    """(pixels, weights): one whole clip, or three 64x64x9 or two 48x48x17 crops near objects."""
    if whole:
        count, frames, side = 1, 17, 128
    else:
        count, frames, side = (3, 9, 64) if rng.random() < 0.6 else (2, 17, 48)
    clips, covers = [], []
    for _ in range(count):
        scene = world.random_scene(rng, str(rng.choice(list(KINDS), p=list(KINDS.values()))))
        part = None
        if not whole:
            f0 = 4 * int(rng.integers(scene["kind"] == "cut" and frames < 17,
                                      (17 - frames) // 4 + 1))
            objects, _ = world.tracks(scene, 17)
            _, _, x, y, _ = objects[int(rng.integers(len(objects)))]
            jitter = rng.normal(0, side / 5, 2)
            cx = int(np.clip(x[f0 + frames // 2] * 128 - side / 2 + jitter[0], 0, 128 - side))
            cy = int(np.clip(y[f0 + frames // 2] * 128 - side / 2 + jitter[1], 0, 128 - side))
            part = (f0, frames, cy, cx, side, side)
        clip, cover = world.render(scene, 17, 128, 128, part, masks=True)
        clips.append(clip)
        covers.append(cover)
    near = F.max_pool2d(torch.from_numpy(np.stack(covers)), 9, 1, 4)
    return to_tensor(clips), 1 + (OBJECT_WEIGHT - 1) * near[:, None]


@torch.no_grad()
def measure(vae, count=8, seed=99):
    """PSNR and scorer on reconstructions of unseen 128x128x17 clips, `count` of each kind."""
    rng, std, psnr, results, shown = np.random.default_rng(seed), [], [], [], []
    for kind in world.KINDS:
        for i in range(count):
            scene = world.random_scene(rng, kind, held=True)
            clip = world.render(scene)
            x = to_tensor([clip])
            with torch.autocast("cpu", torch.bfloat16):
                mean = vae.encode(x).latent_dist.mean.float()
                y = vae.decode(mean).sample.float()
            std.append(mean.std().item())
            psnr.append(10 * math.log10(4 / (y.clamp(-1, 1) - x).pow(2).mean().item()))
            pixels = to_pixels(y[0])
            results.append(scoring.score(pixels, scene))
            if i < 3:
                shown.append(np.concatenate([clip[[0, 4, 9, 13]], pixels[[0, 4, 9, 13]]]))
    return dict(psnr=float(np.mean(psnr)), worst=min(psnr), scores=scoring.summary(results),
                std=float(np.sqrt(np.mean(np.square(std)))), shown=shown)


def _report(run, state, log):
    """Measures the averaged weights."""
    with swapped(run.model, run.average.weights):
        m = measure(run.model)
    log(f"vae step {run.at['step']} {run.clock.used:.0f}s unseen: {m['psnr']:.2f} dB, worst "
        f"{m['worst']:.2f}, latent std {m['std']:.3f}", json.dumps(m["scores"]))
    scoring.sheet(m["shown"], os.path.join(state, "vae.png"), frames=range(8))
    run.clock.skip()
    return m


def _loss(vae, x, weight, encoder=True):
    """(loss, squared error, KL): both errors weighted, the KL over all latent elements. Without
    encoder its weights are left as they are, and the loss is what PSNR measures."""
    with torch.autocast("cpu", torch.bfloat16):
        with torch.set_grad_enabled(encoder):
            post = vae.encode(x).latent_dist
        mean, logvar = post.mean.float(), post.logvar.float()
        z = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean) if encoder else mean
        d = vae.decode(z).sample.float() - x
    kl = 0.5 * (mean.pow(2) + logvar.exp() - 1 - logvar).mean()
    if encoder:
        loss = (weight * (2 * d.pow(2) + 0.5 * d.abs())).mean() + KL_WEIGHT * kl
    else:
        loss = 20 * d.pow(2).mean()
    return loss, d.detach().pow(2).mean().item(), kl.item()


def _start(state, file):
    """The VAE to train: a new one, or the folder's where only its weights are at hand."""
    folder = os.path.join(state, "vae")
    known = os.path.exists(folder) and not os.path.exists(os.path.join(state, file))
    return load(folder).train() if known else make()


def _optimize(state, log, vae, run, encoder):
    """Draws, trains, measures now and then, until the run's time is used up. Whole clips are a
    fifth of the steps, half of them in the last quarter, and all if only the decoder learns."""
    measured, recent = run.at["used"], []
    with ThreadPoolExecutor(1) as pool:                      # draws the next batch meanwhile
        following = pool.submit(_batch, run.rng, False)
        while run.goes_on():
            x, weight = following.result()
            share = 1.0 if not encoder else 0.2 if run.progress < 0.75 else 0.5
            following = pool.submit(_batch, run.rng, run.rng.random() < share)
            loss, mse, kl = _loss(vae, x, weight, encoder)
            recent.append((mse, kl))
            if run.step(loss, tail=0.3) % 100 == 0:
                mse, kl = np.mean(recent[-100:], 0)
                log(f"vae step {run.at['step']} {run.clock.used:.0f}s crops "
                    f"{10 * math.log10(4 / mse):.2f} dB kl {kl:.3f}")
            if run.clock.used - measured > 900:
                measured = run.clock.used
                _report(run, state, log)
    run.keep()


def train(state, minutes, seed):
    """Trains until `minutes` core-minutes are used up; resumes from vae.pt in the state folder."""
    log = Log(os.path.join(state, "vae.log"))
    torch.manual_seed(seed)
    vae = _start(state, "vae.pt")
    opt = Optimizer(vae.named_parameters(), lr=2e-3, muon_lr=1e-3,
                    plain=("conv_in", "conv_out", "quant_conv"))
    run = Run(os.path.join(state, "vae.pt"), vae, opt, minutes, seed, decay=0.998)
    log(f"vae: {sum(p.numel() for p in vae.parameters())} parameters, from step {run.at['step']}, "
        f"{run.at['used']:.0f} of {run.total:.0f} s")
    _optimize(state, log, vae, run, encoder=True)
    m = _report(run, state, log)
    vae.load_state_dict(run.average.weights)
    vae.register_to_config(scaling_factor=round(1 / m["std"], 6))
    vae.save_pretrained(os.path.join(state, "vae"))


def train_decoder(state, minutes, seed):
    """More training of the decoder of vae/ alone: the latents, and so a transformer that was
    trained on them, keep their meaning. Resumes from decoder.pt."""
    log = Log(os.path.join(state, "vae.log"))
    torch.manual_seed(seed)
    vae = _start(state, "decoder.pt")
    scaling = load(os.path.join(state, "vae")).config.scaling_factor
    named = [(n, p) for n, p in vae.named_parameters()
             if n.startswith(("decoder", "post_quant_conv"))]
    opt = Optimizer(named, lr=2e-3, muon_lr=1e-3, plain=("conv_in", "conv_out", "quant_conv"))
    run = Run(os.path.join(state, "decoder.pt"), vae, opt, minutes, seed, decay=0.98)
    log(f"decoder: from step {run.at['step']}, {run.at['used']:.0f} of {run.total:.0f} s")
    _optimize(state, log, vae, run, encoder=False)
    _report(run, state, log)
    vae.load_state_dict(run.average.weights)
    vae.register_to_config(scaling_factor=scaling)
    vae.save_pretrained(os.path.join(state, "vae"))
