"""The two tokenizers and the two text encoders of the small model.

Tokenizers: byte-level BPE with the published split rules, trained on captions and on the prompt
templates, so that a template is as many tokens as in the published model (95 and 36).
Encoders: a Llama and a CLIP text model, trained alone to name a scene's attributes, then frozen.
Must not know the VAE or the transformer.
"""
import json
import os
import re

import numpy as np
import torch
import torch.nn.functional as F

import world
from optim import Log, Optimizer, Run

# The published prompt templates: part of the model's interface, so word for word.
PREFIX = (
    "<|start_header_id|>system<|end_header_id|>\n\nDescribe the video by detailing the following "
    "aspects: 1. The main content and theme of the video.2. The color, shape, size, texture, "
    "quantity, text, and spatial relationships of the objects.3. Actions, events, behaviors "
    "temporal relationships, physical movement changes of the objects.4. background environment, "
    "light, style and atmosphere.5. camera angles, movements, and transitions used in the video:"
    "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n")
IMAGE_PREFIX = (
    "<|start_header_id|>system<|end_header_id|>\n\nDescribe the image by detailing the color, "
    "shape, size, texture, quantity, text, spatial relationships of the objects and background:"
    "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n")
PREFIX_TOKENS, IMAGE_PREFIX_TOKENS = 95, 36
# Words that users of the published model put into prompts: one token each here too.
MORE_WORDS = (" according to the reference image assistant Aerial view, overexposed, low quality, "
              "deformation, a poor composition, bad hands, bad teeth, bad eyes, bad limbs, "
              "distortion")
LLAMA_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
               r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
CLIP_SPLIT = (r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|"
              r"[^\s\p{L}\p{N}]+")
SPECIAL = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
           "<|eot_id|>", "<unk>", "<image>", "<pad>"]
WIDTH = 128

# ------------------------------------------------------------------------------ tokenizers


def _corpus(joined=False):
    """Captions and templates. Chinese runs are cut into words, or tokens would join attributes;
    joined: each word with the start of a random next one, because CLIP's BPE marks word ends and
    must also meet words inside a run."""
    rng = np.random.default_rng(0)
    cut = re.compile("|".join(sorted(world.chinese_words(), key=len, reverse=True))
                     + "|[\u4e00-\u9fff，。]")
    out = [re.sub(r"<\|[a-z_]+\|>", "\n", PREFIX + IMAGE_PREFIX) + MORE_WORDS] * 400
    for _ in range(15000):
        text = world.caption(world.random_scene(rng), rng)
        words = cut.findall(text)
        if not words:
            out.append(text)
        elif not joined:
            out += words
        else:
            out += [w + words[int(rng.integers(len(words)))][0] for w in words]
    return out


def _byte_alphabet():
    """The printable stand-ins of bytes 0..255, in the order of both published vocabularies."""
    plain = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    rest = [i for i in range(256) if i not in plain]
    names = {i: chr(i) for i in plain} | {i: chr(256 + n) for n, i in enumerate(rest)}
    return [names[i] for i in plain + rest]


def _write_json(value, path):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, ensure_ascii=False, indent=1)


def _merges(tokenizer):
    return [tuple(m) for m in json.loads(tokenizer.to_str())["model"]["merges"]]


def _build_llama_tokenizer(folder):
    from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers,
                            processors, trainers)
    split = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(LLAMA_SPLIT), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    alphabet = _byte_alphabet()
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = split
    learner.train_from_iterator(_corpus(), trainers.BpeTrainer(
        vocab_size=4000, min_frequency=20, initial_alphabet=alphabet, show_progress=False))
    merges = _merges(learner)
    vocab = {s: i for i, s in enumerate(alphabet + [a + b for a, b in merges])}
    tok = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=True))
    tok.pre_tokenizer, tok.decoder = split, decoders.ByteLevel()
    tok.add_special_tokens([AddedToken(s, normalized=False, special=True) for s in SPECIAL])
    begin = "<|begin_of_text|>"
    tok.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single=f"{begin} $A", pair=f"{begin} $A {begin}:1 $B:1",
                                      special_tokens=[(begin, tok.token_to_id(begin))])])
    os.makedirs(folder, exist_ok=True)
    tok.save(os.path.join(folder, "tokenizer.json"))
    names = dict(bos_token=begin, eos_token="<|end_of_text|>", pad_token="<pad>", unk_token="<unk>")
    _write_json(dict(tokenizer_class="PreTrainedTokenizerFast", padding_side="right",
                     model_max_length=8192, clean_up_tokenization_spaces=True,
                     model_input_names=["input_ids", "attention_mask"], **names),
                os.path.join(folder, "tokenizer_config.json"))
    _write_json(names, os.path.join(folder, "special_tokens_map.json"))


