#!/usr/bin/python3
"""Scores the small model from what a patched ffmpeg delivers, on combinations never trained on.

    score.py [--ffmpeg PATH] [--model FOLDER] [--count N] [--options TEXT] [--sheet FILE.png] [--at-least SHARE]

Each clip is one ffmpeg command line: prompt in, pixels out. Attributes are read off the pixels
(train/scoring.py); cuts are what FFmpeg's scdet filter reports. Half of the prompts are Chinese.
Needs Python with numpy, and nothing that the model was trained with.
"""
import argparse
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "train"))
sys.dont_write_bytecode = True

import numpy as np

import scoring
import world

SIDE, FRAMES = 128, 17
SHOWN = (0, 4, 8, 9, 12, 16)
# Rows of the table: attributes that count together, and of which kinds of clip.
ROWS = {
    "background": (("bg", "bg2"), world.KINDS), "colour": (("color", "color2"), world.KINDS),
    "shape": (("shape", "shape2"), world.KINDS), "motion": (("motion", "motion2"), world.KINDS),
    "size": (("size",), ("one",)), "relation": (("relation",), ("two",)),
    "cut where asked": (("cut",), ("cut",)), "no cut else": (("cut",), ("one", "two")),
    "all of one object": (("all",), ("one",)), "all with a cut": (("all",), ("cut",)),
    "all of two objects": (("all",), ("two",)), "all": (("all",), world.KINDS),
}


def prompts(count, seed):
    """(scene, prompt, Chinese?) with the world's shares of kinds, languages in turn."""
    rng = np.random.default_rng(seed)
    kinds, shares = list(world.KINDS), np.array(list(world.KINDS.values()))
    ends = np.floor(np.cumsum(shares) * count + 0.5)
    for i in range(count):
        scene = world.random_scene(rng, kinds[int(np.searchsorted(ends, i, side="right"))], True)
        chinese = i % 2 == 1
        yield scene, world.caption(scene, rng, zh=chinese), chinese


def escape(text):
    """A value inside an option string inside a filter graph: escaped once for each."""
    for special in ("\\':", "\\'[],;"):
        text = "".join("\\" + c if c in special else c for c in text)
    return text


def generate(ffmpeg, model, prompt, seed, options):
    """(pixels uint8 [frames, height, width, 3], frames that begin a new shot)."""
    source = f"hunyuanvideo=model={escape(model)}:seed={seed}:prompt={escape(prompt)}{options}"
    watch = "scdet,metadata=mode=print:key=lavfi.scd.time:file=pipe\\\\:2:direct=1"
    done = subprocess.run([ffmpeg, "-nostdin", "-v", "error", "-f", "lavfi", "-i", source, "-vf",
                           watch, "-pix_fmt", "rgb24", "-f", "rawvideo", "pipe:1"], capture_output=True)
    messages = done.stderr.decode()
    if done.returncode or len(done.stdout) != FRAMES * SIDE * SIDE * 3:
        sys.exit(f"{ffmpeg}: status {done.returncode}, {len(done.stdout)} bytes: {messages}")
    pixels = np.frombuffer(done.stdout, np.uint8).reshape(FRAMES, SIDE, SIDE, 3)
    return pixels, [int(n) for n in re.findall(r"^frame:(\d+)", messages, re.M)]


def share(results, names, kinds, chinese=None):
    """(right, counted) of the named attributes."""
    seen = [r[n] for kind, zh, r in results if kind in kinds and chinese in (None, zh)
            for n in names if n in r]
    return int(np.sum(seen)), len(seen)


def print_table(results):
    print(f"{'':20}{'all':>16}{'English':>16}{'Chinese':>16}")
    for row, (names, kinds) in ROWS.items():
        cells = [share(results, names, kinds, zh) for zh in (None, False, True)]
        text = [f"{100 * a / n:.1f} % of {n}" if n else "-" for a, n in cells]
        print(f"{row:20}" + "".join(f"{t:>16}" for t in text))


def write_sheet(ffmpeg, clips, path):
    """One clip a row."""
    picture = np.concatenate([np.concatenate([v[f] for f in SHOWN], 1) for v in clips])
    height, width = picture.shape[:2]
    subprocess.run([ffmpeg, "-nostdin", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24",
                    "-s", f"{width}x{height}", "-i", "pipe:0", "-frames:v", "1", path],
                   input=picture.tobytes(), check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--ffmpeg", default=os.path.join(HERE, "../../build/ffmpeg"))
    parser.add_argument("--model", default="nano")
    parser.add_argument("--count", type=int, default=240)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--options", default="", help="more options of the filter: steps=10:cfg=3")
    parser.add_argument("--sheet", help="writes the first clips' frames to this PNG")
    parser.add_argument("--at-least", type=float, default=0.0,
                        help="exit status 1 if a smaller share of all attributes is right")
    args = parser.parse_args()
    options = ":" + args.options if args.options else ""
    results, clips = [], []
    for i, (scene, prompt, chinese) in enumerate(prompts(args.count, args.seed)):
        pixels, cuts = generate(args.ffmpeg, args.model, prompt, args.seed + i, options)
        result = scoring.score(pixels, scene, cuts)
        wrong = [k for k, right in result.items() if not right]
        result["all"] = not set(wrong) - {"size"}
        results.append((scene["kind"], chinese, result))
        if len(clips) < 24:
            clips.append(pixels)
        print(f"{i + 1}/{args.count} {prompt} | wrong: {', '.join(wrong) or 'nothing'}",
              file=sys.stderr, flush=True)
    print_table(results)
    if args.sheet:
        write_sheet(args.ffmpeg, clips, args.sheet)
    right, counted = share(results, [n for n in scoring.ORDER if n != "size"], world.KINDS)
    print(f"{right} of {counted} attributes are right")
    sys.exit(right < args.at_least * counted)


if __name__ == "__main__":
    main()
