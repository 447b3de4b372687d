#!/usr/bin/python3
"""Golden outputs of the networks of faces and people, by an independent reading of the .tflite files.

    tools/golden/tflite.py models/face tests/golden

Reads the FlatBuffer with struct and runs every operation with PyTorch. The detectors' input is
x[i] = ((i * 2654435761 mod 2^32) >> 8) / 2^23 - 1, and of each output every STEP-th number is kept.
The networks of people see
the first of the drawn faces, stretched to their height, and its ground beside it; of their masks every
STEP-th number is kept. The face mesh sees two drawn faces (FACE below: upright, then turned); kept are all its landmarks,
its lips and the face's score. Little-endian f32, one after the other. Needs numpy and torch; tests
need neither.
"""
import math
import struct
import sys

import numpy as np
import torch
import torch.nn.functional as F

STEP = 29

# A face of ellipses, painted in this order: middle and half-axes in pixels, colour.
SIZE = 192
GROUND = (90, 110, 120)
FACE = [
    (96, 96, 62, 82, (205, 160, 135)), (96, 40, 60, 36, (70, 50, 40)),
    (96, 84, 52, 52, (205, 160, 135)), (70, 82, 13, 7, (240, 240, 240)),
    (122, 82, 13, 7, (240, 240, 240)), (70, 82, 6, 6, (50, 35, 25)), (122, 82, 6, 6, (50, 35, 25)),
    (70, 68, 16, 3, (70, 50, 40)), (122, 68, 16, 3, (70, 50, 40)),
    (96, 108, 11, 7, (180, 130, 110)), (91, 110, 3, 2, (90, 50, 45)),
    (101, 110, 3, 2, (90, 50, 45)), (96, 136, 24, 11, (170, 80, 80)),
    (96, 136, 17, 5, (60, 20, 25)),
]
TURNS = [(1, 0, 1), (24, 7, 25)]  # cosine and sine, times the third
ATTENTION = 'face_landmark_attention'
KEPT = ['output_mesh_identity', 'output_lips', 'conv_faceflag']


def drawn_face(cosine, sine, unit):
    """(1, SIZE, SIZE, 3), 0..1. Whole numbers until the end, so that C draws the same."""
    picture = np.empty((SIZE, SIZE, 3), 'i8')
    picture[:] = GROUND
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype('i8')
    x, y = 2 * x + 1 - SIZE, 2 * y + 1 - SIZE
    x, y = cosine * x + sine * y, cosine * y - sine * x
    for cx, cy, a, b, colour in FACE:
        u, v = x - unit * (2 * cx - SIZE), y - unit * (2 * cy - SIZE)
        picture[u * u * b * b + v * v * a * a <= 4 * unit * unit * a * a * b * b] = colour
    return picture[None].astype('f4') / np.float32(255)


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