def _build_clip_tokenizer(folder):
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    learner.normalizer = normalizers.Sequence([
        normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    learner.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(CLIP_SPLIT), "removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False)])
    alphabet = _byte_alphabet()
    learner.train_from_iterator(_corpus(joined=True), trainers.BpeTrainer(
        vocab_size=4000, min_frequency=20, initial_alphabet=alphabet, end_of_word_suffix="</w>",
        show_progress=False))
    merges = _merges(learner)
    vocab = {s: i for i, s in enumerate(alphabet + [a + "</w>" for a in alphabet])}
    for a, b in merges:
        vocab.setdefault(a + b, len(vocab))
    for s in ("<|startoftext|>", "<|endoftext|>"):
        vocab[s] = len(vocab)
    os.makedirs(folder, exist_ok=True)
    _write_json(vocab, os.path.join(folder, "vocab.json"))
    with open(os.path.join(folder, "merges.txt"), "w", encoding="utf-8") as f:
        f.write("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    names = dict(bos_token="<|startoftext|>", eos_token="<|endoftext|>",
                 pad_token="<|endoftext|>", unk_token="<|endoftext|>")
    _write_json(dict(tokenizer_class="CLIPTokenizer", model_max_length=77, add_prefix_space=False,
                     do_lower_case=True, **names), os.path.join(folder, "tokenizer_config.json"))
    _write_json(names, os.path.join(folder, "special_tokens_map.json"))


def build_tokenizers(state):
    """Writes tokenizer/ and tokenizer_2/, and checks that the templates have their lengths."""
    log = Log(os.path.join(state, "text.log"))
    _build_llama_tokenizer(os.path.join(state, "tokenizer"))
    _build_clip_tokenizer(os.path.join(state, "tokenizer_2"))
    tok, tok2 = load_tokenizers(state)
    lengths = len(tok(PREFIX).input_ids), len(tok(IMAGE_PREFIX).input_ids)
    log(f"tokenizers: vocabularies {len(tok)} and {len(tok2)}, templates {lengths}")
    if lengths != (PREFIX_TOKENS, IMAGE_PREFIX_TOKENS):
        raise SystemExit("the templates do not have their published lengths")
    rng, counts = np.random.default_rng(3), []
    for _ in range(500):
        text = world.caption(world.random_scene(rng), rng)
        counts.append((len(tok.tokenize(text)), len(tok2.tokenize(text))))
    log(f"tokens a caption: mean {np.mean(counts, 0).round(1)}, most {np.max(counts, 0)}")


def load_tokenizers(root):
    from transformers import AutoTokenizer, CLIPTokenizer
    return (AutoTokenizer.from_pretrained(os.path.join(root, "tokenizer")),
            CLIPTokenizer.from_pretrained(os.path.join(root, "tokenizer_2")))


# ------------------------------------------------------------------------------ encoders


def make_encoders(tok, tok2):
    """The pipeline reads Llama's hidden_states[-3], so the last two of four layers stay unused."""
    from transformers import CLIPTextConfig, CLIPTextModel, LlamaConfig, LlamaModel
    llama = LlamaModel(LlamaConfig(
        vocab_size=(len(tok) + 63) // 64 * 64, hidden_size=WIDTH, intermediate_size=256,
        num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
        max_position_embeddings=8192, bos_token_id=tok.bos_token_id, eos_token_id=tok.eos_token_id,
        pad_token_id=tok.pad_token_id, tie_word_embeddings=False))
    clip = CLIPTextModel(CLIPTextConfig(
        vocab_size=len(tok2), hidden_size=WIDTH, intermediate_size=512, num_hidden_layers=2,
        num_attention_heads=2, projection_dim=WIDTH, max_position_embeddings=77,
        hidden_act="quick_gelu", bos_token_id=tok2.bos_token_id, eos_token_id=tok2.eos_token_id,
        pad_token_id=tok2.pad_token_id))
    return llama, clip


def llama_ids(tok, prompts):
    """Token ids and mask of templated prompts, padded to the longest."""
    rows = [tok(PREFIX + p.strip() + "<|eot_id|>").input_ids for p in prompts]
    n = max(map(len, rows))
    ids = torch.tensor([r + [tok.pad_token_id] * (n - len(r)) for r in rows])
    return ids, torch.tensor([[1] * len(r) + [0] * (n - len(r)) for r in rows])


def clip_ids(tok2, prompts):
    """Token ids, cut behind the longest prompt's end token."""
    ids = tok2(prompts, padding="max_length", max_length=77, truncation=True,
               return_tensors="pt").input_ids
    return ids[:, :int((ids != tok2.eos_token_id).sum(1).max()) + 1]


def _rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat([-b, a], -1) * sin


def llama_states(model, ids, mask, crop=PREFIX_TOKENS):
    """hidden_states[-3] behind the prefix, and its mask. Attention is causal, so the prefix never
    sees the prompt and is run once for the whole batch."""
    config = model.config
    hd = config.hidden_size // config.num_attention_heads
    batch, length = ids.shape
    angle = torch.arange(length)[:, None] * (500000.0 ** (-torch.arange(0, hd, 2) / hd))[None]
    cos, sin = torch.cat([angle, angle], 1).cos(), torch.cat([angle, angle], 1).sin()
    head, h = model.embed_tokens(ids[:1, :crop]), model.embed_tokens(ids[:, crop:])
    causal = torch.ones(length, length, dtype=torch.bool).tril()

    def project(layer, x, lo, hi):
        n, a = layer.input_layernorm(x), layer.self_attn
        q, k, v = (p(n).unflatten(-1, (-1, hd)).transpose(1, 2)
                   for p in (a.q_proj, a.k_proj, a.v_proj))
        return _rotate(q, cos[lo:hi], sin[lo:hi]), _rotate(k, cos[lo:hi], sin[lo:hi]), v

    def attend(layer, x, q, k, v, allowed):
        o = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, enable_gqa=True)
        x = x + layer.self_attn.o_proj(o.transpose(1, 2).flatten(2))
        return x + layer.mlp(layer.post_attention_layernorm(x))

    for layer in model.layers[:-2]:
        q0, k0, v0 = project(layer, head, 0, crop)
        q, k, v = project(layer, h, crop, length)
        head = attend(layer, head, q0, k0, v0, causal[:crop, :crop])
        h = attend(layer, h, q, torch.cat([k0.expand(batch, -1, -1, -1), k], 2),
                   torch.cat([v0.expand(batch, -1, -1, -1), v], 2), causal[crop:])
    return h, mask[:, crop:]


class Encoders:
    """Frozen encoders: captions -> (states, mask, pooled), as the transformer gets them."""

    def __init__(self, root):
        from transformers import CLIPTextModel, LlamaModel
        self.tok, self.tok2 = load_tokenizers(root)
        llama = LlamaModel.from_pretrained(os.path.join(root, "text_encoder"))
        clip = CLIPTextModel.from_pretrained(os.path.join(root, "text_encoder_2"))
        self.llama, self.clip = llama.float().eval(), clip.float().eval()

    @torch.no_grad()
    def __call__(self, captions):
        states, mask = llama_states(self.llama, *llama_ids(self.tok, captions))
        return states, mask, self.clip(clip_ids(self.tok2, captions)).pooler_output


# ------------------------------------------------------------------------------ training

FIELDS = {
    "kind": list(world.KINDS), "color": list(world.COLORS), "shape": world.SHAPES,
    "size": list(world.SIZES), "motion": world.MOTIONS, "bg": world.BACKGROUNDS,
    "bg2": world.BACKGROUNDS, "motion2": world.MOTIONS, "color2": list(world.COLORS),
    "shape2": world.SHAPES, "relation": world.RELATIONS,
}
OUTPUTS = sum(len(v) for v in FIELDS.values())


def attribute_loss(logits, scenes):
    """Summed cross-entropy over the attributes that a scene has, and each one's accuracy."""
    loss, accuracy, at = 0, {}, 0
    for field, names in FIELDS.items():
        y = torch.tensor([names.index(s[field]) if field in s and
                          not (field == "size" and s["kind"] == "two") else -1 for s in scenes])
        z = logits[:, at:at + len(names)]
        at += len(names)
        if (y >= 0).any():
            loss = loss + F.cross_entropy(z, y, ignore_index=-1)
            accuracy[field] = (z.argmax(1)[y >= 0] == y[y >= 0]).float().mean().item()
    return loss, accuracy


def _readings(llama, clip, heads, tok, tok2, captions):
    """Logits from CLIP's pooled vector, Llama's last state and Llama's mean state."""
    h, m = llama_states(llama, *llama_ids(tok, captions))
    pooled = clip(clip_ids(tok2, captions)).pooler_output
    last = h[torch.arange(len(h)), m.sum(1) - 1]
    mean = (h * m[..., None]).sum(1) / m.sum(1, keepdim=True)
    return [f(x) for f, x in zip(heads, (pooled, last, mean))], h


def train(state, minutes, seed):
    """Trains both encoders for `minutes` core-minutes; resumes from text.pt. Held-out triples come
    too: naming words is not drawing, and a word must be known beside any other."""
    log = Log(os.path.join(state, "text.log"))
    tok, tok2 = load_tokenizers(state)
    torch.manual_seed(seed)
    llama, clip = make_encoders(tok, tok2)
    heads = torch.nn.ModuleList([torch.nn.Linear(WIDTH, OUTPUTS) for _ in range(3)])
    everything = torch.nn.ModuleDict(dict(llama=llama, clip=clip, heads=heads))
    opt = Optimizer(everything.named_parameters(), lr=2e-3, plain=("embed", "heads"))
    run = Run(os.path.join(state, "text.pt"), everything, opt, minutes, seed)
    while run.goes_on():
        scenes = [world.random_scene(run.rng, held=bool(run.rng.random() < 0.14))
                  for _ in range(96)]
        logits, h = _readings(llama, clip, heads, tok, tok2,
                              [world.caption(s, run.rng) for s in scenes])
        results = [attribute_loss(z, scenes) for z in logits]
        power = h.pow(2).mean()                              # pulled to 1
        loss = sum(part for part, _ in results) + 0.02 * (power - 1).abs()
        if run.step(loss, tail=0.5) % 100 == 0:
            words = [f"{name} {part.item():.3f} worst {min(right.values()):.2f}" for
                     name, (part, right) in zip(("pooled", "last", "mean"), results)]
            log(f"text step {run.at['step']} {run.clock.used:.0f}s", *words,
                f"rms {power.sqrt().item():.2f}")
    run.keep()
    everything.load_state_dict(run.average.weights)
    llama.save_pretrained(os.path.join(state, "text_encoder"))
    clip.save_pretrained(os.path.join(state, "text_encoder_2"))
    _report(llama, clip, heads, tok, tok2, seed, log)


@torch.no_grad()
def _report(llama, clip, heads, tok, tok2, seed, log):
    """Accuracy of each reading by attribute on fresh captions, by language."""
    rng = np.random.default_rng([seed, 3])
    for zh in (False, True):
        scenes = [world.random_scene(rng, held=i % 2 == 0) for i in range(600)]
        logits, _ = _readings(llama, clip, heads, tok, tok2,
                              [world.caption(s, rng, zh) for s in scenes])
        for name, z in zip(("pooled", "last", "mean"), logits):
            _, accuracy = attribute_loss(z, scenes)
            log("text", "zh" if zh else "en", name,
                json.dumps({k: round(v, 3) for k, v in accuracy.items()}))
