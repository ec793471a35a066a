"""The small model's world: procedural clips with captions in English and Chinese.

A scene is a dict of attributes. render() draws it, caption() puts it into words, scoring.py
reads the attributes back from pixels. All chance comes from one numpy Generator, so a seed
fixes a data set. Lengths are fractions of the frame, so every size shows the same scene.
This file knows nothing of models or of PyTorch.
"""
import math
import re

import numpy as np

# Object colours, far apart in RGB.
COLORS = {
    "red": (225, 35, 40), "orange": (245, 135, 20), "yellow": (250, 225, 45),
    "green": (35, 170, 65), "blue": (35, 80, 225), "purple": (135, 50, 195),
    "pink": (250, 130, 190), "white": (248, 248, 248),
}
SHAPES = ["circle", "square", "triangle", "star", "heart"]
SIZES = {"small": 0.16, "medium": 0.21, "large": 0.27}       # radius / frame height
PAIR_RADIUS = 0.165                                          # objects of a pair are all alike
MOTIONS = ["still", "right", "left", "up", "down", "grow", "shrink"]
SHOT_MOTIONS = MOTIONS[:5]                                   # those that fit in half a clip
BACKGROUNDS = ["white", "black", "gray", "sky", "grass", "night", "sand", "sunset"]
RELATIONS = ["beside", "above"]        # the first object is to the left of, or above, the second
KINDS = {"one": 0.5, "cut": 0.3, "two": 0.2}
# Pairs with too little contrast to see or to measure.
FAINT = {
    ("white", "white"), ("green", "grass"), ("yellow", "sand"), ("orange", "sunset"),
    ("red", "sunset"), ("pink", "sunset"), ("purple", "sunset"), ("purple", "night"),
    ("blue", "night"), ("white", "sky"), ("orange", "sand"), ("blue", "sky"), ("blue", "black"),
}

# Backgrounds of nearly the same brightness: a cut between them is none to FFmpeg's scdet, which looks
# at luma and wants a tenth of its range.
ALIKE = [{"gray", "grass"}, {"gray", "sunset"}, {"grass", "sunset"}, {"sky", "sand"},
         {"black", "night"}]

# ------------------------------------------------------------------------------ scenes


def held_out(color, shape, bg):
    """One in seven colour x shape x background triples is never trained on."""
    code = list(COLORS).index(color) * 3 + SHAPES.index(shape) * 5 + BACKGROUNDS.index(bg)
    return code % 7 == 0


TRIPLES = {held: [(c, s, b) for c in COLORS for s in SHAPES for b in BACKGROUNDS
                  if (c, b) not in FAINT and held_out(c, s, b) == held] for held in (False, True)}


def random_scene(rng, kind=None, held=False):
    """A scene of the kind (drawn when None). held: the first triple is a held-out one.

    Without held no triple of the scene is held out. Choices are made from lists of what is
    allowed, never by drawing again until it fits.
    """
    def one_of(xs):
        return xs[int(rng.integers(len(xs)))]

    kind = kind or str(rng.choice(list(KINDS), p=list(KINDS.values())))
    color, shape, bg = one_of(TRIPLES[held])
    scene = dict(kind=kind, color=color, shape=shape, bg=bg, motion=one_of(MOTIONS),
                 size=str(rng.choice(list(SIZES), p=[0.25, 0.5, 0.25])),
                 seed=int(rng.integers(1 << 31)))
    if kind == "cut":
        scene["bg2"] = one_of([b for c, s, b in TRIPLES[False]
                               if (c, s) == (color, shape) and b != bg
                               and {b, bg} not in ALIKE])
        scene["motion"] = one_of(SHOT_MOTIONS)
        scene["motion2"] = scene["motion"] if rng.random() < 0.5 else one_of(SHOT_MOTIONS)
    elif kind == "two":
        scene["color2"], scene["shape2"] = one_of([(c, s) for c, s, b in TRIPLES[False]
                                                   if b == bg and c != color])
        scene["relation"] = one_of(RELATIONS)
        across = scene["relation"] == "above"
        ways = ["still", "left", "right"] if across else ["still", "up", "down"]
        scene["size"] = "medium"
        scene["motion"] = one_of(ways)
        scene["motion2"] = scene["motion"] if rng.random() < 0.5 else one_of(ways)
    return scene


# ------------------------------------------------------------------------------ drawing


