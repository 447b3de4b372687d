"""A network is one list of convolutions, run by PyTorch here and by koubo's engine there.

The list is what docs/models.md calls `graph`; a network is exported by writing the list beside its weights, so the two can not
differ. Tensors are NCHW.
"""
import json
import os
import struct

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class GraphBuilder:
    def __init__(self):
        self.ops, self.shapes = [], {}

    def conv(self, source, name, inputs, outputs, kernel, stride=(1, 1), padding=(0, 0), dilation=(1, 1), add=None, relu=True):
        op = {'op': 'conv2d', 'input': source, 'output': name, 'weight': f'{name}.weight', 'bias': f'{name}.bias',
              'stride': list(stride), 'padding': list(padding), 'dilation': list(dilation)}
        if add:
            op['add'] = add
        if relu:
            op['activation'] = 'relu'
        self.ops.append(op)
        self.shapes[name] = (outputs, inputs, *kernel)
        return name


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


def key_of(op):
    return op['output'].replace('.', '_')


class Network(nn.Module):
    """Runs a graph. Convolutions with an activation have a batch norm, which export folds; drop: of what goes into a convolution after
    which something is added, and into the last one but the basis."""

    def __init__(self, ops, shapes, norm=True, drop=0.0):
        super().__init__()
        self.ops, self.drop = ops, drop
        self.convs, self.norms = nn.ModuleDict(), nn.ModuleDict()
        for op in ops:
            outputs, inputs, *kernel = shapes[op['output']]
            key = key_of(op)
            self.convs[key] = nn.Conv2d(inputs, outputs, kernel, op['stride'], op['padding'], op.get('dilation', 1))
            if norm and op.get('activation'):
                self.norms[key] = nn.BatchNorm2d(outputs)

    def forward(self, **values):
        """The graph's inputs by name to the value of its last operation."""
        for op in self.ops:
            key, value = key_of(op), values[op['input']]
            if op.get('add') or op['output'] == 'shapes':
                value = F.dropout(value, self.drop, self.training)
            value = self.convs[key](value)
            if key in self.norms:
                value = self.norms[key](value)
            if op.get('add'):
                value = value + values[op['add']]
            values[op['output']] = F.relu(value) if op.get('activation') else value
        return value

    @torch.no_grad()
    def folded(self, kind=np.float16):
        """{name: array}: weights of that kind, biases f32, batch norm folded."""
        arrays = {}
        for op in self.ops:
            key = key_of(op)
            weight, bias = self.convs[key].weight.float(), self.convs[key].bias.float()
            if key in self.norms:
                n = self.norms[key]
                scale = n.weight / torch.sqrt(n.running_var + n.eps)
                weight, bias = weight * scale[:, None, None, None], (bias - n.running_mean) * scale + n.bias
            arrays[op['weight']] = weight.cpu().numpy().astype(kind)
            arrays[op['bias']] = bias.cpu().numpy().astype(np.float32)
        return arrays


def of_arrays(ops, arrays):
    """The network of an exported file, ready to run."""
    network = Network(ops, {op['output']: arrays[op['weight']].shape for op in ops}, norm=False).eval()
    with torch.no_grad():
        for op in ops:
            conv = network.convs[key_of(op)]
            conv.weight.copy_(torch.from_numpy(arrays[op['weight']].astype(np.float32)))
            conv.bias.copy_(torch.from_numpy(arrays[op['bias']]))
    return network


def load(path):
    """(network, arrays, metadata) of an exported file."""
    arrays, metadata = read_safetensors(path)
    return of_arrays(json.loads(metadata['graph']), arrays), arrays, metadata
