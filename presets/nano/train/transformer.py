"""Trains the transformer (diffusers' HunyuanVideoTransformer3DModel) on cached VAE latents.

Rectified flow: x = (1 - sigma) data + sigma noise, the target is noise - data. The loss is
weighted up where objects are, for the background is most of the picture and learnt first.
Single objects come more often at first. Captions are drawn anew each time and are empty now and
then, so that true guidance with a negative prompt works. Latents lie in shards, so that a
cache can grow while training goes on. Must not know how the VAE or the encoders were trained.
"""
import glob
import math
import os

import numpy as np
import torch
import torch.nn.functional as F

import attention
import vae as vae_stage
import world
from optim import Log, Optimizer, Run, save_atomically
from text import Encoders

CONFIG = dict(
    in_channels=16, out_channels=16, num_attention_heads=5, attention_head_dim=32, num_layers=2,
    num_single_layers=4, num_refiner_layers=2, mlp_ratio=4.0, patch_size=2, patch_size_t=1,
    qk_norm="rms_norm", guidance_embeds=True, text_embed_dim=128, pooled_projection_dim=128,
    rope_theta=256.0, rope_axes_dim=(8, 12, 12), image_condition_type=None)
SHARD = 250                    # clips a file,
TOGETHER = 10                  # encoded in one call: twice as fast as one by one
CAPTION_TOKENS = 40            # captions are padded to this: the compiled step has one shape
BATCH = 16
SHIFT = 3.0                    # of the noise levels
OBJECT_WEIGHT = 7.0
EMPTY = 0.1                    # share of empty captions
GUIDANCE = 6016.0              # embedded guidance as the pipeline sends it: 1000 times, in bf16
CFG_PER_SCALE = 0.3            # distilled: an embedded guidance of 6 is a true one of 2.5

# ------------------------------------------------------------------------------ latents


def _near_object(cover):
    """Coverage (frames, height, width) -> bool (latent frames, height / 8, width / 8): where an
    object is, or next to it. Latent frame 0 is frame 0, the others four frames each."""
    c = torch.from_numpy(cover)[None, None]
    c = torch.cat([c[:, :, :1].expand(-1, -1, 3, -1, -1), c], 2)
    c = F.max_pool3d(c, (4, 8, 8))
    return F.max_pool3d(c, (1, 3, 3), 1, (0, 1, 1))[0, 0] > 0.02


def shards(state):
    return sorted(glob.glob(os.path.join(state, "latents", "*.pt")))


@torch.no_grad()
def cache(state, clips, seed):
    """Adds shards of encoded clips until there are `clips`. One shard is a function of the seed,
    its number and the VAE."""
    log = Log(os.path.join(state, "cache.log"))
    vae = vae_stage.load(os.path.join(state, "vae"))
    os.makedirs(os.path.join(state, "latents"), exist_ok=True)
    for number in range(len(shards(state)), math.ceil(clips / SHARD)):
        rng = np.random.default_rng([seed, 4, number])
        scenes, latents, near = [world.random_scene(rng) for _ in range(SHARD)], [], []
        for i in range(0, SHARD, TOGETHER):
            clips, covers = zip(*(world.render(s, masks=True) for s in scenes[i:i + TOGETHER]))
            with torch.autocast("cpu", torch.bfloat16):
                mean = vae.encode(vae_stage.to_tensor(clips)).latent_dist.mean.float()
            latents.append((mean * vae.config.scaling_factor).bfloat16())
            near += [_near_object(c) for c in covers]
        save_atomically(dict(scenes=scenes, latents=torch.cat(latents), near=torch.stack(near)),
                        os.path.join(state, "latents", f"{number:04d}.pt"))
        log(f"cache: {(number + 1) * SHARD} clips")


