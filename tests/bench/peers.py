"""Our time beside that of PyTorch, diffusers and transformers, in turn, in one run.

    peers.py [--reps N] [--threads N] [--bench PROGRAM] [--hyv PROGRAM] [--ffmpeg PROGRAM]
             [--model FOLDER] [--isa NAME] [--stock] [ROW ...]

Rows: pieces of the published model at its true widths with random weights (bench_model measures
ours), the small model from typed command to last frame and to its loaded weights, and the sizes
of what is installed. The peer's piece lives in a process of
its own that runs once when asked, so both sides see the same moments of the machine; medians of
the interleaved runs are printed, with the ratio of each pair's median. Nothing is downloaded but
the peers themselves; `make bench-peers` puts them into a throw-away environment.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

WIDTH, HEADS, HEAD = 3072, 24, 128
GRIDS = {"1280+256": (5, 16, 16, 256), "4096+256": (4, 32, 32, 256)}
LATENTS = {"17x128x128": (5, 16, 16), "9x256x256": (3, 32, 32)}
PICTURES = {"17x128x128": (17, 128, 128), "9x256x256": (9, 256, 256)}
SHAPES = ((256, 3072, 3072), (1536, 3072, 3072), (1536, 12288, 3072), (1536, 3072, 12288))


def rows():
    """name -> (what bench_model gets, peer, its settings)"""
    for precision in ("fp32", "bf16"):
        def row(name, numbers, peer, **settings):
            ours = ["-p", precision, "-w", {"fp32": "f32"}.get(precision, "bf16"), *numbers]
            return f"{name}, {precision}", (ours, peer, settings | dict(precision=precision))
        for tokens, grid in GRIDS.items():
            for kind in ("double", "single"):
                yield row(f"{kind} block, {tokens} tokens", [kind, *grid], "block", kind=kind,
                          grid=grid)
        for name, shape in LATENTS.items():
            yield row(f"decode {name}", ["decode", *shape], "decode", shape=shape)
        for name, shape in PICTURES.items():
            yield row(f"encode {name}", ["encode", *shape], "encode", shape=shape)
        yield row("Llama layer, 351 tokens", ["llama", 351], "llama", tokens=351)
        yield row("CLIP, 77 tokens", ["clip", 77], "clip", tokens=77)
        for n in (1536, 4352, 8192):
            yield row(f"attention, {n} tokens", ["attention", n], "attention", tokens=n)
    # In int8 theirs is of a weight that was quantised and packed beforehand.
    for precision in ("bf16", "int8"):
        for m, n, k in SHAPES:
            yield (f"linear {m}x{n}x{k}, {precision}",
                   (["-p", precision, "-w", "bf16", "linear", m, n, k], "linear",
                    dict(m=m, n=n, k=k, precision=precision)))


ROWS = dict(rows())
END_TO_END = "small model, command to last frame"
START = "small model, command to its loaded weights"
INSTALLED = "installed, with the small model"

# ------------------------------------------------------------------------------ the peers' side


def random_weights(module):
    """A module made without memory gets small random numbers."""
    import torch
    module = module.to_empty(device="cpu")
    for p in [*module.parameters(), *module.buffers()]:
        if p.is_floating_point():
            p.data.uniform_(-0.03, 0.03) if p.dim() > 1 else p.data.fill_(1 / 64)
    return module.eval()


def typed(precision):
    import torch
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]


def block(kind, grid, precision):
    import torch
    from diffusers.models.transformers import transformer_hunyuan_video as code
    made = {"double": code.HunyuanVideoTransformerBlock,
            "single": code.HunyuanVideoSingleTransformerBlock}[kind]
    t, h, w, text = grid
    with torch.device("meta"):
        module = made(HEADS, HEAD, mlp_ratio=4.0)
    module = random_weights(module).to(typed(precision))
    rope = code.HunyuanVideoRotaryPosEmbed(2, 1, [16, 56, 56])(torch.empty(1, 16, t, 2 * h, 2 * w))
    args = (torch.randn(1, t * h * w, WIDTH), torch.randn(1, text, WIDTH), torch.randn(1, WIDTH))
    args = [x.to(typed(precision)) for x in args]
    return lambda: module(*args, None, rope)


def autoencoder(precision):
    import torch
    from diffusers import AutoencoderKLHunyuanVideo
    with torch.device("meta"):
        vae = AutoencoderKLHunyuanVideo()
    return random_weights(vae).to(typed(precision))


def decode(shape, precision, tiled=False):
    import torch
    vae = autoencoder(precision)
    vae.use_framewise_decoding = tiled
    z = torch.randn(1, 16, *shape).to(typed(precision))
    return lambda: vae.decode(z).sample


def encode(shape, precision, tiled=False):
    import torch
    vae = autoencoder(precision)
    vae.use_framewise_encoding = tiled
    x = torch.randn(1, 3, *shape).to(typed(precision))
    return lambda: vae.encode(x).latent_dist.parameters


def llama(tokens, precision):
    import torch
    from transformers import LlamaConfig
    from transformers.models.llama import modeling_llama as code
    config = LlamaConfig(hidden_size=4096, intermediate_size=14336, num_attention_heads=32,
                         num_key_value_heads=8, vocab_size=128320, rms_norm_eps=1e-5)
    config._attn_implementation = "sdpa"
    with torch.device("meta"):
        layer = code.LlamaDecoderLayer(config, 0)
    layer = random_weights(layer).to(typed(precision))
    x, at = torch.randn(1, tokens, 4096).to(typed(precision)), torch.arange(tokens)[None]
    mask = torch.ones(tokens, tokens, dtype=torch.bool).tril()[None, None]
    rotary = code.LlamaRotaryEmbedding(config)(x, at)
    return lambda: layer(x, attention_mask=mask, position_ids=at, position_embeddings=rotary)


def clip(tokens, precision):
    import torch
    from transformers import CLIPTextConfig, CLIPTextModel
    model = CLIPTextModel(CLIPTextConfig(hidden_size=768, intermediate_size=3072,
                                         num_attention_heads=12, vocab_size=49408)).eval()
    model = model.to(typed(precision))
    ids = torch.randint(0, 49000, (1, tokens))
    return lambda: model(ids)


def attention(tokens, precision):
    import torch
    q, k, v = (torch.randn(1, HEADS, tokens, HEAD).to(typed(precision)) for _ in range(3))
    return lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v)


def linear(m, n, k, precision):
    import torch
    x, w, bias = torch.randn(m, k), torch.randn(n, k) * 0.03, torch.randn(n)
    if precision == "bf16":
        x, w, bias = (t.bfloat16() for t in (x, w, bias))
        return lambda: torch.nn.functional.linear(x, w, bias)
    torch.backends.quantized.engine = "onednn"
    zeros = torch.zeros(n, dtype=torch.long)
    w = torch.quantize_per_channel(w, w.abs().amax(1) / 127, zeros, 0, torch.qint8)
    packed = torch.ops.quantized.linear_prepack(w, bias)
    return lambda: torch.ops.quantized.linear_dynamic(x, packed)


def reset_peak():
    """What making the weights took is not to hide what running takes."""
    with open("/proc/self/clear_refs", "w", encoding="ascii") as f:
        f.write("5")


def peak_mib():
    """Highest resident size since the last reset, of this process."""
    with open("/proc/self/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM")) / 1024


def serve(name, settings, threads, medium):
    """Runs the piece once for each line on standard input and answers with a line of JSON."""
    import torch
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    if medium:
        torch.set_float32_matmul_precision("medium")
    with torch.no_grad():
        run = {"block": block, "decode": decode, "encode": encode, "llama": llama, "clip": clip,
               "attention": attention, "linear": linear}[name](**settings)
        reset_peak()
        before = peak_mib()
        for _ in sys.stdin:
            began = time.perf_counter()
            run()
            print(json.dumps(dict(seconds=time.perf_counter() - began,
                                  peak_mib=peak_mib() - before)), flush=True)


def user_script(model, path, prompt, threads):
    """What a user of diffusers would type: one clip, from start to file; with no path, to the
    loaded pipeline."""
    import torch
    from diffusers import HunyuanVideoPipeline
    from diffusers.utils import export_to_video
    torch.set_num_threads(threads)
    pipe = HunyuanVideoPipeline.from_pretrained(model, torch_dtype=torch.float32)
    if not path:
        return
    pipe.set_progress_bar_config(disable=True)
    frames = pipe(prompt=prompt, width=128, height=128, num_frames=17, num_inference_steps=20,
                  generator=torch.Generator().manual_seed(42)).frames[0]
    export_to_video(frames, path, fps=8)


# ------------------------------------------------------------------------------ measuring


# What PyTorch, oneDNN and MKL want to hear to use no more than AVX2.
AVX2 = dict(ATEN_CPU_CAPABILITY="avx2", ONEDNN_MAX_CPU_ISA="AVX2", MKL_ENABLE_INSTRUCTIONS="AVX2")


class Peer:
    """The other side's process."""

    def __init__(self, args, name, settings, medium=False):
        command = [sys.executable, __file__, "--serve", name, json.dumps(settings),
                   "--threads", str(args.threads)] + ["--medium"] * medium
        environment = os.environ | (AVX2 if args.isa == "avx2" else {})
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env=environment)

    def run(self):
        self.process.stdin.write("run\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def ours(args, numbers):
    command = [args.bench, "-t", args.threads, "-r", 1, "-i", args.isa, *numbers]
    out = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                         check=True).stdout
    return json.loads(out)


