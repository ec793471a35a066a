"""Trains the small default model from nothing, or goes on where it was stopped.

    train.py [--state FOLDER] [--seed N] [--minutes M] [STAGE ...]

Stages, in order: tokenizers text vae cache transformer distill decoder score export. Without
names all are run. The stage start, first, takes what the model's folder holds instead of
beginning anew; compare, last, holds diffusers' frames beside those of a patched ffmpeg.
What is learnt lies in the state folder ($HUNYUANVIDEO_NANO_STATE, else
~/.cache/hunyuanvideo/nano). Every stage resumes; one that has used up its time ends at once.
Lengths are core-minutes: half of that on two quiet cores. See ../README.md for what to expect.
"""
import argparse
import os
import shutil

CORE_MINUTES = dict(text=15, vae=90, transformer=240, distill=20, decoder=30)
CLIPS = 10000
HERE = os.path.dirname(os.path.abspath(__file__))


def build_stages(args):
    """Name -> function, in order. Imports are late: --help needs no PyTorch."""
    import sample
    import text
    import transformer
    import vae
    state, seed = args.state, args.seed

    def minutes(stage):
        return args.minutes or CORE_MINUTES[stage]

    def tokenizers():
        if not os.path.exists(os.path.join(state, "tokenizer_2", "merges.txt")):
            text.build_tokenizers(state)

    def start():
        for part in (*sample.PARTS, "tokenizer", "tokenizer_2"):
            there, wanted = os.path.join(args.out, part), os.path.join(state, part)
            if os.path.isdir(there) and not os.path.exists(wanted):
                shutil.copytree(there, wanted)

    def score(step=None):
        name = f"samples_{step}" if step else "samples"
        sample.evaluate(state, args.count, name=name, cfg=args.cfg)

    return dict(
        start=start,
        tokenizers=tokenizers,
        text=lambda: text.train(state, minutes("text"), seed),
        vae=lambda: vae.train(state, minutes("vae"), seed),
        cache=lambda: transformer.cache(state, args.clips, seed),
        transformer=lambda: transformer.train(state, minutes("transformer"), seed, every=score),
        distill=lambda: transformer.distill(state, minutes("distill"), seed, every=score),
        decoder=lambda: vae.train_decoder(state, minutes("decoder"), seed),
        score=score,
        export=lambda: sample.export(state, args.out),
        compare=lambda: sample.compare(args.out, args.ffmpeg, args.count))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("stages", nargs="*", metavar="STAGE")
    parser.add_argument("--state", default=os.environ.get("HUNYUANVIDEO_NANO_STATE")
                        or os.path.expanduser("~/.cache/hunyuanvideo/nano"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--minutes", type=float, help="core-minutes, instead of a stage's own")
    parser.add_argument("--clips", type=int, default=CLIPS, help="cache: clips in all")
    parser.add_argument("--count", type=int, default=8, help="score: clips of each kind; compare: clips")
    parser.add_argument("--cfg", type=float, default=2.0, help="score: true guidance")
    parser.add_argument("--out", default=os.path.dirname(HERE), help="export: the model's folder")
    parser.add_argument("--ffmpeg", default=os.path.join(HERE, "../../../build/ffmpeg"))
    args = parser.parse_args()
    os.makedirs(args.state, exist_ok=True)

    import torch
    torch.set_num_threads(args.threads)
    stages = build_stages(args)
    for name in args.stages:
        if name not in stages:
            parser.error(f"unknown stage {name!r}; there are: {' '.join(stages)}")
    for name in args.stages or list(stages)[1:-1]:
        stages[name]()


if __name__ == "__main__":
    main()
