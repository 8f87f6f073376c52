"""Write the trained network as an int8 TFLite file: `python -m deskmodel.export --help`."""

import argparse
import hashlib
import sys
from pathlib import Path

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from deskmodel.calibrate import calibrate
from deskmodel.data import DataError, read_manifest, write_atomically
from deskmodel.graph import STRIDES, NcnnFileWrong, desk, read_ncnn
from deskmodel.lite import float_model, int8_model
from deskmodel.net import DeskNet
from deskmodel.train import read_checkpoint
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
    try:
        model = export(options)
    except (DataError, NcnnFileWrong) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    content = named(model)
    write_atomically(options.out, content)
    print(f'sha256 = "{hashlib.sha256(content).hexdigest()}"\nsize_bytes = {len(content)}')
    return 0


def export(options: argparse.Namespace) -> bytes:
    """Return the file that the options ask for. Raises DataError, NcnnFileWrong."""
    net = DeskNet(desk(widen(read_ncnn(options.ncnn))))
    state = read_checkpoint(options.checkpoint)
    net.load_state_dict(state["average"])
    size_px = (options.width_px, options.height_px)
    if wrong := [side for side in size_px if side <= 0 or side % 32]:
        raise DataError(f"--width-px, --height-px: wanted multiples of 32, got {wrong}")
    if options.float:
        return float_model(net.exported(), size_px)
    ranges = state["ranges"]
    if options.data is not None:
        ranges = calibrate(net, read_manifest(options.data / "train.jsonl"), size_px)
    if not all(most > least for least, most in ranges.values()):
        raise DataError(f"{options.checkpoint}: wanted ranges, got none: it never rounded; give --data")
    return int8_model(net.exported(), size_px, ranges)


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
