"""Render the demonstration clip: `python -m scenes.clip --out DIR` makes desk-clip.mp4 and its .json there.

Each distinct shot is rendered once and kept in DIR/shots, so that an interrupted run goes on where it was;
frames are then developed with fresh sensor noise and encoded with ffmpeg.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from scenes import frame  # first: it sets OpenCV up for EXR
from scenes.clipset import SIZE_PX, build_set
from scenes.clipstory import FPS, Phase, draw_shots, tell
from scenes.labels import describe, number

import bpy  # isort: skip
import cv2  # isort: skip
import numpy as np  # isort: skip

NOISE = 0.011  # the grain's deviation at mid grey, linear
FLICKER = 0.008
LEVEL = 0.30  # linear mean of the empty room after exposure
JPEG_QUALITY = 82
MOST_BYTES = 5_500_000


@dataclass(frozen=True)
class Take:
    """A rendered shot: linear RGB float32 (h, w, 3) and the visible boxes as in the scenes' label files."""

    linear: np.ndarray
    boxes: list[dict[str, object]]


def render_shots(out: Path, names: list[str], samples: int, threads: int) -> None:
    """Render those of the named shots that are not in `out` yet, one NPZ each."""
    out.mkdir(parents=True, exist_ok=True)
    missing = [name for name in names if not (out / f"{name}.npz").exists()]
    if not missing:
        return
    frame.start(samples, threads)
    bpy.context.scene.render.use_persistent_data = True  # the room stays as it is
    stage = build_set()
    shots = draw_shots(stage)
    number(stage.things)
    console = os.dup(1)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)  # Blender reports every render on standard output
    with tempfile.TemporaryDirectory() as scratch:
        for name in tqdm(missing, unit="shot"):
            stage.arrange(shots[name])
            linear, index_map = frame.shoot(Path(scratch), zlib.crc32(name.encode()))
            boxes = describe(stage.things, index_map, bpy.context.scene.camera)["boxes"]
            part = out / f"{name}.part.npz"
            np.savez(part, linear=linear.astype(np.float16), boxes=json.dumps(boxes))
            part.replace(out / f"{name}.npz")
    os.dup2(console, 1)


def load_take(shots: Path, name: str) -> Take:
    """Read a rendered shot."""
    with np.load(shots / f"{name}.npz") as data:
        return Take(data["linear"].astype(np.float32), json.loads(str(data["boxes"])))


def cover(linear: np.ndarray, share: float) -> np.ndarray:
    """Slide a dark cloth close before the lens, its edge a wide blur; share 0-1 is how far."""
    height, width = linear.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    # The edge comes from the lower right corner and is out of focus over a fifth of the frame.
    along = 1 - (0.55 * x / width + 0.45 * y / height) + 0.04 * np.sin(5 * x / width)
    shade = 1 / (1 + np.exp(np.clip((along - share * 1.5 + 0.25) / 0.07, -30, 30)))
    cloth = 0.012 * (1 + 0.15 * np.sin(3 * x / width + 2 * y / height))[..., None]
    cloth = cloth * np.array([1.1, 1.0, 0.95], np.float32)
    return linear * (1 - shade[..., None]) + cloth * shade[..., None]


