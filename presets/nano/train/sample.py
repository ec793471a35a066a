"""Samples clips with the trained parts, scores them from pixels, and writes the model folder.

Sampler is a batched form of the pipeline's loop (fp32 latents, unrounded time steps); compare()
holds the stock HunyuanVideoPipeline beside the engine. Held-out combinations only.
"""
import json
import os
import shutil
import subprocess
import tempfile
import time

import numpy as np
import torch

import scoring
import vae as vae_stage
import world
from optim import Log
from text import Encoders
from transformer import GUIDANCE

STEPS, SCHEDULER_SHIFT, CFG = 20, 7.0, 2.0
PARTS = dict(vae="AutoencoderKLHunyuanVideo", transformer="HunyuanVideoTransformer3DModel",
             text_encoder="LlamaModel", text_encoder_2="CLIPTextModel")
LIMIT = 16_000_000
ABOUT = """\
# It knows balls, squares, triangles, stars and hearts in eight colours that stay, move, grow or
# shrink over plain or drawn backgrounds (sky, grass, night, sand, sunset): one of them, two, or one
# and a cut to another background.
"""


class Sampler:
    def __init__(self, state):
        from diffusers import HunyuanVideoTransformer3DModel
        self.text, self.vae = Encoders(state), vae_stage.load(os.path.join(state, "vae"))
        self.model = HunyuanVideoTransformer3DModel.from_pretrained(
            os.path.join(state, "transformer")).float().eval()

    @torch.no_grad()
    def latents(self, captions, seed, steps=STEPS, shift=SCHEDULER_SHIFT, cfg=CFG, negative="",
                frames=17, height=128, width=128):
        n = len(captions)
        conditions = [self.text(captions)]
        if cfg > 1:
            conditions.append(self.text([negative] * n))
        x = torch.randn(n, 16, (frames - 1) // 4 + 1, height // 8, width // 8,
                        generator=torch.Generator().manual_seed(seed))
        u = torch.linspace(1, 0, steps + 1)
        sigmas = shift * u / (1 + (shift - 1) * u)
        guidance = torch.full((n,), GUIDANCE)
        for sigma, following in zip(sigmas[:-1], sigmas[1:]):
            with torch.autocast("cpu", torch.bfloat16):
                v = [self.model(x, (sigma * 1000).expand(n), h, m, p, guidance,
                                return_dict=False)[0].float() for h, m, p in conditions]
            v = v[0] if len(v) == 1 else v[1] + cfg * (v[0] - v[1])
            x = x + v * (following - sigma)
        return x

    @torch.no_grad()
    def decode(self, latents):
        clips = []
        for z in latents:
            with torch.autocast("cpu", torch.bfloat16):
                y = self.vae.decode(z[None] / self.vae.config.scaling_factor).sample.float()
            clips.append(vae_stage.to_pixels(y[0]))
        return clips


def evaluate(state, count=24, seed=123, held=True, kinds=tuple(world.KINDS), name="samples",
             log=None, **settings):
    """Scores `count` clips of each kind, half of the captions Chinese; writes a contact sheet."""
    log = log or Log(os.path.join(state, "score.log"))
    sampler, rng, shown, table = Sampler(state), np.random.default_rng(seed), [], {}
    for kind in kinds:
        scenes = [world.random_scene(rng, kind, held) for _ in range(count)]
        captions = [world.caption(s, rng, zh=i % 2 == 1) for i, s in enumerate(scenes)]
        began, clips = time.time(), []
        for i in range(0, count, 8):
            clips += sampler.decode(sampler.latents(captions[i:i + 8], seed + i, **settings))
        results = [scoring.score(v, s) for v, s in zip(clips, scenes)]
        table[kind] = scoring.summary(results)
        log(f"score {kind} {'held-out' if held else 'seen'} n={count} {settings or ''} "
            f"{(time.time() - began) / count:.1f} s a clip", json.dumps(table[kind]),
            "en/zh all:", *[scoring.summary(results[i::2])["all"] for i in (0, 1)])
        for v, c, r in list(zip(clips, captions, results))[:6]:
            log("   ", c, "| wrong:", ", ".join(k for k, ok in r.items() if not ok) or "nothing")
            shown.append(v)
    scoring.sheet(shown, os.path.join(state, name + ".png"))
    return table


