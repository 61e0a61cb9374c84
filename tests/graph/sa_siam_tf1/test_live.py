"""Tracking what a camera sees, and drawing the box with the mouse, with a fake camera and window of OpenCV."""
from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import types

import numpy as np
import pytest

from sa_siam_tf1 import load_opencv
from sa_siam_tf1.inference import live, otb, track
from tests.programs import error_line, printed

pytestmark = pytest.mark.usefixtures("narrow")
SPACE, ESCAPE = 32, 27
ROI = (40, 30, 24, 20)


def frame(number):
    """A frame of a camera, BGR: a blue square that moves to the right on gray."""
    pixels = np.full((120, 160, 3), 128, np.uint8)
    pixels[30:50, 40 + number:64 + number] = 255, 0, 0
    return pixels


class FakeOpenCV:
    """OpenCV with a camera 0 and, unless it is headless, windows; all else is the real one.

    Attributes:
        windows: names of those that are open.
        headless: the exit status of a process that opens a window: 0, 1 without windows, negative for an abort.
        shown: frames in the window, BGR.
        keys: what the user presses, one per call of waitKey, or a function to call then; after them nothing.
        roi: the box that the user draws before the next key, where a box is asked for.
        chosen_on: the frame it was drawn on.
    """

    def __init__(self, num_frames, keys=(), roi=ROI, headless=False, on_frame=lambda number: None):
        self.shown, self.keys, self.roi, self.chosen_on = [], list(keys), roi, None
        self.is_released = False
        self.headless = headless
        self._real, self.windows, self._read, self._num = load_opencv(), set(), 0, num_frames
        self._on_frame, self._on_mouse = on_frame, None

    def __getattr__(self, name):
        return getattr(self._real, name)

    def VideoCapture(self, source):  # noqa: N802, the name is OpenCV's
        if isinstance(source, str):
            return self._real.VideoCapture(source)
        return types.SimpleNamespace(read=self._next if source == 0 else lambda: (False, None), release=self._release)

    def _next(self):
        assert not self.is_released
        if self._read == self._num:
            return False, None
        self._read += 1
        self._on_frame(self._read)
        return True, frame(self._read)

    def _release(self):
        self.is_released = True

    def namedWindow(self, name, flags):  # noqa: N802
        assert not self.headless
        self.windows.add(name)

    def imshow(self, name, pixels):
        assert name in self.windows and pixels.dtype == np.uint8 and pixels.flags.c_contiguous
        self.shown.append(pixels)

    def waitKey(self, delay):  # noqa: N802
        assert delay > 0  # 0 waits for ever, also where a signal arrives
        if self._on_mouse and self.chosen_on is None:
            x, y, width, height = self.roi
            self.chosen_on = self.shown[-1]
            self._on_mouse(self._real.EVENT_MOUSEMOVE, 1, 1, 0, None)  # nothing is pressed
            self._on_mouse(self._real.EVENT_LBUTTONDOWN, x + width, y + height, self._real.EVENT_FLAG_LBUTTON, None)
            for corner in ((x + 1, y + 1), (x, y)):  # from the lower right corner
                self._on_mouse(self._real.EVENT_MOUSEMOVE, *corner, self._real.EVENT_FLAG_LBUTTON, None)
            self._on_mouse(self._real.EVENT_LBUTTONUP, x, y, 0, None)
            self._on_mouse(self._real.EVENT_MOUSEMOVE, 5, 5, 0, None)
            return -1
        key = self.keys.pop(0) if self.keys else -1
        return key() if callable(key) else key

    def resizeWindow(self, name, width, height):  # noqa: N802
        assert name in self.windows and (width, height) == (160, 120)

    def setMouseCallback(self, name, on_mouse):  # noqa: N802
        assert name in self.windows
        self._on_mouse = on_mouse

    def destroyWindow(self, name):  # noqa: N802
        self.windows.remove(name)

    def getWindowProperty(self, name, which):  # noqa: N802
        assert name in self.windows and which == self._real.WND_PROP_VISIBLE
        return 1.0