def develop(linear: np.ndarray, gain: float, rng: np.random.Generator) -> np.ndarray:
    """Return BGR uint8 (h, w, 3) as the webcam delivers it: vignette, grain, tone curve, sharpening, JPEG."""
    height, width = linear.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    radius = (x / width - 0.5) ** 2 + (y / height - 0.5) ** 2
    picture = cv2.GaussianBlur(linear, (0, 0), 0.5) * (1 - 0.4 * radius)[..., None]
    picture = picture * gain * (1 + FLICKER * rng.standard_normal())
    grain = rng.standard_normal((height, width, 1)).astype(np.float32)
    small = rng.standard_normal((height // 2, width // 2, 3)).astype(np.float32)
    grain = 0.7 * grain + 0.4 * cv2.resize(small, (width, height))
    picture = picture + NOISE * (0.15 + np.sqrt(np.clip(picture, 0, 1))) * grain
    picture = np.clip(picture, 0, None)
    picture = np.where(picture < 0.7, picture, 1 - 0.3 * np.exp(-(picture - 0.7) / 0.3))  # a soft shoulder
    picture = np.clip(picture, 0, 1) ** np.float32(1 / 2.2)
    picture = picture + 0.35 * (picture - cv2.GaussianBlur(picture, (0, 0), 1.2))
    rgb = (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
    _, data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


def encode(shots: Path, phases: list[Phase], target: Path, crf: int) -> None:
    """Develop all frames and write them as H.264; the file appears when it is whole."""
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise FileNotFoundError("wanted the program ffmpeg on PATH to encode the clip, found none")
    width, height = SIZE_PX
    part = target.with_suffix(".part.mp4")
    command = (
        f"{ffmpeg} -y -loglevel error -f rawvideo -pix_fmt bgr24 -s {width}x{height} -r {FPS} -i - -an "
        f"-threads 1 -c:v libx264 -profile:v high -preset slow -crf {crf} -pix_fmt yuv420p "
        f"-g {2 * FPS} -movflags +faststart"
    ).split()
    gain = LEVEL / float(np.minimum(load_take(shots, "empty").linear, 1.0).mean())
    rng = np.random.default_rng(17)
    frames = [(name, at, phase) for phase in phases for at, name in enumerate(phase.shots)]
    with subprocess.Popen([*command, str(part)], stdin=subprocess.PIPE) as process:  # noqa: S603
        assert process.stdin is not None
        for name, at, phase in tqdm(frames, unit="frame"):
            linear = load_take(shots, name).linear
            if phase.cover:
                linear = cover(linear, phase.cover[at])
            process.stdin.write(develop(linear, gain, rng).tobytes())
        process.stdin.close()
        if process.wait() != 0:
            raise RuntimeError(f"ffmpeg ended with status {process.returncode} while writing {part}")
    part.replace(target)


def truth(shots: Path, phases: list[Phase]) -> dict[str, object]:
    """Return the clip's ground truth: its phases, and the visible boxes of every second's first frame."""
    frames = [(name, phase.cover[at] if phase.cover else 0.0)
              for phase in phases for at, name in enumerate(phase.shots)]  # fmt: skip
    spans, begin = [], 0
    for phase in phases:
        end = begin + len(phase.shots)
        spans.append({"from_s": begin / FPS, "to_s": end / FPS, "what": phase.what})
        begin = end
    keys = []
    for at in range(0, len(frames), FPS):
        name, covered = frames[at]
        # What a half covered lens shows is no clear truth: such seconds say so and have no boxes.
        boxes = load_take(shots, name).boxes if covered == 0 else []
        keys.append({"at_s": at / FPS, "covered": round(covered, 2), "boxes": boxes})
    width, height = SIZE_PX
    return {
        "fps": FPS,
        "frame_size_px": [width, height],
        "frames": len(frames),
        "duration_s": len(frames) / FPS,
        "phases": spans,
        "seconds": keys,
    }


def main(argv: list[str] | None = None) -> int:
    """Render what is missing, encode the clip, write its ground truth."""
    parser = argparse.ArgumentParser(prog="scenes.clip", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the clip and its shots")
    parser.add_argument("--samples", type=int, default=10, help="rays a pixel (default %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="render threads (default %(default)s)")
    parser.add_argument(
        "--crf", type=int, default=25, help="x264 quality, smaller is better (default %(default)s)"
    )
    parser.add_argument(
        "--only", nargs="+", metavar="SHOT", help="render just these shots, e.g. type0 phone3"
    )
    args = parser.parse_args(argv)
    phases = tell()
    shots = args.out / "shots"
    names = list(dict.fromkeys(name for phase in phases for name in phase.shots))
    if args.only and (unknown := set(args.only) - set(names)):
        parser.error(f"--only wants shots of the story, such as {names[:3]}, got {sorted(unknown)}")
    render_shots(shots, args.only or names, args.samples, args.threads)
    if args.only:
        return 0
    target = args.out / "desk-clip.mp4"
    encode(shots, phases, target, args.crf)
    if target.stat().st_size > MOST_BYTES:
        parser.error(f"{target} has {target.stat().st_size} bytes, more than {MOST_BYTES}: raise --crf")
    part = args.out / "desk-clip.json.part"
    part.write_text(json.dumps(truth(shots, phases), indent=1) + "\n")
    part.replace(args.out / "desk-clip.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
