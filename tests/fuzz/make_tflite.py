#!/usr/bin/env python3
"""Writes the seeds of the target tflite: networks of a few hundred bytes that have every operation
between them. make_tflite.py FOLDER

A FlatBuffer is written from front to back: a table, then what it points to. Field numbers are those
of TensorFlow's schema.fbs (version 3)."""
import struct
import sys

F32, F16, I32 = 0, 1, 2
ADD, CONCAT, CONV, DEPTHWISE, DEQUANTIZE, LOGISTIC, POOL, MUL, RELU, RELU6 = 0, 2, 3, 4, 6, 14, 17, 18, 19, 21
RESHAPE, RESIZE, CUSTOM, PAD, SLICE, PRELU = 22, 23, 32, 34, 45, 54


class Byte(int):
    """A field of one byte; an int is one of four."""


class Writer:
    def __init__(self):
        self.out = bytearray(struct.pack("<I", 8) + b"TFL3")

    def align(self, n):
        while len(self.out) % n:
            self.out.append(0)

    def value(self, v):
        """Writes what an offset points to and returns where it lies."""
        if isinstance(v, dict):
            return self.table(v)
        self.align(16)
        self.out += bytes(12)  # the numbers of a vector lie behind its length, on a multiple of 16
        at = len(self.out)
        if isinstance(v, (bytes, str)):
            v = v.encode() if isinstance(v, str) else v
            self.out += struct.pack("<I", len(v)) + v + b"\0"
        elif all(isinstance(x, int) for x in v):
            self.out += struct.pack(f"<I{len(v)}i", len(v), *v)
        else:
            self.out += struct.pack("<I", len(v)) + bytes(4 * len(v))
            for i, x in enumerate(v):
                self.point(at + 4 + 4 * i, self.value(x))
        return at

    def point(self, at, to):
        struct.pack_into("<I", self.out, at, to - at)

    def table(self, fields):
        n = max(fields, default=-1) + 1
        self.align(4)
        vtable = len(self.out)
        self.out += struct.pack("<HH", 4 + 2 * n, 4 + 4 * n) + bytes(2 * n)
        self.align(4)
        at = len(self.out)
        self.out += struct.pack("<i", at - vtable) + bytes(4 * n)
        for i, v in fields.items():
            place = at + 4 + 4 * i
            struct.pack_into("<H", self.out, vtable + 4 + 2 * i, place - at)
            if isinstance(v, Byte):
                self.out[place] = v
            elif isinstance(v, int):
                struct.pack_into("<i", self.out, place, v)
            else:
                self.point(place, self.value(v))
        return at


class Network:
    def __init__(self):
        self.codes, self.tensors, self.buffers, self.ops = [], [], [{}], []

    def tensor(self, name, shape, data=None, kind=F32):
        buffer = 0
        if data is not None:
            buffer = len(self.buffers)
            self.buffers.append({0: data})
        self.tensors.append({0: shape, 1: Byte(kind), 2: buffer, 3: name})
        return len(self.tensors) - 1

    def floats(self, name, shape):
        n = 1
        for side in shape:
            n *= side
        return self.tensor(name, shape, struct.pack(f"<{n}f", *((i % 7 - 3) / 8 for i in range(n))))

    def ints(self, name, values):
        return self.tensor(name, [len(values)], struct.pack(f"<{len(values)}i", *values), I32)

    def op(self, code, ins, shape, options=None, custom=None, custom_options=b""):
        out = self.tensor(f"t{len(self.tensors)}", shape)
        entry = (code, custom)
        if entry not in self.codes:
            self.codes.append(entry)
        fields = {0: self.codes.index(entry), 1: ins, 2: [out], 4: options or {}}
        if custom_options:
            fields[5] = custom_options
        self.ops.append(fields)
        return out

    def write(self, path, inputs, outputs):
        w = Writer()
        codes = [{0: Byte(code), **({1: custom} if custom else {})} for code, custom in self.codes]
        subgraph = {0: self.tensors, 1: inputs, 2: outputs, 3: self.ops}
        w.point(0, w.table({0: 3, 1: codes, 2: [subgraph], 4: self.buffers}))
        with open(path, "wb") as f:
            f.write(w.out)