@pytest.fixture
def with_opencv(monkeypatch):
    def use(*arguments, **keywords):
        fake = FakeOpenCV(*arguments, **keywords)
        monkeypatch.setitem(sys.modules, "cv2", fake)
        monkeypatch.setattr(live, "_try_window", lambda: int(fake.headless))
        monkeypatch.setenv("DISPLAY", ":0")
        return fake

    return use


def test_a_camera_is_tracked_from_a_box_that_is_drawn(appearance_run, with_opencv, capfd):
    fake = with_opencv(9, [-1, -1, -1, SPACE, SPACE])
    assert track.main(["--source=0", f"--output_path={appearance_run}", "--json"]) == 0
    result = printed(capfd)
    assert (fake.chosen_on == frame(3))[20:].all(), "the frame at which the key was pressed, below a caption"
    assert len(fake.shown) == 1 + 3 + 2 + 7 and fake.is_released  # loading, choosing, drawing and tracking
    assert (result["source"], result["sequence"], result["frames"]) == ("camera0", "camera0", 7)
    boxes = otb.read_boxes(result["boxes"])
    assert boxes.shape == (7, 4) and boxes[0].tolist() == [ROI[0] + 1, ROI[1] + 1, *ROI[2:]]
    assert result["boxes"] == str(appearance_run / "0" / "predict" / "camera0" / "boxes.txt")
    assert os.path.getsize(result["annotated"]) > 500


@pytest.mark.parametrize("roi, keys", [(ROI, [-1, -1, ESCAPE]), (ROI, [-1, SPACE, ESCAPE]),
                                       ((0, 0, 0, 0), [-1, SPACE, SPACE, ESCAPE]), (ROI, [])])
def test_no_box_is_drawn(appearance_run, with_opencv, capfd, roi, keys):
    """Escape before, escape while drawing, a box without extent, and a camera that ends."""
    before = os.listdir(str(appearance_run / "0" / "predict")) if (appearance_run / "0" / "predict").exists() else []
    with_opencv(5, keys, roi)
    assert track.main(["--source=0", f"--output_path={appearance_run}", "--json"]) == 1
    assert "no target was chosen; draw a box around it, or give --box=x,y,width,height" in error_line(capfd)
    after = os.listdir(str(appearance_run / "0" / "predict")) if (appearance_run / "0" / "predict").exists() else []
    assert before == after


def test_a_signal_ends_the_drawing_of_a_box(appearance_run, with_opencv, capfd):
    with_opencv(5, [-1, SPACE, lambda: os.kill(os.getpid(), signal.SIGINT) or -1])
    assert track.main(["--source=0", f"--output_path={appearance_run}", "--json"]) == 130
    assert capfd.readouterr().err.splitlines()[-1] == "Stopped by SIGINT."


def test_the_key_q_ends_a_camera(appearance_run, with_opencv, capfd):
    fake = with_opencv(100, [-1, -1, -1, ord("q")])
    assert track.main(["--source=0", "--box=41,31,24,20", f"--output_path={appearance_run}", "--json",
                       "--annotate=none"]) == 0
    result = printed(capfd)
    assert result["frames"] == 3 and len(fake.shown) == 4 and result["annotated"] is None
    red = fake.shown[3][25:55, :, 2].astype(int) - fake.shown[3][25:55, :, 0]
    assert (red > 100).any(), "the box is drawn in red on what is shown, in OpenCV's order of colours"


def test_a_signal_ends_a_camera_and_keeps_what_was_tracked(appearance_run, with_opencv, capfd):
    """Ctrl-C is how a camera ends without a window."""
    with_opencv(100, headless=True, on_frame=lambda number: number == 4 and os.kill(os.getpid(), signal.SIGINT))
    assert track.main(["--source=0", "--box=41,31,24,20", f"--output_path={appearance_run}"]) == 0
    message = capfd.readouterr()
    assert "camera0: 4 frames" in message.out and "track.json" in message.out
    assert "Notice: this OpenCV has no windows" in message.err and "Ctrl-C or --max_frames" in message.err