class Latents:
    """All shards there are; look() takes in those that were added since."""

    def __init__(self, state):
        self.state, self.files, self.scenes, self.parts = state, [], [], []
        self.look()

    def look(self):
        added = [p for p in shards(self.state) if p not in self.files]
        if self.files and not added:
            return
        for path in added:
            shard = torch.load(path, weights_only=False)
            self.files.append(path)
            self.scenes += shard["scenes"]
            self.parts.append((shard["latents"], shard["near"]))
        if not self.parts:
            raise SystemExit("no latents: run the stage 'cache' first")
        self.latents, self.near = (torch.cat(x) for x in zip(*self.parts))
        self.by_kind = {k: [i for i, s in enumerate(self.scenes) if s["kind"] == k]
                        for k in world.KINDS}

    def draw(self, rng, count, progress):
        """Indices; single objects are 80 % at the start, and from a third on the harder kinds come
        more often than in the world."""
        k = min(1.0, progress * 3)
        shares = {n: p * k + (1 - k) * {"one": 0.8, "cut": 0.1, "two": 0.1}[n]
                  for n, p in {"one": 0.3, "cut": 0.4, "two": 0.3}.items()}
        kinds = rng.choice(list(shares), size=count, p=list(shares.values()))
        return [self.by_kind[k][int(rng.integers(len(self.by_kind[k])))] for k in kinds]


# ------------------------------------------------------------------------------ training


def make():
    """A new transformer; modulations and output start at zero, so blocks start as the identity."""
    from diffusers import HunyuanVideoTransformer3DModel
    model = HunyuanVideoTransformer3DModel(**CONFIG)
    zero = ("norm1.linear", "norm1_context.linear", ".norm.linear", "norm_out.linear", "proj_out")
    for name, p in model.named_parameters():
        if any(z in name for z in zero) and not ("single" in name and "proj_out" in name):
            torch.nn.init.zeros_(p)
    return model


def _fit(states, mask):
    """Pads or cuts the text to CAPTION_TOKENS."""
    extra = CAPTION_TOKENS - states.shape[1]
    if extra >= 0:
        return F.pad(states, (0, 0, 0, extra)).contiguous(), F.pad(mask, (0, extra))
    return states[:, :CAPTION_TOKENS].contiguous(), mask[:, :CAPTION_TOKENS].contiguous()


def _draw(data, index, rng):
    """(near objects, noisy latents, their velocity, sigma, captions) of one batch."""
    n = len(index)
    captions = ["" if rng.random() < EMPTY else world.caption(data.scenes[i], rng) for i in index]
    index = torch.as_tensor(index)
    x0, near = data.latents[index].float(), data.near[index][:, None].float()
    u = (torch.rand(n) + torch.arange(n)) / n                # stratified
    sigma = SHIFT * u / (1 + (SHIFT - 1) * u)
    noise, s = torch.randn_like(x0), sigma[:, None, None, None, None]
    return near, (1 - s) * x0 + s * noise, noise - x0, sigma, captions


def _condition(encoders, captions):
    """(states, mask, pooled), padded to one length."""
    states, mask, pooled = encoders(captions)
    return *_fit(states, mask), pooled


def _velocity(model, x, sigma, condition, guidance):
    with torch.autocast("cpu", torch.bfloat16):
        return model(x, sigma * 1000, *condition, guidance, return_dict=False)[0].float()


def _error(v, target, near):
    """(weighted loss, mean squared error, mean squared error near objects)"""
    error = (v - target).pow(2).mean(1, keepdim=True)
    weight = 1 + (OBJECT_WEIGHT - 1) * near
    seen = error.detach()
    return ((error * weight).mean() / weight.mean(), seen.mean().item(),
            ((seen * near).sum() / near.sum().clamp(min=1)).item())


def _loss(model, encoders, data, index, rng):
    """Flow matching on one batch; see _error."""
    near, x, target, sigma, captions = _draw(data, index, rng)
    # The pipeline's own value half the time, else any: the scale is ignored, not undefined.
    guidance = torch.where(torch.rand(len(index)) < 0.5, torch.tensor(GUIDANCE),
                           (1 + 9 * torch.rand(len(index))) * 1000)
    v = _velocity(model, x, sigma, _condition(encoders, captions), guidance)
    return _error(v, target, near)


