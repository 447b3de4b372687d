#!/usr/bin/python3
"""Makes tests/golden/koubo_motion.bin: what the bundled listener tells of tests/golden/mel_columns.bin, by PyTorch in float32.

Usage: /usr/bin/python3 tools/golden/koubo_motion.py models/koubo-lips-research.safetensors tests/golden
Stored is float32: for every second column of the mel 40 points in the track's order, x and y.
"""
import json
import struct
import sys

import numpy as np
import torch
from torch.nn import functional as F

RATE, BANDS = 80, 80


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


def run_conv(op, values, tensors):
    y = F.conv2d(values[op["input"]], tensors[op["weight"]], tensors[op["bias"]], op["stride"], op["padding"], op["dilation"])
    if op.get("add"):
        y = y + values[op["add"]]
    return torch.relu(y) if op.get("activation") == "relu" else y


def main():
    torch.set_num_threads(1)
    tensors, metadata = load(sys.argv[1])
    mel = np.fromfile(f"{sys.argv[2]}/mel_columns.bin", "<f4").reshape(-1, BANDS)
    samples = (len(mel) - 1) // 2 + 1
    # One run over the whole of it: the first column of sample 0's window, and all that the last sample needs.
    first, margin = round(RATE * float(metadata["mel_offset_s"])), int(metadata["margin"])
    columns = np.arange(first, first + 2 * (samples + 2 * margin))
    values = {"mel": torch.from_numpy(mel[columns.clip(0, len(mel) - 1)].T.copy())[None, :, None]}
    with torch.no_grad():
        for op in json.loads(metadata["graph"]):
            values[op["output"]] = run_conv(op, values, tensors)
    motion = values["motion"][0, :, 0].T.numpy()[margin:margin + samples].reshape(samples, 40, 2)

    below, above = [20 + 20 - k for k in range(1, 10)], [20 + k for k in range(1, 10)]
    opening = (motion[:, below, 1] - motion[:, above, 1]).mean(1)
    knots = np.array(json.loads(metadata["curve"]))
    wanted = np.interp(opening, knots[:, 0], knots[:, 1]) + np.maximum(opening - knots[-1, 0], 0)
    motion = motion + (wanted - opening)[:, None, None] * tensors["opening"].numpy()
    motion *= float(metadata["gain"])
    print("motion", motion.shape, "opening", opening.min(), opening.max(), "becomes", wanted.min(), wanted.max())
    motion.astype("<f4").tofile(f"{sys.argv[2]}/koubo_motion.bin")


if __name__ == "__main__":
    main()