def _polygon_radius(theta, points):
    """Distance from the origin to the outline of a star-convex polygon, at angles theta."""
    angle = np.arctan2(points[:, 1], points[:, 0])
    order = np.argsort(angle)
    points, angle = points[order], angle[order]
    i = np.searchsorted(angle, theta) % len(points)
    a, b = points[i - 1], points[i]
    d = b - a
    cross = a[..., 0] * d[..., 1] - a[..., 1] * d[..., 0]
    den = np.cos(theta) * d[..., 1] - np.sin(theta) * d[..., 0]
    return cross / np.where(np.abs(den) < 1e-6, 1e-6, den)


def _outline(shape, n=720):
    """Outline as radius by angle, and the cosine between outline normal and radius."""
    t = (np.arange(n) + 0.5) / n * 2 * math.pi - math.pi
    if shape == "circle":
        r = np.full(n, 1.0)
    elif shape == "square":
        r = 0.88 / np.maximum(np.abs(np.cos(t)), np.abs(np.sin(t)))
    elif shape == "triangle":
        a = np.array([-math.pi / 2, math.pi / 6, 5 * math.pi / 6])
        r = _polygon_radius(t, np.stack([np.cos(a), np.sin(a)], 1) * 1.28)
    elif shape == "star":
        a = -math.pi / 2 + np.arange(10) * math.pi / 5
        arms = np.where(np.arange(10) % 2, 0.54, 1.35)
        r = _polygon_radius(t, np.stack([np.cos(a), np.sin(a)], 1) * arms[:, None])
    else:
        k = np.linspace(0, 2 * math.pi, 160, endpoint=False)
        x = 16 * np.sin(k) ** 3
        y = -(13 * np.cos(k) - 5 * np.cos(2 * k) - 2 * np.cos(3 * k) - np.cos(4 * k))
        r = _polygon_radius(t, np.stack([x, y - 1.0], 1) / 14.5)
    slope = np.gradient(r, t[1] - t[0]) / r
    return r.astype(np.float32), (1 / np.sqrt(1 + slope ** 2)).astype(np.float32)


OUTLINES = {s: _outline(s) for s in SHAPES}


def shape_mask(shape, cx, cy, r, height, width):
    """Antialiased coverage (height, width) of one shape; centre and radius in pixels."""
    out = np.zeros((height, width), np.float32)
    reach = 1.5 * r + 2                                      # no outline is farther than 1.35 r
    y0, y1 = max(0, int(cy - reach)), min(height, int(cy + reach) + 1)
    x0, x1 = max(0, int(cx - reach)), min(width, int(cx + reach) + 1)
    if y0 >= y1 or x0 >= x1:
        return out
    y, x = np.mgrid[y0:y1, x0:x1].astype(np.float32)
    x, y = x + 0.5 - cx, y + 0.5 - cy
    rho = np.sqrt(x * x + y * y) + 1e-6
    radius, cosine = OUTLINES[shape]
    i = (np.arctan2(y, x) + math.pi) * (len(radius) / (2 * math.pi))
    i = i.astype(np.int32).clip(0, len(radius) - 1)
    out[y0:y1, x0:x1] = np.clip(0.5 + (radius[i] * r - rho) * cosine[i], 0, 1)
    return out


def background(name, height, width, rng=None):
    """(height, width, 3), 0..255; rng shifts the pattern a little."""
    v = ((np.arange(height) + 0.5) / height)[:, None, None]
    u = ((np.arange(width) + 0.5) / height)[None, :, None]
    one = np.ones((height, width, 1), np.float32)
    j = rng.uniform(-1, 1, 4) if rng is not None else np.zeros(4)

    def mix(a, b, k):
        return np.asarray(a, np.float32) * (1 - k) + np.asarray(b, np.float32) * k

    def wave(x):
        return 0.5 + 0.5 * np.sin(2 * math.pi * x)

    if name == "white":
        b = mix((255, 255, 255), (255, 255, 255), one)
    elif name == "black":
        b = mix((6, 6, 8), (6, 6, 8), one)
    elif name == "gray":
        b = mix((125, 125, 128), (125, 125, 128), one)
    elif name == "sky":
        b = mix((70, 150, 240), (205, 232, 252), v * one)
    elif name == "grass":                                    # mown stripes
        b = mix((62, 140, 40), (92, 182, 58), wave(u * 4 + 0.5 * j[0]) * (0.5 + 0.5 * v))
    elif name == "night":                                    # always the same stars
        b = mix((10, 14, 44), (28, 34, 84), v * one)
        stars = np.random.default_rng(7)
        y, x = np.mgrid[0:height, 0:width].astype(np.float32) / height
        for sx, sy, m in zip(stars.random(14) * 1.8, stars.random(14), stars.uniform(0.5, 1, 14)):
            d2 = ((x - sx - 0.03 * j[1]) ** 2 + (y - sy - 0.03 * j[2]) ** 2) / 0.011 ** 2
            b = b + (np.exp(-d2) * m)[..., None] * np.array((190, 190, 150), np.float32)
    elif name == "sand":                                     # ripples
        b = mix((228, 200, 145), (205, 170, 112),
                wave(v * 5 + 0.5 * j[3] + 0.15 * np.sin(4 * u)) * one)
    else:
        b = mix((110, 60, 130), (250, 140, 70), v * one)
    return np.clip(b, 0, 255).astype(np.float32)


