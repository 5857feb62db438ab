"""Chromium without a window, driven through its own debugging protocol over two pipes: real keys and clicks, console, pictures.

Standard library only. ``--remote-debugging-pipe``: the browser reads requests from descriptor 3 and writes answers and events to 4, JSON
objects that each end in a NUL.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
    "--hide-scrollbars", "--disable-component-update", "--disable-extensions", "--force-color-profile=srgb", "--remote-debugging-pipe",
)  # fmt: skip
_CODES = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Enter": 13, "Escape": 27, "Tab": 9, "Home": 36, "End": 35}
_CODES |= {"PageUp": 33, "PageDown": 34, " ": 32}
_PATIENCE = 60.0  # seconds


class Page:
    """A tab.

    Attributes:
        complaints: what the console, the page's errors and its security policy said.
        requests: the addresses that were asked for after the page itself.
    """

    def __init__(self, send: int, receive: int) -> None:
        self._send, self._receive, self._rest, self._number = send, receive, b"", 0
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._loaded = False
        self._session = ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **given: Any) -> Any:
        """Ask the browser for something and wait for the answer; events that come meanwhile are kept."""
        self._number += 1
        asked: dict[str, Any] = {"id": self._number, "method": method, "params": given}
        if self._session:
            asked["sessionId"] = self._session
        data = json.dumps(asked).encode() + b"\0"
        while data:
            data = data[os.write(self._send, data) :]
        while True:
            said = self._next()
            if said.get("id") == self._number:
                assert "error" not in said, f"{method}: {said['error']}"
                return said["result"]

    def _next(self) -> dict[str, Any]:
        until = time.monotonic() + _PATIENCE
        while b"\0" not in self._rest:
            assert select.select([self._receive], [], [], max(0.0, until - time.monotonic()))[0], "chromium does not answer"
            piece = os.read(self._receive, 1 << 16)
            assert piece, "chromium has ended"
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\0")
        said: dict[str, Any] = json.loads(line)
        self._keep(said.get("method", ""), said.get("params", {}))
        return said

    def _keep(self, method: str, given: dict[str, Any]) -> None:
        if method == "Runtime.consoleAPICalled":
            self.complaints.append(f"console.{given['type']}: {given['args']}")
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(f"error: {given['exceptionDetails'].get('exception', given['exceptionDetails'])}")
        elif method == "Log.entryAdded":
            self.complaints.append(f"log: {given['entry']['text']}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(given["request"]["url"])
        elif method == "Page.loadEventFired":
            self._loaded = True

    def open(self, path: Path, fragment: str = "", *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Load a file, and forget what was said before."""
        self.call("Page.navigate", url="about:blank")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.ask("1")
        self.complaints, self.requests, self._loaded = [], [], False
        url = path.resolve().as_uri()
        self.call("Page.navigate", url=url + fragment)
        while not self._loaded:
            self._next()
        self.frame()
        self.requests = [r for r in self.requests if r.partition("#")[0] != url]

    def ask(self, expression: str) -> Any:
        """The value of an expression in the page; promises are waited for."""
        given = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        found = self.call("Runtime.evaluate", **given)
        assert "exceptionDetails" not in found, f"{expression}: {found['exceptionDetails']}"
        return found["result"].get("value")

    def frame(self) -> None:
        """Wait until what was asked for is drawn."""
        self.ask("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def text(self, selector: str) -> str:
        """What an element says."""
        return str(self.ask(f"document.querySelector({json.dumps(selector)}).textContent"))

    def press(self, *keys: str) -> None:
        """Press keys, as a person would."""
        for key in keys:
            given: dict[str, Any] = {"key": key, "windowsVirtualKeyCode": _CODES.get(key, ord(key[0].upper()))}
            if len(key) == 1:
                given["text"] = key
            elif key == "Enter":
                given["text"] = "\r"
            self.call("Input.dispatchKeyEvent", type="keyDown" if "text" in given else "rawKeyDown", **given)
            self.call("Input.dispatchKeyEvent", type="keyUp", **given)
        self.frame()

    def place(self, selector: str) -> tuple[float, float]:
        """The middle of an element, which is scrolled into view."""
        found = self.ask(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center'}});"
            " const b = e.getBoundingClientRect(); return [b.left + b.width / 2, b.top + b.height / 2]; })()"
        )
        return found[0], found[1]

    def move(self, selector: str) -> None:
        """Bring the pointer onto an element."""
        x, y = self.place(selector)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        self.frame()

    def click(self, selector: str) -> None:
        """Click on an element."""
        x, y = self.place(selector)
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="none" if kind == "mouseMoved" else "left", clickCount=1)
        self.frame()

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Save what is seen, or the whole page, as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]))


@contextmanager
def browser() -> Iterator[Page]:
    """A browser with one page, ended with the block."""
    assert CHROMIUM, "no chromium"
    profile = tempfile.mkdtemp()
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20) for fd in (theirs_in, theirs_out)]  # out of the way of 3 and 4
    quiet = os.open(os.devnull, os.O_RDWR)
    places = [(os.POSIX_SPAWN_DUP2, fd, to) for fd, to in ((high[0], 3), (high[1], 4), (quiet, 0), (quiet, 1), (quiet, 2))]
    process = os.posix_spawn(
        CHROMIUM, [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}"], {**os.environ, "HOME": profile}, file_actions=places, setsid=True
    )
    for fd in (theirs_in, theirs_out, quiet, *high):
        os.close(fd)
    try:
        yield Page(ours_out, ours_in)
    finally:
        os.killpg(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(ours_out)
        os.close(ours_in)
        shutil.rmtree(profile, ignore_errors=True)