def flex_map(values):
    """A FlexBuffer: a map of ints, floats and lists of ints, everything four bytes wide."""
    keys = sorted(values)
    out, key_at, list_at = bytearray(), {}, {}
    for key in keys:
        key_at[key] = len(out)
        out += key.encode() + b"\0"
    out += bytes(-len(out) % 4)
    for key in keys:
        if isinstance(values[key], list):
            out += struct.pack("<I", len(values[key]))
            list_at[key] = len(out)
            out += struct.pack(f"<{len(values[key])}i", *values[key])
    out += struct.pack("<I", len(keys))
    keys_at = len(out)
    for key in keys:
        out += struct.pack("<I", len(out) - key_at[key])
    out += struct.pack("<III", len(out) - keys_at, 4, len(keys))
    values_at, types = len(out), b""
    for key in keys:
        v = values[key]
        if isinstance(v, list):
            out += struct.pack("<I", len(out) - list_at[key])
            types += bytes([11 << 2 | 2])
        else:
            out += struct.pack("<f" if isinstance(v, float) else "<i", v)
            types += bytes([(3 if isinstance(v, float) else 1) << 2 | 2])
    out += types
    out += struct.pack("<I", len(out) - values_at) + bytes([9 << 2 | 2, 4])
    return bytes(out)


def convolutions(folder):
    n = Network()
    x = n.tensor("input", [1, 8, 8, 3])
    same, relu, relu6 = Byte(0), Byte(1), Byte(3)
    a = n.op(CONV, [x, n.floats("w", [4, 3, 3, 3]), n.floats("b", [4])], [1, 4, 4, 4],
             {0: same, 1: 2, 2: 2, 3: relu})
    half = n.tensor("half", [1, 3, 3, 4], struct.pack("<36e", *(i / 64 for i in range(36))), F16)
    b = n.op(DEPTHWISE, [a, n.op(DEQUANTIZE, [half], [1, 3, 3, 4]), n.floats("c", [4])], [1, 4, 4, 4],
             {0: same, 1: 1, 2: 1, 3: 1, 4: relu6})
    c = n.op(ADD, [a, b], [1, 4, 4, 4], {0: relu})
    d = n.op(PRELU, [c, n.floats("slopes", [1, 1, 4])], [1, 4, 4, 4])
    e = n.op(POOL, [d], [1, 2, 2, 4], {0: Byte(1), 1: 2, 2: 2, 3: 2, 4: 2})
    f = n.op(PAD, [e, n.ints("pads", [0, 0, 1, 1, 1, 1, 0, 2])], [1, 4, 4, 6])
    g = n.op(RESIZE, [e, n.ints("size", [4, 4])], [1, 4, 4, 4], {3: Byte(1)})
    h = n.op(CONCAT, [f, g, d], [1, 4, 4, 14], {0: 3})
    i = n.op(RESHAPE, [h], [1, 16, 14])
    out = n.op(LOGISTIC, [i], [1, 16, 14])
    n.write(f"{folder}/convolutions.tflite", [x], [out, c])


def crops(folder):
    n = Network()
    x, points = n.tensor("input", [1, 8, 8, 3]), n.tensor("points", [1, 6, 3])
    rule = flex_map({"left_rotation_idx": 0, "right_rotation_idx": 1, "output_width": 6, "output_height": 4,
                     "scale_x": 1.5, "scale_y": 1.25, "target_rotation_radians": 0.5, "subset_idxs": [0, 2, 5]})
    size = flex_map({"output_width": 6, "output_height": 4})
    m = n.op(CUSTOM, [points], [1, 4, 4], custom="Landmarks2TransformMatrix", custom_options=rule)
    c = n.op(CUSTOM, [x, m], [1, 4, 6, 3], custom="TransformTensorBilinear", custom_options=size)
    flat = n.op(RESHAPE, [c], [1, 36, 2])
    p = n.op(CUSTOM, [flat, m], [1, 36, 2], custom="TransformLandmarks")
    s = n.op(MUL, [p, n.floats("factors", [2])], [1, 36, 2])
    t = n.op(SLICE, [s, n.ints("begin", [0, 0, 0]), n.ints("end", [1, 36, 2]), n.ints("stride", [1, 1, 1])],
             [1, 36, 2], {i: 0 for i in range(5)})
    u = n.op(RELU, [t], [1, 36, 2])
    n.write(f"{folder}/crops.tflite", [x, points], [n.op(RELU6, [u], [1, 36, 2])])


if __name__ == "__main__":
    convolutions(sys.argv[1])
    crops(sys.argv[1])