def _path(motion, t, rng, span=1.0):
    """Centre (fractions of the frame) and size factor at times t in 0..1."""
    a, b = rng.uniform(-0.02, 0.02, 2)
    side, rest = rng.uniform(-0.05, 0.05, 2)
    k = 0.26 * span
    zero = np.zeros_like(t)
    x, y, size = zero + side, zero + rest, zero + 1
    if motion == "right":
        x = -k + 2 * k * t + a
    elif motion == "left":
        x = k - 2 * k * t + a
    elif motion == "up":
        y = k - 2 * k * t + a
    elif motion == "down":
        y = -k + 2 * k * t + a
    elif motion == "grow":
        x, y, size = x * 0.6, zero + b, 0.5 + 1.1 * t
    elif motion == "shrink":
        x, y, size = x * 0.6, zero + b, 1.6 - 1.1 * t
    return 0.5 + x, 0.5 + y, size


def cut_frame(frames):
    """First frame of the second shot: 9 of 17, 17 of 33. It begins a latent frame."""
    return (frames - 1) // 8 * 4 + 1


def tracks(scene, frames):
    """Objects as (colour, shape, x[], y[], radius[]), and the background of every frame."""
    rng = np.random.default_rng(scene["seed"])
    t = np.arange(frames) / (frames - 1)
    cut = cut_frame(frames)
    r = SIZES[scene["size"]] * rng.uniform(0.97, 1.03)
    bgs = [scene["bg"]] * frames
    if scene["kind"] == "two":
        objects = []
        for suffix, offset in (("", -0.24), ("2", 0.24)):
            x, y, _ = _path(scene["motion" + suffix], t, rng)
            if scene["relation"] == "beside":
                x = 0.5 + offset + (x - 0.5) * 0.25
            else:
                y = 0.5 + offset + (y - 0.5) * 0.25
            objects.append((scene["color" + suffix], scene["shape" + suffix], x, y,
                            np.full(frames, PAIR_RADIUS)))
        return objects, bgs
    if scene["kind"] == "cut":
        x, y, size = _path(scene["motion"], np.clip(t * 2, 0, 1), rng, 0.75)
        later = np.clip((t - t[cut]) / (1 - t[cut]), 0, 1)
        x2, y2, size2 = _path(scene["motion2"], later, rng, 0.75)
        x[cut:], y[cut:], size[cut:] = x2[cut:], y2[cut:], size2[cut:]
        bgs[cut:] = [scene["bg2"]] * (frames - cut)
    else:
        x, y, size = _path(scene["motion"], t, rng)
    return [(scene["color"], scene["shape"], x, y, r * size)], bgs


def render(scene, frames=17, height=128, width=128, part=None, masks=False):
    """uint8 (frames, height, width, 3); part = (frame, frames, y, x, height, width) cuts out a
    piece. With masks also the objects' coverage, float32 (frames, height, width)."""
    f0, n, y0, x0, h, w = part or (0, frames, 0, 0, height, width)
    objects, bgs = tracks(scene, frames)
    drawn = {b: background(b, height, width, np.random.default_rng(scene["seed"] + 1))
             [y0:y0 + h, x0:x0 + w] for b in set(bgs)}
    out = np.stack([drawn[b] for b in bgs[f0:f0 + n]])
    cover = np.zeros((n, h, w), np.float32)
    for color, shape, x, y, r in objects:
        for f in range(n):
            m = shape_mask(shape, x[f0 + f] * width - x0, y[f0 + f] * height - y0,
                           r[f0 + f] * height, h, w)
            out[f] += (np.asarray(COLORS[color], np.float32) - out[f]) * m[..., None]
            cover[f] = np.maximum(cover[f], m)
    out = np.round(out).clip(0, 255).astype(np.uint8)
    return (out, cover) if masks else out


