#!/usr/bin/python3
"""Makes tests/golden/pth_*.pth with PyTorch 1.13: small checkpoints in the zip and the legacy form.

Usage: /usr/bin/python3 tools/golden/pth.py tests/golden
Element i of every tensor is i * 0.25 - 3 in its own (logical, row-major) order, so that the test
needs no table; integers are i - 3 and bytes i.
"""
import collections
import io
import sys
import zipfile

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


class Inner(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return torch.relu(self.inner(x))


class Net(torch.nn.Module):
    """Modules in modules, a parameter of its own, buffers; pickled whole and as TorchScript."""

    def __init__(self):
        super().__init__()
        self.parts = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), Inner())
        self.norm = torch.nn.BatchNorm2d(3)
        self.own = torch.nn.Parameter(ramp(5))
        with torch.no_grad():
            self.parts[0].weight.copy_(ramp(3, 2, 3, 3))
            self.parts[1].inner.bias.copy_(ramp(3))

    def forward(self, x):
        return self.norm(self.parts(x)) * self.own.sum()


def save_script(module, path):
    """As module.save(path), but with none of the source text, which koubo does not read either."""
    buffer = io.BytesIO()
    torch.jit.save(module, buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(path, "w") as new:
        for info in old.infolist():
            if info.filename.endswith(".debug_pkl"):
                continue
            code = "/code/" in info.filename
            name = "net/" + info.filename.partition("/")[2]
            new.writestr(zipfile.ZipInfo(name), b"# nothing\n" * 20 if code else old.read(info),
                         zipfile.ZIP_DEFLATED if code else zipfile.ZIP_STORED)


def modules(folder):
    torch.manual_seed(1)
    net = Net().eval()
    torch.save(net, f"{folder}/pth_module_zip.pth")
    torch.save(net, f"{folder}/pth_module_protocol4_zip.pth", pickle_protocol=4)
    # It would store the source text of every class too.
    torch.serialization.get_source_lines_and_file = lambda _: (["pass\n"], 1, "net.py")
    torch.save(net, f"{folder}/pth_module_legacy.pth", _use_new_zipfile_serialization=False)
    scripted = torch.jit.script(net)
    save_script(scripted, f"{folder}/pth_scripted_zip.pth")
    save_script(torch.jit.freeze(scripted), f"{folder}/pth_frozen_zip.pth")
    save_script(torch.jit.trace(net, torch.ones(1, 2, 4, 4)), f"{folder}/pth_traced_zip.pth")


def protocols(folder):
    for protocol in (3, 4, 5):
        torch.manual_seed(1)
        form = "legacy" if protocol == 5 else "zip"
        torch.save(nested(), f"{folder}/pth_protocol{protocol}_{form}.pth", pickle_protocol=protocol,
                   _use_new_zipfile_serialization=form == "zip")


def main():
    for name, make in (("types", types), ("views", views), ("nested", nested)):
        torch.manual_seed(1)
        value = make()
        torch.save(value, f"{sys.argv[1]}/pth_{name}_zip.pth")
        torch.save(value, f"{sys.argv[1]}/pth_{name}_legacy.pth",
                   _use_new_zipfile_serialization=False)
    modules(sys.argv[1])
    protocols(sys.argv[1])


if __name__ == "__main__":
    main()
