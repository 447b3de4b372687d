#!/usr/bin/python3
"""Golden outputs of the three face networks, by an independent reading of the .tflite files.

    tools/golden/tflite.py models/face tests/golden

Reads the FlatBuffer with struct and runs every operation with PyTorch. The input is the same for
all: x[i] = ((i * 2654435761 mod 2^32) >> 8) / 2^23 - 1. Of each output every STEP-th number is kept
(little-endian f32, outputs one after the other). Needs numpy and torch; tests need neither.
"""
import struct
import sys

import numpy as np
import torch
import torch.nn.functional as F

STEP = 29


class Table:
    def __init__(self, data, at):
        self.data, self.at = data, at
        self.vtable = at - struct.unpack_from('<i', data, at)[0]

    def field(self, i):
        if 4 + 2 * i >= struct.unpack_from('<H', self.data, self.vtable)[0]:
            return 0
        offset = struct.unpack_from('<H', self.data, self.vtable + 4 + 2 * i)[0]
        return self.at + offset if offset else 0

    def number(self, i, form='i', missing=0):
        at = self.field(i)
        return struct.unpack_from('<' + form, self.data, at)[0] if at else missing

    def vector(self, i):
        at = self.field(i)
        if not at:
            return 0, 0
        at += struct.unpack_from('<I', self.data, at)[0]
        return at + 4, struct.unpack_from('<I', self.data, at)[0]

    def numbers(self, i):
        at, n = self.vector(i)
        return list(struct.unpack_from('<%di' % n, self.data, at))

    def bytes(self, i):
        at, n = self.vector(i)
        return self.data[at:at + n]

    def child(self, i):
        at = self.field(i)
        return Table(self.data, at + struct.unpack_from('<I', self.data, at)[0]) if at else None

    def children(self, i):
        at, n = self.vector(i)
        places = [at + 4 * k for k in range(n)]
        return [Table(self.data, p + struct.unpack_from('<I', self.data, p)[0]) for p in places]


def pad_same(x, kernel, stride, value=0.0):
    """TensorFlow's SAME padding of an NCHW tensor: what is odd goes below and right."""
    pads = []
    for size, k, s in ((x.shape[3], kernel[1], stride[1]), (x.shape[2], kernel[0], stride[0])):
        total = max((-(-size // s) - 1) * s + k - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads, value=value)


def run(path):
    data = open(path, 'rb').read()
    model = Table(data, struct.unpack_from('<I', data, 0)[0])
    codes = [max(c.number(0, 'b'), c.number(3)) for c in model.children(1)]
    graph = model.children(2)[0]
    buffers = model.children(4)
    tensors = graph.children(0)
    values = {}
    for i, t in enumerate(tensors):
        raw = buffers[t.number(2, 'I')].bytes(0)
        if raw:
            kind = {0: '<f4', 1: '<f2', 2: '<i4'}[t.number(1, 'b')]
            array = np.frombuffer(raw, kind).reshape(t.numbers(0))
            values[i] = torch.from_numpy(array.astype('i8' if kind == '<i4' else 'f4'))

    source = graph.numbers(1)[0]
    shape = tensors[source].numbers(0)
    index = np.arange(np.prod(shape), dtype=np.uint64)
    noise = ((index * np.uint64(2654435761)) & np.uint64(0xffffffff)) >> np.uint64(8)
    x = (noise.astype('f8') / 2**23 - 1).astype('f4').reshape(shape)
    values[source] = torch.from_numpy(x)

    def nchw(v):
        return v.permute(0, 3, 1, 2)

    for op in graph.children(3):
        code = codes[op.number(0, 'I')]
        a = [values[i] for i in op.numbers(1)]
        o = op.child(4)
        if code == 6:  # DEQUANTIZE of a constant
            y = a[0]
        elif code in (3, 4):  # CONV_2D, DEPTHWISE_CONV_2D
            depthwise = code == 4
            stride = (o.number(2, 'i', 1), o.number(1, 'i', 1))
            w = a[1].permute(3, 0, 1, 2) if depthwise else a[1].permute(0, 3, 1, 2)
            v = nchw(a[0])
            if o.number(0, 'b') == 0:
                v = pad_same(v, w.shape[2:], stride)
            y = F.conv2d(v, w, a[2], stride, groups=v.shape[1] if depthwise else 1)
            y = y.permute(0, 2, 3, 1)
            if o.number(4 if depthwise else 3, 'b') == 1:
                y = torch.relu(y)
        elif code == 0:
            y = a[0] + a[1]
        elif code == 19:
            y = torch.relu(a[0])
        elif code == 54:  # PRELU
            y = torch.where(a[0] > 0, a[0], a[0] * a[1])
        elif code == 34:  # PAD
            p = a[1].tolist()
            y = F.pad(a[0], [n for pair in reversed(p) for n in pair])
        elif code == 17:  # MAX_POOL_2D
            stride, kernel = (o.number(2), o.number(1)), (o.number(4), o.number(3))
            v = nchw(a[0])
            if o.number(0, 'b') == 0:
                v = pad_same(v, kernel, stride, float('-inf'))
            y = F.max_pool2d(v, kernel, stride).permute(0, 2, 3, 1)
        elif code == 23:  # RESIZE_BILINEAR
            assert o.number(2, 'b') == 0 and o.number(3, 'b') == 1
            y = F.interpolate(nchw(a[0]), a[1].tolist(), mode='bilinear', align_corners=False)
            y = y.permute(0, 2, 3, 1)
        elif code == 22:
            y = a[0].reshape(tensors[op.numbers(2)[0]].numbers(0))
        elif code == 2:
            y = torch.cat(a, o.number(0))
        else:
            raise ValueError('operation %d' % code)
        out = op.numbers(2)[0]
        assert list(y.shape) == tensors[out].numbers(0), (code, y.shape)
        values[out] = y.contiguous()
    return [values[i].numpy().ravel() for i in graph.numbers(2)]


def main(models, golden):
    for name in ('face_detection_short_range', 'face_detection_full_range', 'face_landmark'):
        kept = np.concatenate([y[::STEP] for y in run('%s/%s.tflite' % (models, name))])
        kept.astype('<f4').tofile('%s/%s.f32' % (golden, name))
        print('%s: %d numbers, %g to %g' % (name, kept.size, kept.min(), kept.max()))


if __name__ == '__main__':
    main(*sys.argv[1:])