def test_max_frames_end_a_camera_and_a_sequence(appearance_run, with_opencv, tiny_videos, capfd):
    fake = with_opencv(100, headless=True)
    arguments = [f"--output_path={appearance_run}", "--json", "--annotate=none", "--max_frames=2"]
    assert track.main(["--source=0", "--box=41,31,24,20", *arguments]) == 0
    assert printed(capfd)["frames"] == 2 and fake.is_released
    assert track.main([f"--sequence={tiny_videos / 'OTB' / 'Drawn1'}", *arguments]) == 0
    assert printed(capfd)["frames"] == 2


def test_the_box_of_a_folder_of_frames_is_drawn(appearance_run, with_opencv, tiny_videos, tmp_path, capfd):
    fake, folder = with_opencv(0, [SPACE]), tmp_path / "frames"
    shutil.copytree(str(tiny_videos / "OTB" / "Drawn1" / "img"), str(folder))
    assert track.main([f"--sequence={folder}", f"--output_path={appearance_run}", "--json", "--annotate=none",
                       "--max_frames=3"]) == 0
    result = printed(capfd)
    assert otb.read_boxes(result["boxes"])[0].tolist() == [41, 31, 24, 20]
    assert fake.chosen_on.shape == (120, 160, 3) and len(fake.shown) == 2 and fake.windows == set()


def test_several_sequences_are_tracked_in_turn(appearance_run, tiny_videos, capfd):
    folders = [str(tiny_videos / "OTB" / name) for name in ("Drawn1", "Drawn2")]
    arguments = [f"--output_path={appearance_run}", "--annotate=none", "--max_frames=2"]
    assert track.main(["--images", *folders, *arguments, "--json"]) == 0
    found = printed(capfd)["sequences"]
    assert [result["source"] for result in found] == [os.path.join(folder, "img") for folder in folders]
    for result in found:
        with open(os.path.join(os.path.dirname(result["boxes"]), "track.json"), encoding="utf-8") as file:
            assert json.load(file) == result
    assert track.main([f"--sequence={','.join(folders)}", *arguments]) == 0
    assert capfd.readouterr().out.count("Written: ") == 2
    assert track.main([f"--sequence={','.join(folders)}", "--box=1,2,9,9", *arguments]) == 2
    assert "--box and --ground_truth are of one sequence" in error_line(capfd)


def test_a_window_is_tried_in_another_process(monkeypatch, capfd):
    """Without a server at DISPLAY there is none, and OpenCV may say so by aborting that process."""
    monkeypatch.setenv("DISPLAY", ":7777")
    has_windows = "GUI:                           NONE" not in load_opencv().getBuildInformation()
    assert live._try_window() < 0 if has_windows else live._try_window() == 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("source, headless, display, status, message", [
    ("1", False, ":0", 1, "--source=1: camera 1 cannot be read"),
    ("0", True, ":0", 2, "--box=x,y,width,height is needed: this OpenCV has no windows; install opencv-python instead"),
    ("0", -6, ":7", 2, "--box=x,y,width,height is needed: OpenCV cannot use the screen (DISPLAY=:7)"),
    ("0", False, "", 2, "--box=x,y,width,height is needed: there is no screen (DISPLAY is not set)"),
    ("{frames}", True, ":0", 2, "img has no groundtruth_rect.txt; to draw the box: this OpenCV has no windows"),
])
def test_mistakes_are_one_line(appearance_run, with_opencv, tmp_path, tiny_videos, capfd, monkeypatch, source, headless,
                               display, status, message):
    with_opencv(3, headless=headless)
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(live.sys, "platform", "linux")
    (tmp_path / "img").symlink_to(tiny_videos / "OTB" / "Drawn1" / "img")
    source = source.format(frames=tmp_path)
    assert track.main([f"--source={source}", f"--output_path={appearance_run}"]) == status
    assert message.replace("img has", f"{os.path.basename(str(tmp_path))} has") in error_line(capfd)
