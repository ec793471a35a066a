"""Reads the attributes of a scene back from pixels: score(clip, scene) -> {attribute: right}.

Colour and mask of an object come from its distance to the background and to the palette, shape
from the best overlap with each shape drawn at the same area and centre, motion from the mask's
track. Knows the world, and nothing of models.
"""
import math

import numpy as np

import world

PALETTE = np.array(list(world.COLORS.values()), np.float32)
NAMES = list(world.COLORS)
ORDER = ("color", "shape", "bg", "motion", "relation", "cut", "size", "bg2", "motion2", "color2",
         "shape2")


def find_cut(v):
    """Index of the first frame of the second shot, or None: one jump that stands out."""
    d = np.abs(v[1:].astype(np.float32) - v[:-1]).mean((1, 2, 3))
    i = int(d.argmax())
    return i + 1 if d[i] > 15 and d[i] > 4 * np.delete(d, i).max() else None


def classify_background(shot):
    f = shot[len(shot) // 2].astype(np.float32)

    def distance(name):
        d = np.abs(f - world.background(name, *f.shape[:2])).sum(-1)
        return np.median(d) + 0.25 * d.mean()

    return min(world.BACKGROUNDS, key=distance)


def find_object(shot, bg, rows=slice(None), columns=slice(None)):
    """(colour, masks[frames, height, width]) of what stands out most in a part of the frame."""
    v = shot[:, rows, columns].astype(np.float32)
    behind = world.background(bg, shot.shape[1], shot.shape[2])[rows, columns]
    if bg == "night":                                        # its stars are no objects
        behind = np.minimum(behind, np.array((28, 34, 84), np.float32))
    far = np.abs(v - behind).sum(-1) > 90
    distance = ((v[..., None, :] - PALETTE) ** 2).sum(-1) ** 0.5
    nearest = distance.argmin(-1)
    hit = far & (distance.min(-1) < 75)
    color = int(np.bincount(nearest[hit], minlength=len(PALETTE)).argmax())
    return NAMES[color], hit & (nearest == color)


def track(masks):
    """(x, y, area) of every frame as fractions; NaN where nothing is seen."""
    h, w = masks.shape[1:]
    y, x = np.mgrid[0:h, 0:w]
    rows = []
    for m in masks:
        a = m.sum()
        rows.append((x[m].mean() / w, y[m].mean() / h, a / h / h) if a >= 12 else (np.nan,) * 3)
    return np.array(rows)


def classify_motion(t):
    t = t[~np.isnan(t[:, 0])]
    if len(t) < 3:
        return "gone"
    x, y, area = t.T
    rx, ry = np.ptp(x), np.ptp(y)
    growth = math.log(area[-2:].mean() / area[:2].mean())
    if abs(growth) > 0.75 and max(rx, ry) < 0.22:
        return "grow" if growth > 0 else "shrink"
    if max(rx, ry) < 0.15:
        return "still"
    if min(rx, ry) > 0.22:
        return "other"
    if rx > ry:
        d, r, names = x[-1] - x[0], rx, ("right", "left")
    else:
        d, r, names = y[-1] - y[0], ry, ("down", "up")
    return names[int(d < 0)] if abs(d) > 0.75 * r else "other"


def _moments():
    area, centre = {}, {}
    for s in world.SHAPES:
        m = world.shape_mask(s, 100, 100, 50, 200, 200)
        steps = np.arange(200) + 0.5
        area[s] = m.sum() / 2500
        centre[s] = ((m.sum(0) * steps).sum() / m.sum() / 50 - 2,
                     (m.sum(1) * steps).sum() / m.sum() / 50 - 2)
    return area, centre


AREA, CENTRE = _moments()


def classify_shape(masks):
    votes = dict.fromkeys(world.SHAPES, 0.0)
    h, w = masks.shape[1:]
    y, x = np.mgrid[0:h, 0:w]
    for m in masks[::max(1, len(masks) // 4)]:
        a = m.sum()
        if a < 12:
            continue
        cx, cy = x[m].mean() + 0.5, y[m].mean() + 0.5
        for s in world.SHAPES:
            r = math.sqrt(a / AREA[s])
            drawn = world.shape_mask(s, cx - CENTRE[s][0] * r, cy - CENTRE[s][1] * r, r, h, w) > 0.5
            votes[s] += (drawn & m).sum() / max(1, (drawn | m).sum())
    return max(votes, key=votes.get)


def _score_pair(v, scene, result):
    """Two objects, each looked for in its own half: halves right means relation right."""
    h, w = v.shape[1:3]
    bg = classify_background(v)
    result["bg"] = bg == scene["bg"]
    beside = scene["relation"] == "beside"
    seen = []
    for i, suffix in enumerate(("", "2")):
        half = slice(i * (w if beside else h) // 2, (i + 1) * (w if beside else h) // 2)
        color, masks = find_object(v, bg, **{"columns" if beside else "rows": half})
        t = track(masks)
        t[:, 0 if beside else 1] *= 0.5
        if not beside:
            t[:, 2] *= 0.25                                  # area is by the height of the part
        seen.append(color)
        result["color" + suffix] = color == scene["color" + suffix]
        result["shape" + suffix] = classify_shape(masks) == scene["shape" + suffix]
        result["motion" + suffix] = classify_motion(t) == scene["motion" + suffix]
    result["relation"] = seen == [scene["color"], scene["color2"]]
    return result


def score(v, scene, cuts=None):
    """v: uint8 (frames, height, width, 3); cuts: first frames of later shots, if somebody else has
    looked for them."""
    cut = find_cut(v) if cuts is None else cuts[0] if len(cuts) == 1 else None
    found = int(cut is not None) if cuts is None else len(cuts)
    result = {"cut": found == (scene["kind"] == "cut")}
    if scene["kind"] == "two":
        return _score_pair(v, scene, result)
    at = cut or world.cut_frame(len(v))
    shots = [(v, "")] if scene["kind"] == "one" else [(v[:at], ""), (v[at:], "2")]
    for shot, suffix in shots:
        bg = classify_background(shot)
        result["bg" + suffix] = bg == scene["bg" + suffix]
        color, masks = find_object(shot, bg)
        result["color"] = result.get("color", True) and color == scene["color"]
        result["shape"] = result.get("shape", True) and classify_shape(masks) == scene["shape"]
        t = track(masks)
        result["motion" + suffix] = classify_motion(t) == scene["motion" + suffix]
        if scene["kind"] == "one":
            seen = t[~np.isnan(t[:, 2]), 2]
            r = math.sqrt(np.median(seen) / AREA[scene["shape"]]) if len(seen) else 1e-3
            if scene["motion"] in ("grow", "shrink"):
                r /= 1.05
            result["size"] = scene["size"] == min(
                world.SIZES, key=lambda k: abs(math.log(max(r, 1e-3) / world.SIZES[k])))
    return result


def summary(results):
    """Share of right answers by attribute, and of clips with everything right (size aside)."""
    out = {}
    for k in ORDER:
        x = [r[k] for r in results if k in r]
        if x:
            out[k] = round(float(np.mean(x)), 3)
    whole = [all(v for k, v in r.items() if k != "size") for r in results]
    out["all"] = round(float(np.mean(whole)), 3)
    return out


def sheet(clips, path, frames=(0, 4, 8, 9, 12, 16)):
    """A contact sheet: one clip a row."""
    from PIL import Image
    rows = [np.concatenate([v[f] for f in frames], 1) for v in clips]
    Image.fromarray(np.concatenate(rows)).save(path)