def export(state, out):
    """Joins the parts into one diffusers folder in bf16, and refuses one that is too large."""
    import diffusers
    import transformers
    os.makedirs(out, exist_ok=True)
    index = {"_class_name": "HunyuanVideoPipeline", "_diffusers_version": diffusers.__version__,
             "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
             "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
             "tokenizer_2": ["transformers", "CLIPTokenizer"]}
    for part, kind in PARTS.items():
        library = transformers if part.startswith("text") else diffusers
        model = getattr(library, kind).from_pretrained(os.path.join(state, part))
        if hasattr(model, "register_to_config"):
            model._internal_dict = {k: v for k, v in model.config.items() if k != "_name_or_path"}
        model.bfloat16().save_pretrained(os.path.join(out, part))
        index[part] = [library.__name__, kind]
    for part in ("tokenizer", "tokenizer_2"):
        shutil.copytree(os.path.join(state, part), os.path.join(out, part), dirs_exist_ok=True)
    diffusers.FlowMatchEulerDiscreteScheduler(shift=SCHEDULER_SHIFT).save_pretrained(
        os.path.join(out, "scheduler"))
    with open(os.path.join(out, "model_index.json"), "w", encoding="utf-8") as f:
        json.dump(dict(sorted(index.items())), f, indent=2)
    words = sorted(world.english_words()) + sorted(world.chinese_words())
    with open(os.path.join(out, "vocabulary.txt"), "w", encoding="utf-8") as f:
        f.write(ABOUT + "".join(w + "\n" for w in words))
    parts = list(PARTS) + ["tokenizer", "tokenizer_2", "scheduler"]
    sizes = {p: sum(e.stat().st_size for e in os.scandir(os.path.join(out, p))) for p in parts}
    print({k: f"{v / 1e6:.2f} MB" for k, v in sizes.items()}, f"{sum(sizes.values()) / 1e6:.2f} MB")
    if sum(sizes.values()) > LIMIT:
        raise SystemExit(f"the model is larger than {LIMIT} bytes")


def pipeline(root, prompt, seed, steps=STEPS, cfg=CFG, size=(128, 128), frames=17):
    """One clip through the stock pipeline in fp32, uint8 (frames, height, width, 3)."""
    from diffusers import HunyuanVideoPipeline
    pipe = HunyuanVideoPipeline.from_pretrained(root, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    # The published rule cuts long clips only; diffusers would cut these into temporal tiles.
    pipe.vae.use_framewise_decoding = False
    video = pipe(prompt=prompt, negative_prompt="", true_cfg_scale=cfg, width=size[0],
                 height=size[1], num_frames=frames, num_inference_steps=steps,
                 guidance_scale=GUIDANCE / 1000, output_type="np",
                 generator=torch.Generator().manual_seed(seed)).frames[0]
    return (video * 255).round().astype(np.uint8)


def compare(root, ffmpeg, count, seed=11):
    """The stock pipeline's frames beside those of the patched ffmpeg: `count` held-out prompts,
    half of them Chinese, half with true guidance. Stops the program if a value differs by more
    than 1 of 255."""
    rng, worst, other, values = np.random.default_rng(seed), 0, 0, 0
    for i in range(count):
        prompt = world.caption(world.random_scene(rng, held=True), rng, zh=i % 2 == 1)
        cfg = 1 + i // 2 % 2
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as f:
            f.write(prompt)
            f.flush()
            source = (f"hunyuanvideo=model={root}:seed={seed + i}:cfg={cfg}:promptfile={f.name},"
                      "format=gbrp")
            raw = subprocess.run([ffmpeg, "-nostdin", "-v", "error", "-f", "lavfi", "-i", source,
                                  "-pix_fmt", "rgb24", "-f", "rawvideo", "-"], check=True,
                                 stdout=subprocess.PIPE).stdout
        theirs = pipeline(root, prompt, seed + i, cfg=cfg).astype(int)
        d = np.abs(np.frombuffer(raw, np.uint8).reshape(theirs.shape) - theirs)
        worst, other, values = max(worst, d.max()), other + (d > 0).sum(), values + d.size
        print(f"{prompt} | largest difference {d.max()}, {(d > 0).mean() * 100:.4f} % of values",
              flush=True)
    print(f"{count} clips: {worst} at most, {other} of {values} values differ")
    if worst > 1:
        raise SystemExit(1)
