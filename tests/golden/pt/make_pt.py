"""Writes the small .pt files of this folder with torch.save: python make_pt.py OUT."""
import sys
from collections import OrderedDict
from pathlib import Path

import torch

out = Path(sys.argv[1])


def count(*shape, dtype=torch.float32):
    n = 1
    for s in shape:
        n *= s
    return torch.arange(n, dtype=torch.float32).reshape(shape).to(dtype)


torch.save(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.LayerNorm(3)).state_dict(), out / "module.pt")
kinds = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
         torch.uint8, torch.bool, torch.float8_e4m3fn, torch.float8_e5m2]
torch.save({str(k).split(".")[1]: count(2, 3, dtype=k) for k in kinds}, out / "types.pth")
whole = count(4, 3)
torch.save({"module": OrderedDict(whole=whole, tail=whole[2:], scalar=torch.tensor(7.0), empty=torch.empty(0, 3),
                                  parameter=torch.nn.Parameter(count(2))), "step": 3, "args": {"lr": 0.5, "x": (1, None, True)}},
           out / "views.pt")
torch.save({"w": count(3, dtype=torch.bfloat16)}, out / "protocol4.pt", pickle_protocol=4)
torch.save({"w": count(2, 3).t()}, out / "transposed.pt")
torch.save({"w": count(2), "device": torch.device("cpu")}, out / "symbol.pt")
torch.save({"w": count(2)}, out / "legacy.pt", _use_new_zipfile_serialization=False)
torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), out / "script.pt")
