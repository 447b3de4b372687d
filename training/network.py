"""The lip-sync network: one list of operations, run by PyTorch here and by koubo's engine there.

The list is what docs/models.md calls `graph`; a network is exported by writing the list beside its weights, so the
two can not differ. Tensors are NCHW. Inputs: mel (n, 1, 80, columns), normalised to -4..4; face (n, 6, size, size),
RGB 0..1, the target with its lower half set to 0, then the reference. Output: lower_face (n, 3, size/2, size).
"""
import json
import struct

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

# Widths of the encoder's levels, from half of the picture's size down; cost at 128 px with 32 columns: 0.42 GMAC.
WIDTHS = (32, 48, 96, 160, 224)


class GraphBuilder:
    def __init__(self):
        self.ops, self.shapes = [], {}

    def conv(self, source, name, inputs, outputs, kernel=(3, 3), stride=(1, 1), padding=(1, 1), add=None, relu=True):
        op = {'op': 'conv2d', 'input': source, 'output': name, 'weight': f'{name}.weight', 'bias': f'{name}.bias',
              'stride': list(stride), 'padding': list(padding)}
        if add:
            op['add'] = add
        if relu:
            op['activation'] = 'relu'
        self.ops.append(op)
        self.shapes[name] = (outputs, inputs, *kernel)
        return name

    def other(self, kind, source, name, **more):
        key = 'inputs' if isinstance(source, list) else 'input'
        self.ops.append({'op': kind, key: source, 'output': name, **more})
        return name


