#!/usr/bin/python3
"""Makes tests/golden/wav2lip_face_out.bin: the published Wav2Lip network, run by PyTorch 1.13.

Usage: /usr/bin/python3 tools/golden/wav2lip.py tests/golden
The weights are those of wav2lip_random(1) in src/nn/import/wav2lip.c and the inputs those of
tests/nn/test_wav2lip.c, all from SplitMix64, so nothing but the result is stored: float32, two
images, 3 x 32 x 32 each (every third row and column), in n, c, h, w order.
With a second argument the weights are also saved there as torch.save's legacy form does.
"""
import collections
import sys

import numpy as np
import torch
from torch import nn

GOLDEN = 0x9E3779B97F4A7C15


class SplitMix64:
    def __init__(self, seed):
        self.state = seed

    def uniform(self, n):
        """n doubles in -1 .. 1."""
        with np.errstate(over="ignore"):
            z = np.uint64(self.state) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(GOLDEN)
            self.state = (self.state + n * GOLDEN) % 2**64
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            z ^= z >> np.uint64(31)
        return (z >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1


class Block(nn.Module):
    """Convolution, batch norm, residual, ReLU. A negative stride means transposed."""

    def __init__(self, cin, cout, kernel=3, stride=1, padding=1, residual=False):
        super().__init__()
        self.transposed = isinstance(stride, int) and stride < 0
        if self.transposed:
            conv = nn.ConvTranspose2d(cin, cout, kernel, -stride, padding, -stride - 1)
        else:
            conv = nn.Conv2d(cin, cout, kernel, stride, padding)
        self.conv_block = nn.Sequential(conv, nn.BatchNorm2d(cout))
        self.residual = residual

    def forward(self, x):
        y = self.conv_block(x)
        return torch.relu(y + x if self.residual else y)


def more(channels, n):
    return [Block(channels, channels, residual=True) for _ in range(n)]


class Wav2Lip(nn.Module):
    def __init__(self):
        super().__init__()
        encoder = [[Block(6, 16, 7, 1, 3)]]
        for cin, cout, n in ((16, 32, 2), (32, 64, 3), (64, 128, 2), (128, 256, 2), (256, 512, 1)):
            encoder.append([Block(cin, cout, 3, 2)] + more(cout, n))
        encoder.append([Block(512, 512, 3, 1, 0), Block(512, 512, 1, 1, 0)])
        self.face_encoder_blocks = nn.ModuleList(nn.Sequential(*b) for b in encoder)
        self.audio_encoder = nn.Sequential(
            Block(1, 32), *more(32, 2), Block(32, 64, 3, (3, 1)), *more(64, 2),
            Block(64, 128, 3, 3), *more(128, 2), Block(128, 256, 3, (3, 2)), *more(256, 1),
            Block(256, 512, 3, 1, 0), Block(512, 512, 1, 1, 0))
        decoder = [[Block(512, 512, 1, 1, 0)], [Block(1024, 512, 3, -1, 0)] + more(512, 1)]
        for cin, cout in ((1024, 512), (768, 384), (512, 256), (320, 128), (160, 64)):
            decoder.append([Block(cin, cout, 3, -2)] + more(cout, 2))
        self.face_decoder_blocks = nn.ModuleList(nn.Sequential(*b) for b in decoder)
        self.output_block = nn.Sequential(Block(80, 32), nn.Conv2d(32, 3, 1), nn.Sigmoid())

    def forward(self, mel, face):
        levels = []
        for block in self.face_encoder_blocks:
            face = block(face)
            levels.append(face)
        x = self.audio_encoder(mel)
        for block in self.face_decoder_blocks:
            x = torch.cat((block(x), levels.pop()), 1)
        return self.output_block(x)


def randomize(model, seed):
    """As wav2lip_random() does, in the same order."""
    random = SplitMix64(seed)
    centre = {"1.weight": 0.7, "running_var": 1.0}
    width = {"0.bias": 0.1, "1.weight": 0.2, "1.bias": 0.1, "running_mean": 0.1, "running_var": 0.2}
    order = ["face_encoder_blocks", "audio_encoder", "face_decoder_blocks", "output_block"]
    state = model.state_dict()
    names = [k for part in order for k in state if k.startswith(part)]
    for name in names:
        value = state[name]
        if name.endswith("num_batches_tracked"):
            continue
        module = model.get_submodule(name.rpartition(".")[0])
        if value.dim() == 4:
            taps = module.in_channels * module.kernel_size[0] ** 2
            if isinstance(module, nn.ConvTranspose2d):
                taps //= module.stride[0] * module.stride[1]
            c, w = 0.0, np.sqrt(6.0 / taps)
        else:
            kind = name.split("conv_block.")[-1]
            kind = kind[2:] if "running" in kind else kind
            c, w = centre.get(kind, 0.0), width.get(kind, 0.1)
        r = (c + w * random.uniform(value.numel())).astype(np.float32)
        value.copy_(torch.from_numpy(r).view(value.shape))


def main():
    torch.set_num_threads(1)
    model = Wav2Lip().eval()
    randomize(model, 1)
    assert sum(p.numel() for p in model.parameters()) == 36298035
    if len(sys.argv) > 2:
        state = collections.OrderedDict(("module." + k, v) for k, v in model.state_dict().items())
        torch.save({"state_dict": state, "optimizer": None, "global_step": 1, "global_epoch": 1},
                   sys.argv[2], _use_new_zipfile_serialization=False)
    random = SplitMix64(2)
    mel = random.uniform(2 * 80 * 16).astype(np.float32).reshape(2, 80, 16, 1) * np.float32(4)
    face = random.uniform(2 * 96 * 96 * 6).astype(np.float32).reshape(2, 96, 96, 6)
    face = face * np.float32(0.5) + np.float32(0.5)
    with torch.no_grad():
        out = model(*(torch.from_numpy(np.ascontiguousarray(a.transpose(0, 3, 1, 2)))
                      for a in (mel, face))).numpy()
    print("output", out.min(), out.mean(), out.max(), "std", out.std(),
          "between images", np.abs(out[0] - out[1]).mean())
    out[:, :, ::3, ::3].astype("<f4").tofile(sys.argv[1] + "/wav2lip_face_out.bin")


if __name__ == "__main__":
    main()