def _distill_loss(model, teacher, encoders, data, index, rng):
    """Teaches the embedded guidance: for a scale g the student is to give in one evaluation what
    the teacher gives in two, cond + CFG_PER_SCALE (g - 1) (cond - empty). An empty caption stays
    what it was, so that true guidance goes on working."""
    near, x, _, sigma, captions = _draw(data, index, rng)
    n = len(index)
    scale = 1 + 9 * torch.rand(n)
    scale = torch.where(torch.rand(n) < 0.5, torch.tensor(GUIDANCE / 1000), scale)
    condition = _condition(encoders, captions)
    fixed = torch.full((n,), GUIDANCE)
    with torch.no_grad():
        cond = _velocity(teacher, x, sigma, condition, fixed)
        empty = _velocity(teacher, x, sigma, _condition(encoders, [""] * n), fixed)
        more = CFG_PER_SCALE * (scale - 1)
        target = cond + more[:, None, None, None, None] * (cond - empty)
    return _error(_velocity(model, x, sigma, condition, scale * 1000), target, near)


def _load(folder):
    return type(make()).from_pretrained(folder).float()


def _run(state, name, model, minutes, seed, lr):
    """The optimizer's run, and the model to call: compiling takes minutes once, then a step takes
    half the time."""
    named = list(model.named_parameters())
    plain = ["x_embedder", "embedder.linear_1", "proj_in"]
    plain += [n for n, _ in named if n.startswith("proj_out")]
    opt = Optimizer(named, lr=lr, plain=plain)
    run = Run(os.path.join(state, name + ".pt"), model, opt, minutes, seed)
    compiles = os.environ.get("COMPILE", "1") != "0"
    return run, torch.compile(model, dynamic=False) if compiles else model


def _optimize(state, log, name, run, data, loss_of, every, batch):
    """loss_of(indices) -> what _error gives, until the time is used up."""
    log(f"{name}: {sum(p.numel() for p in run.model.parameters())} parameters, "
        f"{len(data.scenes)} clips, latent std {data.latents.float().std():.3f}, from step "
        f"{run.at['step']}, {run.at['used']:.0f} of {run.total:.0f} s")
    recent = []
    while run.goes_on():
        with attention.fast():
            loss, mean, objects = loss_of(data.draw(run.rng, batch, run.progress))
        recent.append((mean, objects))
        step = run.step(loss, tail=0.2)
        if step % 50 == 0:
            data.look()
            mean, objects = np.mean(recent[-50:], 0)
            log(f"{name} step {step} {run.clock.used:.0f}s loss {mean:.4f} near objects "
                f"{objects:.4f}")
        if every and step % 1000 == 0:
            run.keep()
            export(state, run.average.weights)
            every(step)
            run.clock.skip()
    run.keep()
    export(state, run.average.weights)


def train(state, minutes, seed, every=None, batch=BATCH):
    """Trains for `minutes` core-minutes; resumes from transformer.pt, else begins with the weights
    in transformer/ if there are any. every(step) is called each 1000 steps, with the averaged
    weights exported to transformer/."""
    log = Log(os.path.join(state, "transformer.log"))
    data, encoders = Latents(state), Encoders(state)
    torch.manual_seed(seed)
    folder = os.path.join(state, "transformer")
    known = os.path.exists(folder) and not os.path.exists(os.path.join(state, "transformer.pt"))
    run, model = _run(state, "transformer", _load(folder) if known else make(), minutes, seed, 1.5e-3)
    _optimize(state, log, "transformer", run, data,
              lambda index: _loss(model, encoders, data, index, run.rng), every, batch)


def distill(state, minutes, seed, every=None, batch=BATCH):
    """Puts true guidance into the embedded one, in `minutes` core-minutes; resumes from
    distilled.pt. The teacher is what transformer.pt holds, so train() can go on later."""
    log = Log(os.path.join(state, "transformer.log"))
    data, encoders = Latents(state), Encoders(state)
    teacher = make()
    teacher.load_state_dict(torch.load(os.path.join(state, "transformer.pt"),
                                       weights_only=False)["average"])
    teacher.requires_grad_(False)
    student = make()
    student.load_state_dict(teacher.state_dict())
    torch.manual_seed(seed)
    run, model = _run(state, "distilled", student, minutes, seed, 5e-4)
    if model is not student:
        teacher = torch.compile(teacher, dynamic=False)
    _optimize(state, log, "distilled", run, data,
              lambda index: _distill_loss(model, teacher, encoders, data, index, run.rng), every,
              batch)


def export(state, weights):
    """Writes transformer/ in the state folder."""
    model = make()
    model.load_state_dict(weights)
    model.save_pretrained(os.path.join(state, "transformer"))
