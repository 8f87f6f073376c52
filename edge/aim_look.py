"""What the watch makes of frames that are taken for an aim alone: a coarse grid, and no model sees one."""

from edge.aim_holder import AimHolder
from edge.capture.frame import Frame
from edge.vision.mask import Polygon
from edge.vision.scene import SceneState, look
from edge.vision.tamper import TamperState, examine, unlearn
from edge.watching import Looker, first_scene


class LiningUp:
    """Of the watch's thread. It has its own measures: what was learned of the desk is not touched."""

    def __init__(self, aim: AimHolder, detector: Looker, frozen_after_s: float) -> None:
        self._aim, self._detector, self._frozen_after_s = aim, detector, frozen_after_s
        self._scene: SceneState | None = None
        self._tamper = TamperState()
        self.on = False
        """Whether the camera is open for an aim alone."""

    def begin(self) -> None:
        """Begin: the camera is open, and for nothing else."""
        self.on = True

    def look(self, frame: Frame, masks: tuple[Polygon, ...]) -> None:
        """Hand the coarse grid of a frame to whoever lines the camera up."""
        view, now_s = self._detector.view(frame.pixels, masks), frame.captured_s
        self._scene, scene = look(self._scene or first_scene(view), view.content, now_s)
        self._tamper, blind = examine(unlearn(self._tamper), scene, now_s, self._frozen_after_s)
        self._aim.take(frame, view.content, scene, blind)

    def forget(self) -> None:
        """Let no picture stay behind."""
        if self._scene is not None:
            self._detector.forget()
        self._scene, self._tamper, self.on = None, TamperState(), False