# ------------------------------------------------------------------------------ words

EN_SHAPE = {
    "circle": ["ball", "ball", "circle"], "square": ["square", "square", "box"],
    "triangle": ["triangle"], "star": ["star"], "heart": ["heart"],
}
EN_SIZE = {"small": ["small", "little", "tiny"], "medium": ["", "", "medium"],
           "large": ["large", "big", "huge"]}
EN_MOTION = {
    "still": ["stays still", "does not move", "rests", "stands still"],
    "right": ["moves to the right", "rolls to the right", "slides right",
              "travels from left to right"],
    "left": ["moves to the left", "rolls to the left", "slides left",
             "travels from right to left"],
    "up": ["moves up", "rises", "floats upward", "goes up"],
    "down": ["moves down", "falls", "sinks downward", "goes down"],
    "grow": ["grows", "gets bigger", "becomes larger"],
    "shrink": ["shrinks", "gets smaller", "becomes smaller"],
}
EN_BG = {
    "white": ["on a white background", "in front of a white wall"],
    "black": ["on a black background", "in the dark"],
    "gray": ["on a gray background", "in front of a gray wall"],
    "sky": ["in a blue sky", "against the blue sky", "in the sky"],
    "grass": ["over green grass", "on a green meadow", "on the grass"],
    "night": ["at night", "in a starry night sky", "under the stars"],
    "sand": ["on the sand", "in the desert", "on a sandy beach"],
    "sunset": ["at sunset", "against a sunset sky", "in the evening light"],
}
EN_CUT = ["Cut to", "Then cut to", "The shot cuts to", "The camera cuts to",
          "The scene changes to"]
EN_TAIL = ["", "", "", "", ", simple animation", ", realistic style", ", high quality",
           ", 2D animation"]
ZH_COLOR = {"red": "红色", "orange": "橙色", "yellow": "黄色", "green": "绿色", "blue": "蓝色",
            "purple": "紫色", "pink": "粉色", "white": "白色"}
ZH_SHAPE = {"circle": ["球", "圆"], "square": ["方块", "正方形"], "triangle": ["三角形"],
            "star": ["星星", "五角星"], "heart": ["爱心", "心形"]}
ZH_SIZE = {"small": ["小", "很小的"], "medium": ["", ""], "large": ["大", "巨大的"]}
ZH_MOTION = {
    "still": ["静止不动", "停在原地"], "right": ["向右移动", "向右滚动", "从左向右移动"],
    "left": ["向左移动", "向左滚动", "从右向左移动"], "up": ["向上移动", "上升", "向上飘"],
    "down": ["向下移动", "落下", "下降"], "grow": ["变大", "逐渐变大"],
    "shrink": ["变小", "逐渐变小"],
}
ZH_BG = {
    "white": ["白色背景"], "black": ["黑色背景"], "gray": ["灰色背景"],
    "sky": ["蓝天", "蓝色天空"], "grass": ["绿色草地", "草地"], "night": ["夜空", "星空"],
    "sand": ["沙滩", "沙漠"], "sunset": ["日落", "夕阳"],
}
ZH_CUT = ["镜头切换到", "切换到", "画面切换到", "切到", "然后镜头切换到"]
ZH_TAIL = ["", "", "，简单动画", "，写实风格", "，高质量"]
ZH_MORE = ("一个 同一个 左边 右边 上边 下边 背景 背景是 颜色 简单 动画 写实 风格 高质量 向右 向左 向上 向下 移动 "
           "滚动 镜头 画面 切换 切换到 然后 草地 天空 从 的 在 上 是 都").split()
# Relation words as (said of the first object, said of the second), in each language.
EN_SIDES = {"beside": ("on the left", "on the right"), "above": ("at the top", "at the bottom")}
EN_RELATION = {"beside": ("to the left of", "to the right of"), "above": ("above", "below")}
ZH_SIDES = {"beside": ("左边", "右边"), "above": ("上边", "下边")}


def caption(scene, rng, zh=None):
    """Words for a scene; zh chooses Chinese (drawn when None: 35 %)."""
    zh = rng.random() < 0.35 if zh is None else zh
    return (_chinese if zh else _english)(scene, lambda xs: xs[int(rng.integers(len(xs)))])


