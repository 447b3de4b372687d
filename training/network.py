"""The listener: one list of convolutions, run by PyTorch here and by koubo's engine there.

The list is what docs/models.md calls `graph`; a network is exported by writing the list beside its weights, so the two can not
differ. Tensors are NCHW. Input: mel (n, 1, 80, columns), normalised to -4..4.
"""
import json
import os
import struct

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

# The listener: (width, kernel, stride, padding of the bands). Time is never padded, and only the first layer strides over
# it, so that run over a whole clip it says at every second column just what it says of a window that begins there.
LISTENER = [(32, (7, 4), (2, 2), 3), (64, (5, 3), (2, 1), 2), (96, (5, 3), (2, 1), 2), (160, (5, 5), (2, 1), 2),
            (224, (5, 5), (1, 1), 0), (224, (1, 5), (1, 1), 0)]
COLUMNS = (sum(kernel[1] - 1 for _, kernel, _, _ in LISTENER[1:])) * 2 + LISTENER[0][1][1]  # of a window


class GraphBuilder:
    def __init__(self):
        self.ops, self.shapes = [], {}

    def conv(self, source, name, inputs, outputs, kernel, stride=(1, 1), padding=(0, 0), relu=True):
        op = {'op': 'conv2d', 'input': source, 'output': name, 'weight': f'{name}.weight', 'bias': f'{name}.bias',
              'stride': list(stride), 'padding': list(padding)}
        if relu:
            op['activation'] = 'relu'
        self.ops.append(op)
        self.shapes[name] = (outputs, inputs, *kernel)
        return name



def listener(b):
    """From mel (n, 1, 80, COLUMNS) to (n, 224, 1, 1): what the lips do to this speech."""
    source, inputs = 'mel', 1
    for i, (width, kernel, stride, padding) in enumerate(LISTENER):
        source = b.conv(source, f'au.{i}', inputs, width, kernel, stride, (padding, 0))
        inputs = width
    return source


def listener_graph():
    b = GraphBuilder()
    listener(b)
    return b.ops, b.shapes


def read_safetensors(path):
    """({name: float32 array}, metadata)"""
    with open(path, 'rb') as f:
        header = json.loads(f.read(struct.unpack('<Q', f.read(8))[0]))
        data = f.read()
    kinds = {'F16': np.float16, 'F32': np.float32}
    metadata = header.pop('__metadata__', {})
    return {name: np.frombuffer(data[slice(*t['data_offsets'])], kinds[t['dtype']]).reshape(t['shape']).astype(np.float32)
            for name, t in header.items()}, metadata


def write_safetensors(path, arrays, metadata):
    header, data = {'__metadata__': metadata}, b''
    for name, array in arrays.items():
        raw = np.ascontiguousarray(array).tobytes()
        header[name] = {'dtype': {np.dtype(np.float16): 'F16', np.dtype(np.float32): 'F32'}[array.dtype],
                        'shape': list(array.shape), 'data_offsets': [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)
    with open(f'{path}.part', 'wb') as f:
        f.write(struct.pack('<Q', len(text)) + text + data)
    os.replace(f'{path}.part', path)


class Network(nn.Module):
    """Runs a graph. The convolutions whose names begin with one of norm have a batch norm, which export folds."""

    def __init__(self, ops, shapes, norm=()):
        super().__init__()
        self.ops = ops
        self.convs, self.norms = nn.ModuleDict(), nn.ModuleDict()
        for op in ops:
            outputs, inputs, *kernel = shapes[op['output']]
            key = op['output'].replace('.', '_')
            self.convs[key] = nn.Conv2d(inputs, outputs, kernel, op['stride'], op['padding'])
            if op['output'].startswith(tuple(norm)) and op.get('activation'):
                self.norms[key] = nn.BatchNorm2d(outputs)

    def forward(self, **values):
        """The graph's inputs by name to the value of its last operation."""
        for op in self.ops:
            key = op['output'].replace('.', '_')
            value = self.convs[key](values[op['input']])
            if key in self.norms:
                value = self.norms[key](value)
            values[op['output']] = F.relu(value) if op.get('activation') else value
        return value

    @torch.no_grad()
    def folded(self, kind=np.float16):
        """{name: array}: weights of that kind, biases f32, batch norm folded."""
        arrays = {}
        for op in self.ops:
            key = op['output'].replace('.', '_')
            weight, bias = self.convs[key].weight.float(), self.convs[key].bias.float()
            if key in self.norms:
                n = self.norms[key]
                scale = n.weight / torch.sqrt(n.running_var + n.eps)
                weight, bias = weight * scale[:, None, None, None], (bias - n.running_mean) * scale + n.bias
            arrays[op['weight']] = weight.cpu().numpy().astype(kind)
            arrays[op['bias']] = bias.cpu().numpy().astype(np.float32)
        return arrays

    @torch.no_grad()
    def take(self, arrays):
        """Weights of an exported network, where names and shapes are the same. The names of the others."""
        other = []
        for op in self.ops:
            conv, weight = self.convs[op['output'].replace('.', '_')], arrays.get(op['weight'])
            if weight is None or weight.shape != tuple(conv.weight.shape):
                other.append(op['output'])
                continue
            conv.weight.copy_(torch.from_numpy(weight.astype(np.float32)))
            conv.bias.copy_(torch.from_numpy(arrays[op['bias']]))
        return other