def lip_sync_graph(size=128, columns=32, widths=WIDTHS):
    """(operations, weight shapes by name) of the U-Net with a mel encoder at its bottleneck."""
    b = GraphBuilder()
    x, inputs = b.other('pixel_unshuffle', 'face', 'x', factor=2), 24
    for i, width in enumerate(widths):
        x = b.conv(x, f'e{i}.0', inputs, width, stride=(1, 1) if i == 0 else (2, 2))
        x = b.conv(x, f'e{i}.1', width, width, add=x)
        inputs = width
    a, inputs = 'mel', 1
    for i, (width, stride) in enumerate([(32, (2, 1)), (64, (2, 2)), (96, (2, 2)), (128, (2, 2))]):
        a = b.conv(a, f'au.{2 * i}', inputs, width, stride=stride)
        a = b.conv(a, f'au.{2 * i + 1}', width, width, add=a)
        inputs = width
    a = b.conv(a, 'au.out', inputs, widths[-1], kernel=(5, columns // 8), padding=(0, 0))
    last = len(widths) - 1
    bottom = size >> (last + 1)
    x = b.other('broadcast', a, 'a', height=bottom // 2, width=bottom)
    inputs = widths[-1]
    for i in range(last, -1, -1):
        if i < last:
            x = b.other('upsample_nearest', x, f'u{i}', factor=2)
        low = b.other('lower_half', f'e{i}.1', f'e{i}.1.low')
        x = b.other('concat', [low, x] if i == last else [x, low], f'c{i}')
        x = b.conv(x, f'd{i}.0', inputs + widths[i], widths[i])
        x = b.conv(x, f'd{i}.1', widths[i], widths[i], add=x)
        inputs = widths[i]
    x = b.conv(x, 'out', inputs, 12, relu=False)
    x = b.other('pixel_shuffle', x, 'ps', factor=2)
    b.other('sigmoid', x, 'lower_face')
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
    with open(path, 'wb') as f:
        f.write(struct.pack('<Q', len(text)) + text + data)


class Network(nn.Module):
    """Runs a graph. With norm, every convolution but the last has a batch norm, which export folds."""

    def __init__(self, ops, shapes, norm=True):
        super().__init__()
        self.ops = ops
        self.convs, self.norms = nn.ModuleDict(), nn.ModuleDict()
        for op in ops:
            if op['op'] != 'conv2d':
                continue
            outputs, inputs, *kernel = shapes[op['output']]
            key = op['output'].replace('.', '_')
            self.convs[key] = nn.Conv2d(inputs, outputs, kernel, op['stride'], op['padding'])
            if norm and op.get('activation'):
                self.norms[key] = nn.BatchNorm2d(outputs)

    def forward(self, mel, face):
        """(lower face, what the bottleneck's last layer holds)"""
        values = {'mel': mel, 'face': face}
        run = {
            'pixel_unshuffle': lambda x, op: F.pixel_unshuffle(x, op['factor']),
            'pixel_shuffle': lambda x, op: F.pixel_shuffle(x, op['factor']),
            'upsample_nearest': lambda x, op: F.interpolate(x, scale_factor=op['factor'], mode='nearest'),
            'broadcast': lambda x, op: x.expand(-1, -1, op['height'], op['width']),
            'lower_half': lambda x, op: x[:, :, x.shape[2] // 2:],
            'concat': lambda x, op: torch.cat(x, 1),
            'sigmoid': lambda x, op: torch.sigmoid(x.float()),
        }
        for op in self.ops:
            source = [values[n] for n in op['inputs']] if 'inputs' in op else values[op['input']]
            if op['op'] == 'conv2d':
                key = op['output'].replace('.', '_')
                value = self.convs[key](source)
                if key in self.norms:
                    value = self.norms[key](value)
                if 'add' in op:
                    value = value + values[op['add']]
                if op.get('activation'):
                    value = F.relu(value)
            else:
                value = run[op['op']](source, op)
            values[op['output']] = value
        return values['lower_face']

    @torch.no_grad()
    def folded(self):
        """{name: array}: weights fp16, biases f32, batch norm folded."""
        arrays = {}
        for op in self.ops:
            if op['op'] != 'conv2d':
                continue
            key = op['output'].replace('.', '_')
            weight, bias = self.convs[key].weight.float(), self.convs[key].bias.float()
            if key in self.norms:
                n = self.norms[key]
                scale = n.weight / torch.sqrt(n.running_var + n.eps)
                weight, bias = weight * scale[:, None, None, None], (bias - n.running_mean) * scale + n.bias
            arrays[op['weight']] = weight.cpu().numpy().astype(np.float16)
            arrays[op['bias']] = bias.cpu().numpy().astype(np.float32)
        return arrays

    @torch.no_grad()
    def start_from(self, path):
        """Weights of an exported network of the same family (built with norm=False). A wider mel window keeps the old
        one in its middle."""
        arrays, _ = read_safetensors(path)
        for op in self.ops:
            if op['op'] != 'conv2d':
                continue
            conv = self.convs[op['output'].replace('.', '_')]
            weight = torch.from_numpy(arrays[op['weight']])
            spare = conv.weight.shape[3] - weight.shape[3]
            if spare:
                weight = F.pad(weight, (spare // 2, spare - spare // 2))
            conv.weight.copy_(weight)
            conv.bias.copy_(torch.from_numpy(arrays[op['bias']]))


class LipReader(nn.Module):
    """Where the 40 lip landmarks are in a lower face: (n, 3, size/2, size) to (n, 40, 2), fractions of the crop's side.

    Trained on true faces and then frozen, it tells the generator how wide its mouths are open (as a loss), and the
    evaluation how wide they came out (as a quick measure; `koubo eval` is the exact one)."""

    def __init__(self):
        super().__init__()
        layers, inputs = [nn.PixelUnshuffle(2)], 12
        for width, stride in [(24, 1), (32, 2), (64, 2), (96, 2), (128, 2)]:
            layers += [nn.Conv2d(inputs, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            inputs = width
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(128 * 8, 80)
        with torch.no_grad():
            self.head.weight.mul_(0.1)
            self.head.bias.copy_(torch.tensor([0.5, 0.75]).repeat(40))

    def forward(self, lower):
        return self.head(self.body(lower).flatten(1)).view(-1, 40, 2).float()
