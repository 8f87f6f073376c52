"""Write the trained network as an int8 TFLite file: `python -m deskmodel.export --help`."""

import argparse
import sys
from pathlib import Path

import flatbuffers
import torch
from ai_edge_litert import schema_py_generated as schema

from deskmodel.calibrate import calibrate
from deskmodel.data import read_manifest, write_atomically
from deskmodel.graph import STRIDES, desk, read_ncnn
from deskmodel.lite import float_model, int8_model
from deskmodel.net import DeskNet
from deskmodel.widen import widen


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m deskmodel.export", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="checkpoint.pt of deskmodel.train")
    parser.add_argument(
        "--ncnn", type=Path, required=True, help="nanodet_plus_m.ncnn, without .param and .bin"
    )
    parser.add_argument("--out", type=Path, required=True, help="the .tflite file")
    parser.add_argument("--width-px", type=int, default=384)
    parser.add_argument("--height-px", type=int, default=320)
    parser.add_argument(
        "--data",
        type=Path,
        help="folder with train.jsonl: take the ranges from its pictures, not from training",
    )
    parser.add_argument("--float", action="store_true", help="without rounding, to compare with")
    options = parser.parse_args(arguments)
    net, ranges = load(options.checkpoint, options.ncnn)
    size_px = (options.width_px, options.height_px)
    if options.data is not None:
        ranges = calibrate(net, read_manifest(options.data / "train.jsonl"), size_px)
    graph = net.exported()
    model = float_model(graph, size_px) if options.float else int8_model(graph, size_px, ranges)
    write_atomically(options.out, named(model))
    print(f"{options.out}: {options.out.stat().st_size} bytes")
    return 0


def load(checkpoint: Path, ncnn: Path) -> tuple[DeskNet, dict[str, tuple[float, float]]]:
    """Return the network with the averaged weights of a checkpoint, and its ranges."""
    net = DeskNet(desk(widen(read_ncnn(ncnn.with_suffix(".ncnn.param"), ncnn.with_suffix(".ncnn.bin")))))
    state = torch.load(checkpoint, weights_only=True)
    net.load_state_dict(state["average"])
    return net, state["ranges"]


def named(model: bytes) -> bytes:
    """Return the model with outputs named `classes_8` … `boxes_64`, in that order, and its input `image`.

    The converter names tensors for the operations that made them, which a card could not rely on.
    """
    content = schema.ModelT.InitFromPackedBuf(model, 0)
    (graph,) = content.subgraphs
    graph.tensors[graph.inputs[0]].name = b"image"
    by_size: dict[int, list[int]] = {}
    for index in graph.outputs:
        by_size.setdefault(int(graph.tensors[index].shape[1]), []).append(index)
    ordered: dict[str, int] = {}
    for stride, rows in zip(STRIDES, sorted(by_size, reverse=True), strict=True):
        classes, boxes = sorted(by_size[rows], key=lambda index: graph.tensors[index].shape[3])
        ordered |= {f"classes_{stride}": classes, f"boxes_{stride}": boxes}
    for name, index in ordered.items():
        graph.tensors[index].name = name.encode()
    graph.outputs = [
        ordered[name] for name in sorted(ordered, key=lambda name: (name[0] != "c", int(name.split("_")[1])))
    ]
    content.description = b"deskwatch desk detector"
    content.signatureDefs = []
    content.metadata, content.metadataBuffer = [], []
    builder = flatbuffers.Builder(len(model) + 4096)
    builder.Finish(content.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


if __name__ == "__main__":
    sys.exit(main())
