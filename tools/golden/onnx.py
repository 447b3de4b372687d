#!/usr/bin/python3
"""Makes tests/golden/onnx_*: small networks with Wav2Lip's inputs and output, exported by PyTorch 1.13, and what it computes.

Usage: /usr/bin/python3 tools/golden/onnx.py tests/golden
The inputs are those of tools/golden/wav2lip.py. Of the output every third row and column is stored (192: every sixth), two images.
"""
import os
import sys
from typing import List

import numpy as np
import torch
from torch import nn

from wav2lip import SplitMix64

torch.set_num_threads(1)


class Down(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(cin, cout, 3, stride, 1), nn.BatchNorm2d(cout))
        self.residual = cin == cout

    def forward(self, x):
        y = self.conv(x)
        if self.residual:
            y = y + x
        return torch.relu(y)


class Up(nn.Module):
    def __init__(self, cin, cout, kernel):
        super().__init__()
        self.conv = nn.Sequential(
            nn.ConvTranspose2d(cin, cout, kernel, 2, 1, 1 if kernel == 3 else 0),
            nn.BatchNorm2d(cout))

    def forward(self, x):
        return nn.functional.leaky_relu(self.conv(x), 0.1)


class Mini(nn.Module):
    """A face goes down to half its size, a mel to one pixel and up again, and they meet twice."""

    def __init__(self, side):
        super().__init__()
        self.encoder = nn.ModuleList([
            nn.Sequential(nn.Conv2d(6, 4, 3, 1, 1), nn.PReLU(4)),
            nn.Sequential(Down(4, 6, 2), Down(6, 6, 1))])
        self.audio = nn.Sequential(nn.Conv2d(1, 6, (5, 4), (5, 4)), nn.ReLU(), nn.Conv2d(6, 8, (16, 4)))
        steps = {96: 4, 192: 5}[side]  # 3 pixels to half of the side
        self.grow = nn.Sequential(nn.ConvTranspose2d(8, 4, 3), nn.ReLU(), *[Up(4, 4, 3) for _ in range(steps)])
        self.up = Up(4 + 6, 5, 4)
        self.out = nn.Sequential(nn.Conv2d(5 + 4, 3, 1), nn.Sigmoid())

    def forward(self, mel, face):
        levels: List[torch.Tensor] = []
        for level in self.encoder:
            face = level(face)
            levels.append(face)
        x = self.audio(mel).flatten(1).view(-1, 8, 1, 1)
        x = self.grow(x * 0.5 + 0.1)
        x = self.up(torch.cat((x, levels.pop()), 1))
        return self.out(torch.cat((x, levels.pop()), 1))


class FaceFirst(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, a, b):
        return self.inner(b, a)


class ChannelsLast(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, mel, face):
        return self.inner(mel.permute(0, 3, 1, 2), face.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def randomize(model):
    random = SplitMix64(7)
    for name, value in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        r = random.uniform(value.numel())
        if name.endswith("running_var"):
            r = 1 + 0.2 * r
        elif value.dim() == 4:
            r = r * np.sqrt(6.0 / (value.numel() / value.shape[0]))
        else:
            r = 0.3 + 0.2 * r
        value.copy_(torch.from_numpy(r.astype(np.float32)).view(value.shape))


def inputs(side):
    random = SplitMix64(2)
    mel = random.uniform(2 * 80 * 16).astype(np.float32).reshape(2, 80, 16, 1) * np.float32(4)
    face = random.uniform(2 * side * side * 6).astype(np.float32).reshape(2, side, side, 6)
    face = face * np.float32(0.5) + np.float32(0.5)
    return [torch.from_numpy(np.ascontiguousarray(a.transpose(0, 3, 1, 2))) for a in (mel, face)]


def export(model, args, path, **options):
    torch.onnx.export(model, args, path, do_constant_folding="training" not in options, **options)
    print(path, os.path.getsize(path))


def main():
    folder = sys.argv[1]
    for side in (96, 192):
        model = Mini(side).eval()
        randomize(model)
        mel, face = inputs(side)
        with torch.no_grad():
            out = model(mel, face).numpy()
        print(side, "output", out.min(), out.mean(), out.max(), "std", out.std(),
              "between images", np.abs(out[0] - out[1]).mean())
        step = side // 32
        out[:, :, ::step, ::step].astype("<f4").tofile(f"{folder}/onnx_{side}.bin")
        mel, face = mel[:1], face[:1]
        batch = {"mel": {0: "batch"}, "face": {0: "batch"}}
        export(model, (mel, face), f"{folder}/onnx_{side}.onnx", opset_version=11, dynamic_axes=batch,
               input_names=["mel", "face"])
        if side == 192:
            break
        export(model, (mel, face), f"{folder}/onnx_norms.onnx", opset_version=13,
               training=torch.onnx.TrainingMode.PRESERVE)
        export(FaceFirst(model), (face, mel), f"{folder}/onnx_face_first.onnx", opset_version=9,
               input_names=["source", "audio"])
        export(ChannelsLast(model), (mel.permute(0, 2, 3, 1), face.permute(0, 2, 3, 1)),
               f"{folder}/onnx_channels_last.onnx", opset_version=17)
        export(torch.jit.script(model), (mel, face), f"{folder}/onnx_scripted.onnx", opset_version=14)


if __name__ == "__main__":
    main()