def print_row(name, a, b, more=""):
    """a, b: [(seconds, MiB)] of us and of the peer."""
    mine, theirs = (statistics.median(x[0] for x in side) for side in (a, b))
    memory = [max(x[1] for x in side) for side in (a, b)]
    print(f"| {name} | {mine:.3f} | {theirs:.3f} | {theirs / mine:.2f} | {memory[0]:.0f} | "
          f"{memory[1]:.0f} |{more}", flush=True)


def measure_piece(args, name):
    """The stock peer and, for products, the same with its fp32 products on oneDNN."""
    numbers, peer, settings = ROWS[name]
    variants = {"": (settings, False)}
    if settings["precision"] == "fp32" and peer != "attention" and not args.stock:
        variants[", medium"] = (settings, True)
    whole = {"decode": 4, "encode": 16}  # frames that diffusers by itself does not cut in time
    if peer in whole and settings["shape"][0] > whole[peer] and not args.stock:
        variants[", its tiles"] = (settings | dict(tiled=True), False)
    peers = {key: Peer(args, peer, s, medium) for key, (s, medium) in variants.items()}
    for p in peers.values():
        p.run()
    mine, theirs = [], {key: [] for key in peers}
    for _ in range(args.reps):
        r = ours(args, numbers)
        mine.append((r["seconds"], r["peak_mib"]))
        for key, p in peers.items():
            r = p.run()
            theirs[key].append((r["seconds"], r["peak_mib"]))
    for key, p in peers.items():
        print_row(name + key, mine, theirs[key])
        p.close()


