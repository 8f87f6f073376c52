"""Who is at the desk, what they do, and what they hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scenes import distractors, food, phones, stationery
from scenes import shapes as s
from scenes.room import chair
from scenes.things import Thing

if TYPE_CHECKING:
    from scenes.scene import Scene

try:
    from scenes import people
except ImportError as missing:  # the body data is an extra package: scenes without people still render
    people = None
    MISSING: ImportError | None = missing
else:
    MISSING = None

POSES = {
    "webcam": {
        "none": 0.12,
        "typing": 0.2,
        "hold_up": 0.26,
        "at_ear": 0.1,
        "reading": 0.07,
        "drinking": 0.07,
        "eating": 0.06,
        "leaning_back": 0.06,
        "standing": 0.03,
        "hand_only": 0.03,
    },
    "desk": {"none": 0.52, "hand_only": 0.33, "typing": 0.15},
    "room": {
        "none": 0.2,
        "typing": 0.25,
        "at_ear": 0.1,
        "reading": 0.1,
        "drinking": 0.07,
        "eating": 0.06,
        "leaning_back": 0.07,
        "standing": 0.1,
        "walking": 0.05,
    },
}
SEATED = ("typing", "hold_up", "at_ear", "reading", "drinking", "eating", "leaning_back")


@dataclass(frozen=True, slots=True)
class Cast:
    """The worker's pose (`none`: nobody there) and whether a second person is in the room."""

    pose: str
    second: str | None

    @classmethod
    def draw(cls, rng: np.random.Generator, view: str, profile: str) -> Cast:
        """Choose a cast for a kind of view."""
        poses = {"hold_up": 1.0} if profile == "hands" else POSES[view]
        weights = np.array(list(poses.values()))
        pose = str(rng.choice(list(poses), p=weights / weights.sum()))
        second = str(rng.choice(["standing", "walking"])) if rng.random() < 0.15 and view != "desk" else None
        return cls("none", None) if people is None else cls(pose, second if profile != "work" else None)

    @property
    def keeps_desk_free(self) -> bool:
        """Tell whether forearms lie on the desk's edge."""
        return self.pose in SEATED

    @property
    def central(self) -> bool:
        """Tell whether the worker acts towards the webcam."""
        return self.pose in ("hold_up", "drinking", "eating")

    def enter(self, scene: Scene, focus: Thing | None) -> None:
        """Add the people, and what they hold, to the scene."""
        rng = scene.rng
        edge = scene.room.desk_m[1] / 2
        if self.pose in SEATED or self.pose == "none":
            seat = float(rng.uniform(0.43, 0.5))
            place = (
                float(rng.normal(0, 0.05)),
                edge + float(rng.uniform(0.16, 0.26)),
                float(rng.normal(0, 0.12)),
                seat,
            )
            if self.pose != "none" or rng.random() < 0.7:
                away = 0.3 * (self.pose == "none")
                chair(rng, place[0] + away * float(rng.normal()), place[1] + away, place[2], seat - 0.02)
        elif self.pose == "hand_only":
            place = self._hand_place(scene, focus)
        else:
            place = (
                float(rng.uniform(-0.9, 0.9)),
                edge + float(rng.uniform(0.35, 1.0)),
                float(rng.normal(0, 0.6)),
                0.45,
            )
        if self.pose != "none":
            _add(scene, self.pose, place, hand_over(scene, self.pose))
        if self.second is not None:
            back = min(scene.room.high[1] - 0.4, edge + float(rng.uniform(0.9, 2.0)))
            side = float(rng.choice([-1, 1])) * float(rng.uniform(0.35, 1.0))
            _add(scene, self.second, (side, back, float(rng.uniform(-1.6, 1.6)), 0.45), None)

    @staticmethod
    def _hand_place(scene: Scene, focus: Thing | None) -> tuple[float, float, float, float]:
        """Return where a hand comes to: beside the thing looked at, mostly reached from the worker's side."""
        rng = scene.rng
        x, y = (0.0, 0.1) if focus is None else focus.objects[0].matrix_world.translation[:2]
        facing = float(rng.normal(0, 0.5)) if rng.random() < 0.75 else float(rng.uniform(-np.pi, np.pi))
        off = rng.normal(0, 0.05, 2) if rng.random() < 0.5 else rng.normal(0, 0.14, 2)
        return (float(x + off[0]), float(y + off[1]), facing, 0.45)


def _add(scene: Scene, pose: str, place: tuple[float, float, float, float], held: Thing | None) -> None:
    if people is None:
        return
    item = held.objects[0] if held is not None else None
    bodies = people.add_person(scene.rng, pose, people.Place(*place), item)
    scene.things.append(Thing("person", "person", list(bodies)))
    if held is not None:
        scene.held = held.name
        scene.things.append(held)


def hand_over(scene: Scene, pose: str) -> Thing | None:
    """Make what the person in this pose holds, at the origin; None for empty hands."""
    rng, chance = scene.rng, scene.rng.random()
    if pose == "hold_up" and scene.profile == "hands":
        # Wallets are what was taken for phones most.
        return _held_up(scene, chance) if rng.random() < 0.6 else distractors.wallet(rng, dark=0.7)
    if pose == "hold_up":
        return _held_up(scene, chance)
    if pose == "at_ear":
        return phones.phone(rng, scene.room.light, 0.2) if scene.forbidden else distractors.remote(rng)
    if pose in ("drinking", "eating"):
        return food.bare(rng) if pose == "eating" and scene.forbidden else upright(stationery.drink(rng))
    if pose == "reading" and scene.forbidden:
        return phones.phone(rng, scene.room.light, 0.8) if chance < 0.5 else stationery.closed_book(rng)
    return _held_up(scene, rng.random()) if pose == "hand_only" and chance < 0.6 else None


def _held_up(scene: Scene, chance: float) -> Thing | None:
    rng = scene.rng
    if chance < 0.45 and scene.forbidden:
        return phones.phone(rng, scene.room.light, 0.5)
    if chance < 0.6:
        return distractors.wallet(rng)
    if chance < 0.75:
        return distractors.earbud_case(rng)
    makers = (
        distractors.remote,
        distractors.glasses_case,
        distractors.card_holder,
        distractors.power_bank,
        distractors.chocolate,
        lambda r: upright(stationery.drink(r)),
        lambda _: None,
    )
    return makers[rng.integers(len(makers))](rng)


def upright(thing: Thing) -> Thing:
    """Turn a vessel made about z to stand along +y, as held things do."""
    turn = s.rotation(-np.pi / 2, 0, 0)
    for o in thing.objects:
        points = np.empty(len(o.data.vertices) * 3, np.float32)
        o.data.vertices.foreach_get("co", points)
        o.data.vertices.foreach_set("co", (points.reshape(-1, 3) @ turn.T).astype(np.float32).ravel())
        o.data.update()
    return thing
