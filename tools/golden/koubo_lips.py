#!/usr/bin/python3
"""Makes tests/golden/koubo_lips.bin: the bundled network, run by PyTorch 1.13 in float32.

Usage: /usr/bin/python3 tools/golden/koubo_lips.py models/koubo-lips.safetensors tests/golden
The inputs come from the SplitMix64 of wav2lip.py with seed 3, as in tests/nn/test_metadata_graph.c;
stored is float32, two images, 3 x 32 x 64 each (every second row and column), n, c, h, w order.
"""
import json
import struct
import sys

import numpy as np
import torch
from torch.nn import functional as F

from wav2lip import SplitMix64


def load(path):
    with open(path, "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = f.read()
    metadata = header.pop("__metadata__")
    types = {"F16": np.float16, "F32": np.float32}
    tensors = {}
    for name, t in header.items():
        begin, end = t["data_offsets"]
        a = np.frombuffer(data[begin:end], types[t["dtype"]]).astype(np.float32)
        tensors[name] = torch.from_numpy(a.reshape(t["shape"]))
    return tensors, metadata


def run_op(op, v, tensors):
    kind = op["op"]
    x = v[op["input"]] if "input" in op else None
    if kind == "conv2d":
        y = F.conv2d(x, tensors[op["weight"]], tensors[op["bias"]], op["stride"], op["padding"])
        y = y + v[op["add"]] if "add" in op else y
        return torch.relu(y) if op.get("activation") == "relu" else y
    if kind == "concat":
        return torch.cat([v[i] for i in op["inputs"]], 1)
    if kind == "broadcast":
        return x.expand(-1, -1, op["height"], op["width"])
    if kind == "lower_half":
        return x[:, :, x.shape[2] // 2:]
    if kind == "upsample_nearest":
        return F.interpolate(x, scale_factor=op["factor"], mode="nearest")
    if kind == "sigmoid":
        return torch.sigmoid(x)
    return {"pixel_shuffle": F.pixel_shuffle, "pixel_unshuffle": F.pixel_unshuffle}[kind](
        x, op["factor"])


def main():
    torch.set_num_threads(1)
    tensors, metadata = load(sys.argv[1])
    random = SplitMix64(3)
    columns = json.loads(metadata["inputs"])["mel"][3]
    mel = random.uniform(2 * 80 * columns).astype(np.float32).reshape(2, 80, columns, 1) * np.float32(4)
    face = random.uniform(2 * 128 * 128 * 6).astype(np.float32).reshape(2, 128, 128, 6)
    face = face * np.float32(0.5) + np.float32(0.5)
    values = {name: torch.from_numpy(np.ascontiguousarray(a.transpose(0, 3, 1, 2)))
              for name, a in (("mel", mel), ("face", face))}
    with torch.no_grad():
        for op in json.loads(metadata["graph"]):
            values[op["output"]] = run_op(op, values, tensors)
    out = values["lower_face"].numpy()
    print("output", out.shape, out.min(), out.mean(), out.max(), "std", out.std())
    out[:, :, ::2, ::2].astype("<f4").tofile(sys.argv[2] + "/koubo_lips.bin")


if __name__ == "__main__":
    main()