def timed(command):
    """(wall seconds, peak MiB) of a process."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"failed: {' '.join(command)}")
    return time.perf_counter() - began, usage.ru_maxrss / 1024


PROMPT = "a red star moves to the right over green grass"


def user_command(args, path):
    return [sys.executable, __file__, "--user-script", args.model, path, PROMPT, "--threads",
            str(args.threads)]


def measure_end_to_end(args):
    graph = f"hunyuanvideo=model={args.model}:prompt={PROMPT}:seed=42"
    mine = [args.ffmpeg, "-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", graph,
            args.scratch + "/ours.mp4"]
    theirs = user_command(args, args.scratch + "/theirs.mp4")
    timed(mine), timed(theirs)
    pairs = [(timed(mine), timed(theirs)) for _ in range(args.reps)]
    print_row(END_TO_END, *zip(*pairs))


def first_kernel(args):
    """Seconds until hyv says that the first network is loaded: its kernels come next."""
    command = [args.hyv, "generate", "-m", args.model, "-p", PROMPT, "-v", "-o", "/dev/null",
               "-f", "rgb24"]
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        said = next((time.perf_counter() for line in process.stderr
                     if line.startswith(b"hyv: loading: ")), None)
        peak = next(int(line.split()[1]) for line in open(f"/proc/{process.pid}/status",
                    encoding="ascii") if line.startswith("VmHWM")) / 1024
        process.kill()
    return said - began, peak


def measure_start(args):
    first_kernel(args), timed(user_command(args, ""))
    print_row(START, *zip(*[(first_kernel(args), timed(user_command(args, "")))
                            for _ in range(args.reps)]))


def folder_mib(folder):
    return sum(os.lstat(os.path.join(where, file)).st_size
               for where, _, files in os.walk(folder) for file in files) / 2**20


def measure_installed(args):
    """The package against the environment's own packages, the same model counted with both."""
    package = args.scratch + "/installed"
    subprocess.run(["make", "-s", "install", f"DESTDIR={os.path.abspath(package)}", "PREFIX=/usr"],
                   check=True)
    peers = next(p for p in sys.path if p.endswith("site-packages"))
    print(f"| {INSTALLED}: {folder_mib(package):.1f} MiB, peer "
          f"{folder_mib(peers) + folder_mib(args.model):.0f} MiB |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="parts of rows' names; default all")
    parser.add_argument("--reps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--bench", default="build/tests/bench/bench_model")
    parser.add_argument("--ffmpeg", default="build/ffmpeg")
    parser.add_argument("--hyv", default="build/hyv")
    parser.add_argument("--model", default="presets/nano")
    parser.add_argument("--isa", default="auto", help="of our pieces; with avx2 the peers' too")
    parser.add_argument("--scratch", default="build")
    parser.add_argument("--stock", action="store_true",
                        help="peers as they come: fp32 without \"medium\", the VAE in one piece")
    parser.add_argument("--medium", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--user-script", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(args.serve[0], json.loads(args.serve[1]), args.threads, args.medium)
    if args.user_script:
        return user_script(*args.user_script, args.threads)
    print("| | ours s | peer s | ratio | ours MiB | peer MiB |\n"
          "|---|---|---|---|---|---|")
    whole = {END_TO_END: measure_end_to_end, START: measure_start, INSTALLED: measure_installed}
    for name in [*ROWS, *whole]:
        if not args.rows or any(part in name for part in args.rows):
            whole[name](args) if name in whole else measure_piece(args, name)


if __name__ == "__main__":
    main()