def _chinese(s, pick):
    def obj(suffix=""):
        size = "" if suffix or s["kind"] == "two" else pick(ZH_SIZE[s["size"]])
        return (pick(["一个", "一个", ""]) + size + ZH_COLOR[s["color" + suffix]]
                + pick(["", "的"]) + pick(ZH_SHAPE[s["shape" + suffix]]))

    def moves(suffix=""):
        return pick(ZH_MOTION[s["motion" + suffix]])

    bg = pick(ZH_BG[s["bg"]])
    if s["kind"] == "two":
        a, b = ZH_SIDES[s["relation"]]
        one, two = obj(), obj("2")
        ways = [f"{a}{one}{moves()}，{b}{two}{moves('2')}"]
        if s["motion"] == s["motion2"]:
            ways += [f"{one}在{two}{a}，都{moves()}", f"{two}在{one}{b}，都{moves()}"]
        text = pick(ways)
        text = pick([f"{bg}上，{text}", f"{text}，背景是{bg}"])
    else:
        one = obj()
        text = pick([f"{one}在{bg}上{moves()}", f"{bg}上，{one}{moves()}",
                     f"{one}{moves()}，背景是{bg}"])
    if s["kind"] == "cut":
        noun, b2 = pick(ZH_SHAPE[s["shape"]]), pick(ZH_BG[s["bg2"]])
        ways = [f"{b2}，同一个{noun}{moves('2')}", f"{b2}，{noun}{moves('2')}"]
        if s["motion2"] == s["motion"]:
            ways.append(b2)
        text += pick(["，", "。"]) + pick(ZH_CUT) + pick(ways)
    return text + pick(ZH_TAIL) + pick(["。", ""])


def _english(s, pick):
    def obj(suffix=""):
        size = "" if suffix or s["kind"] == "two" else pick(EN_SIZE[s["size"]])
        words = [w for w in (size, s["color" + suffix], pick(EN_SHAPE[s["shape" + suffix]])) if w]
        article = "an" if words[0][0] in "aeiou" else "a"
        return " ".join([pick([article] * 4 + ["the", ""])] + words).strip()

    def moves(suffix=""):
        return pick(EN_MOTION[s["motion" + suffix]])

    bg = pick(EN_BG[s["bg"]])
    if s["kind"] == "two":
        a, b = EN_SIDES[s["relation"]]
        over, under = EN_RELATION[s["relation"]]
        one, two = obj(), obj("2")
        ways = [f"{one} {a} {moves()} and {two} {b} {moves('2')}",
                f"{one} {moves()} {a} and {two} {moves('2')} {b}"]
        if s["motion"] == s["motion2"] == "still":
            ways += [f"{one} {over} {two}", f"{two} {under} {one}"] * 2
        elif s["motion"] == s["motion2"]:
            also = {"up": "both move up", "down": "both move down", "left": "both move to the left",
                    "right": "both move to the right"}[s["motion"]]
            ways += [f"{one} {over} {two}, {also}", f"{two} {under} {one}, {also}"] * 2
        text = pick(ways)
        text = pick([f"{text}, {bg}", f"{bg}, {text}"])
    else:
        one = obj()
        text = pick([f"{one} {moves()} {bg}", f"{one} {moves()} {bg}", f"{bg}, {one} {moves()}",
                     f"{one} {bg} {moves()}"])
    if s["kind"] == "cut":
        noun, b2, cut = pick(EN_SHAPE[s["shape"]]), pick(EN_BG[s["bg2"]]), pick(EN_CUT)
        ways = [f"the same {noun} {b2}, it {moves('2')}", f"the {noun} {b2}, it {moves('2')}",
                f"the same {noun} that {moves('2')} {b2}"]
        if s["motion2"] == s["motion"]:
            ways += [f"the same {noun} {b2}", f"the {noun} {b2}"]
        text += pick([". " + cut, ", " + cut[0].lower() + cut[1:]]) + " " + pick(ways)
    text += pick(EN_TAIL) + pick([".", ".", ""])
    return pick([text[0].upper() + text[1:]] * 2 + [text])


def chinese_words():
    """Every Chinese word of the grammar, and the pieces that longer ones are made of."""
    tables = (ZH_SHAPE, ZH_SIZE, ZH_MOTION, ZH_BG)
    known = {w for d in tables for v in d.values() for w in v if w}
    return known | set(ZH_COLOR.values()) | set(ZH_CUT) | set(ZH_MORE)


def english_words(draws=20000):
    """Every English word of the grammar, in lower case, as it comes up in that many captions."""
    rng = np.random.default_rng(0)
    letters = re.compile(r"[^\W_]+")
    return {w for _ in range(draws)
            for w in letters.findall(caption(random_scene(rng), rng, zh=False).lower())}
