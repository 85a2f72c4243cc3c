"""Debian's Chromium, headless and with a fresh profile, by its DevTools protocol over pipes: nothing to install."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium")
DESKTOP, PHONE = (1400, 900), (390, 844)
_PATIENCE_S = 60
_NAVIGATED = ("Inspected target navigated or closed", "Execution context was destroyed", "Cannot find")
"""How Chromium's errors begin if the page went to another address while it was asked."""
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--remote-debugging-pipe",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class RefusedError(Exception):
    """The browser did not do what it was asked."""


class Page:
    """One page of the browser.

    Attributes:
        errors: what the console said in red, uncaught errors, and failed requests, each as one text.
    """

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._last_id = 0
        self._unread = b""
        self._session: str | None = None
        self.errors: list[str] = []
        target = self._send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._send(f"{domain}.enable")

    def resize(self, size: tuple[int, int]) -> None:
        """Show the page on a screen of that many pixels."""
        width, height = size
        self._send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def prefer(self, scheme: str) -> None:
        """Prefer a colour scheme, ``light`` or ``dark``, as the settings of an operating system do."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._send("Emulation.setEmulatedMedia", features=features)

    def open(self, url: str) -> None:
        """Follow a link, as one that was typed."""
        self._send("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """Return the value of a JavaScript expression; if the page goes elsewhere meanwhile, of the page it goes to."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                answer = self._send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
            except RefusedError as error:
                if not str(error).startswith(_NAVIGATED) or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                assert "exceptionDetails" not in answer, answer["exceptionDetails"]
                return answer["result"].get("value")

    def wait_for(self, script: str) -> Any:
        """Return the value of a JavaScript expression once it is true."""
        deadline = time.monotonic() + _PATIENCE_S
        while not (value := self.run(script)):
            assert time.monotonic() < deadline, f"{script} never became true on:\n{self.text}\n{self.errors}"
            time.sleep(0.2)
        return value

    def wait_for_text(self, *texts: str) -> str:
        """Return the text that is seen once it has all of these."""
        self.wait_for(f"{json.dumps(texts)}.every(text => document.body?.innerText.includes(text))")
        return self.text

    def click(self, script: str) -> None:
        """Click in the middle of the element that a JavaScript expression returns, once it is there."""
        x, y = self.wait_for(
            f"(() => {{ const element = {script}; if (!element) return null;"
            " element.scrollIntoView({block: 'center'}); const box = element.getBoundingClientRect();"
            " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self._send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    @property
    def text(self) -> str:
        """The text that is seen."""
        return str(self.run("document.body?.innerText"))

    @property
    def address(self) -> str:
        """Where it is."""
        return str(self.run("location.href"))

    def picture(self, path: Path) -> Path:
        """Write what is seen as a PNG."""
        path.write_bytes(base64.b64decode(self._send("Page.captureScreenshot", format="png")["data"]))
        return path

    def _send(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._last_id += 1
        message = {"id": self._last_id, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._last_id:
                if "error" in answer:
                    raise RefusedError(answer["error"]["message"])
                return answer["result"]
            self._note(answer)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            chunk = os.read(self._answers, 1 << 16)
            assert chunk, "the browser has ended"
            self._unread += chunk
        message, _, self._unread = self._unread.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        details = event.get("params", {})
        match event.get("method"):
            case "Runtime.consoleAPICalled" if details["type"] in ("error", "assert"):
                self.errors.append(
                    " ".join(str(part.get("value", part.get("description"))) for part in details["args"])
                )
            case "Runtime.exceptionThrown":
                thrown = details["exceptionDetails"]
                self.errors.append(str(thrown.get("exception", {}).get("description", thrown["text"])))
            case "Log.entryAdded" if details["entry"]["level"] == "error":
                self.errors.append(f"{details['entry']['text']} {details['entry'].get('url', '')}")


@contextlib.contextmanager
def browser_page() -> Iterator[Page]:
    """Start the browser, and yield an empty page of it; end it afterwards."""
    assert CHROMIUM is not None
    with contextlib.ExitStack() as stack:
        profile = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        their_commands, commands = os.pipe()
        answers, their_answers = os.pipe()
        for descriptor in (commands, answers):
            stack.callback(os.close, descriptor)
        # The protocol is spoken on descriptors 3 and 4.
        redirect = f'exec "$@" 3<&{their_commands} 4>&{their_answers}'
        process = subprocess.Popen(
            ["bash", "-c", redirect, "bash", CHROMIUM, *_OPTIONS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(their_commands, their_answers),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": profile},
        )
        stack.callback(process.wait, 30)
        stack.callback(process.kill)
        os.close(their_commands)
        os.close(their_answers)
        yield Page(commands, answers)
