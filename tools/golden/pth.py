#!/usr/bin/python3
"""Makes tests/golden/pth_*.pth with PyTorch 1.13: small checkpoints in the zip and the legacy form.

Usage: /usr/bin/python3 tools/golden/pth.py tests/golden
Element i of every tensor is i * 0.25 - 3 in its own (logical, row-major) order, so that the test
needs no table; integers are i - 3 and bytes i.
"""
import collections
import sys

import torch


def ramp(*shape, dtype=torch.float32):
    n = 1
    for s in shape:
        n *= s
    if dtype in (torch.uint8, torch.bool):
        return (torch.arange(n) % (2 if dtype == torch.bool else 256)).to(dtype).view(*shape)
    if dtype.is_floating_point:
        return (torch.arange(n, dtype=torch.float64) * 0.25 - 3).to(dtype).view(*shape)
    return (torch.arange(n) - 3).to(dtype).view(*shape)


def strided(*shape):
    """The same content, stored transposed."""
    return ramp(*shape).permute(*reversed(range(len(shape)))).contiguous().permute(
        *reversed(range(len(shape))))


def types():
    d = collections.OrderedDict()
    for name in ("float32", "float16", "bfloat16", "float64", "int64", "int32", "int16", "uint8",
                 "int8", "bool"):
        d[name] = ramp(3, 5, dtype=getattr(torch, name))
    d["scalar"] = torch.tensor(7)
    d["empty"] = torch.zeros(0, 4)
    d["parameter"] = torch.nn.Parameter(ramp(2, 3))
    return d


def views():
    base = torch.zeros(40)
    base[10:22] = ramp(12)
    base[24:40:2] = ramp(8)
    return collections.OrderedDict(
        transposed=strided(3, 5), permuted=strided(2, 3, 4),
        middle=base[10:22].view(3, 4), every_second=base[24:40:2])


def nested():
    model = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3))
    torch.nn.init.zeros_(model[0].bias)
    with torch.no_grad():
        model[0].weight.copy_(ramp(3, 2, 3, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    model(torch.ones(1, 2, 4, 4)).sum().backward()
    lr_zero = [g.update(lr=0.0) for g in optimizer.param_groups]
    assert lr_zero
    optimizer.step()
    state = collections.OrderedDict(("module." + k, v) for k, v in model.state_dict().items())
    return {"state_dict": state, "optimizer": optimizer.state_dict(), "global_step": 70000000000,
            "global_epoch": 12, "loss": 0.5, "note": None, "tags": ["a", ("b", True, -1)]}


def main():
    for name, make in (("types", types), ("views", views), ("nested", nested)):
        torch.manual_seed(1)
        value = make()
        torch.save(value, f"{sys.argv[1]}/pth_{name}_zip.pth")
        torch.save(value, f"{sys.argv[1]}/pth_{name}_legacy.pth",
                   _use_new_zipfile_serialization=False)


if __name__ == "__main__":
    main()