def stretched_face(width, height):
    """(1, height, width, 3): the upright face, one pixel of it where each pixel's corner lies."""
    face = drawn_face(*TURNS[0])[0]
    x = (np.arange(width) - (width - height) // 2) * SIZE // height
    picture = face[np.arange(height)[:, None] * SIZE // height, np.clip(x, 0, SIZE - 1)]
    return np.ascontiguousarray(picture[None])


def flexbuffer(data):
    """A map of numbers and lists of whole numbers. It is read from its end."""
    def unsigned(at, width):
        return int.from_bytes(data[at:at + width], 'little')

    width = data[-1]
    root = len(data) - 2 - width
    values, width = root - unsigned(root, width), 1 << (data[-2] & 3)
    n, key_width = unsigned(values - width, width), unsigned(values - 2 * width, width)
    keys = values - 3 * width - unsigned(values - 3 * width, width)
    found = {}
    for i in range(n):
        at = keys + i * key_width
        at -= unsigned(at, key_width)
        key = data[at:data.index(0, at)].decode()
        kind, at = data[values + n * width + i], values + i * width
        if kind >> 2 == 1:
            found[key] = int.from_bytes(data[at:at + width], 'little', signed=True)
        elif kind >> 2 == 3:
            found[key] = struct.unpack_from('<f', data, at)[0]
        elif kind >> 2 == 11:
            size = 1 << (kind & 3)
            at -= unsigned(at, width)
            found[key] = [int.from_bytes(data[at + k * size:at + (k + 1) * size], 'little', signed=True)
                          for k in range(unsigned(at - size, size))]
        else:
            raise ValueError('type %d' % kind)
    return found


def crop_matrix(points, o):
    p = points.reshape(-1, 3).double().numpy()[:, :2]
    across = p[o['right_rotation_idx']] - p[o['left_rotation_idx']]
    angle = o['target_rotation_radians'] - math.atan2(across[1], across[0])
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    turned = p[o['subset_idxs']] @ turn.T
    low, high = turned.min(0), turned.max(0)
    size = np.array([o['output_width'], o['output_height']])
    grow = np.array([o['scale_x'], o['scale_y']])
    matrix = np.eye(4)
    matrix[:2, :2] = turn.T @ np.diag(grow * (high - low) / size)
    matrix[:2, 3] = turn.T @ ((low + high) / 2) - matrix[:2, :2] @ (size / 2)
    return torch.from_numpy(matrix.astype('f4'))[None]


def warp(x, matrix, o):
    m, picture = matrix[0].double().numpy(), x[0].double().numpy()
    row, column = np.mgrid[0:o['output_height'], 0:o['output_width']] + 0.5
    at_x = m[0, 0] * column + m[0, 1] * row + m[0, 3] - 0.5
    at_y = m[1, 0] * column + m[1, 1] * row + m[1, 3] - 0.5
    h, w = picture.shape[:2]
    inside = (at_x >= 0) & (at_x <= w - 1) & (at_y >= 0) & (at_y <= h - 1)
    x0 = np.clip(np.floor(at_x), 0, w - 1).astype(int)
    y0 = np.clip(np.floor(at_y), 0, h - 1).astype(int)
    x1, y1 = np.minimum(x0 + 1, w - 1), np.minimum(y0 + 1, h - 1)
    u, v = (at_x - x0)[..., None], (at_y - y0)[..., None]
    upper = picture[y0, x0] * (1 - u) + picture[y0, x1] * u
    lower = picture[y1, x0] * (1 - u) + picture[y1, x1] * u
    y = np.where(inside[..., None], upper * (1 - v) + lower * v, 0)
    return torch.from_numpy(y.astype('f4'))[None]


def custom(name, a, options):
    if name == b'Landmarks2TransformMatrix':
        return crop_matrix(a[0], flexbuffer(options))
    if name == b'TransformTensorBilinear':
        return warp(a[0], a[1], flexbuffer(options))
    if name == b'TransformLandmarks':
        return a[0] @ a[1][0, :2, :2].T + a[1][0, :2, 3]
    if name == b'Convolution2DTransposeBias':
        stride = struct.unpack_from('<3i', options)[1:]
        y = F.conv_transpose2d(a[0].permute(0, 3, 1, 2), a[1].permute(3, 0, 1, 2), a[2], stride)
        return y.permute(0, 2, 3, 1)
    raise ValueError(name)


def run(path, x=None, wanted=None):
    """Outputs by name, or all in order. x: the input, or the noise."""
    data = open(path, 'rb').read()
    model = Table(data, struct.unpack_from('<I', data, 0)[0])
    codes = [max(c.number(0, 'b'), c.number(3)) for c in model.children(1)]
    names = [c.bytes(1) for c in model.children(1)]
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
    noise_x = (noise.astype('f8') / 2**23 - 1).astype('f4').reshape(shape)
    values[source] = torch.from_numpy(noise_x if x is None else x)

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
        elif code == 1:  # AVERAGE_POOL_2D
            kernel, stride = (o.number(4), o.number(3)), (o.number(2), o.number(1))
            y = F.avg_pool2d(nchw(a[0]), kernel, stride).permute(0, 2, 3, 1)
        elif code == 40:  # MEAN
            y = a[0].mean(a[1].tolist(), keepdim=True)
        elif code == 14:
            y = torch.sigmoid(a[0])
        elif code == 117:
            y = F.hardswish(a[0])
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
        elif code == 18:  # MUL
            y = a[0] * a[1]
        elif code == 45:  # STRIDED_SLICE
            begin, end, stride = (v.tolist() for v in a[1:])
            y = a[0][tuple(slice(*part) for part in zip(begin, end, stride))]
        elif code == 32:
            y = custom(names[op.number(0, 'I')], a, op.bytes(5))
        else:
            raise ValueError('operation %d' % code)
        out = op.numbers(2)[0]
        assert list(y.shape) == tensors[out].numbers(0), (code, y.shape)
        values[out] = y.contiguous()
    outputs = {tensors[i].bytes(3).decode(): values[i].numpy().ravel() for i in graph.numbers(2)}
    return [outputs[name] for name in wanted or outputs]


def main(models, golden):
    kept = {}
    for name in ('face_detection_short_range', 'face_detection_full_range'):
        kept[name] = [y[::STEP] for y in run('%s/%s.tflite' % (models, name))]
    for name in ('selfie_segmentation', 'selfie_segmentation_landscape'):
        x = stretched_face(256, 144 if name.endswith('landscape') else 256)
        kept[name] = [y[::STEP] for y in run('%s/%s.tflite' % (models, name), x)]
    kept[ATTENTION] = [y for turn in TURNS for y in run('%s/%s.tflite' % (models, ATTENTION),
                                                        drawn_face(*turn), KEPT)]
    for name, parts in kept.items():
        numbers = np.concatenate(parts)
        numbers.astype('<f4').tofile('%s/%s.f32' % (golden, name))
        print('%s: %d numbers, %g to %g' % (name, numbers.size, numbers.min(), numbers.max()))


if __name__ == '__main__':
    main(*sys.argv[1:])
