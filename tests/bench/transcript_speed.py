"""How long the transcript holds up the window: one JSON object on stdout, in ms of the GUI thread's processor time.

Streams answers of about 30,000 characters into a shown panel as the bridge does (a delta a frame) and times all that a
frame costs on the GUI thread, painting included; and opens a conversation of 1,000 messages.

    python tests/bench/transcript_speed.py
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtWidgets import QApplication

from inglenook.chat.events import AnswerDelta, AnswerEnded, AnswerPartEnded, AnswerPartStarted
from inglenook.core.conversation import Conversation, MessageState, StoredMessage, Tree
from inglenook.core.events import Channel
from inglenook.core.messages import Message, Role, TextPart, user
from inglenook.core.settings import Settings
from inglenook.ui.panels.transcript import TranscriptPanel
from inglenook.ui.theme import Theme

PROSE = """## Part {n}

The *second* law says that **entropy** of a closed system never falls; see `dS >= 0` and \\(S = k \\ln W\\) for more.
A longer sentence follows, so that the paragraph has several lines in a column of seven hundred and sixty pixels.

1. First, write down what is known.
2. Then choose:
   - either the energy,
   - or the temperature.

| Quantity | Symbol | Unit |
|----------|:------:|-----:|
| Entropy  |  `S`   |  J/K |
| Energy   |  `U`   |    J |

```python
def entropy(microstates: int) -> float:
    return BOLTZMANN * math.log(microstates)  # part {n}
```

"""
CODE = "```python\n" + "".join(
    f"def function_{i}(value: int) -> str:\n    text = 'number %d' % value  # {i}\n    return text\n\n"
    for i in range(250)
)


def conversation(*messages: StoredMessage) -> Tree:
    return Tree(Conversation("c", "Bench", 0, 0, "2026-01-01", leaf_id=messages[-1].id), messages)


def stream(app: QApplication, panel: TranscriptPanel, text: str, piece: int) -> dict[str, float]:
    """Streams `text` in pieces of `piece` characters; what the frames cost."""
    question = StoredMessage("q", "c", None, user("Tell me everything."))
    answer = StoredMessage("a", "c", "q", Message(Role.ASSISTANT, ()), MessageState.STREAMING)
    panel.show_tree(None)
    panel.show_tree(conversation(question, answer))
    panel.handle(AnswerPartStarted("c", "a", 0, Channel.FINAL))
    frames = []
    for at in range(0, len(text), piece):
        began = time.thread_time()
        panel.handle(AnswerDelta("c", "a", 0, text[at : at + piece]))
        app.processEvents()
        app.processEvents()
        frames.append((time.thread_time() - began) * 1000)
        time.sleep(0.002)
        app.processEvents()
    began = time.thread_time()
    panel.handle(AnswerPartEnded("c", "a", 0, 1.0))
    final = StoredMessage("a", "c", "q", Message(Role.ASSISTANT, (TextPart(text),)))
    panel.handle(AnswerEnded("c", final))
    app.processEvents()
    app.processEvents()
    ended = (time.thread_time() - began) * 1000
    frames.sort()
    return {
        "characters": len(text),
        "frames": len(frames),
        "p50": round(statistics.median(frames), 2),
        "p99": round(frames[int(len(frames) * 0.99)], 2),
        "max": round(frames[-1], 2),
        "last_frame": round(ended, 2),
    }


def open_long(app: QApplication, panel: TranscriptPanel, count: int) -> dict[str, float]:
    messages: list[StoredMessage] = []
    for i in range(count):
        parent = messages[-1].id if messages else None
        said = Message(Role.ASSISTANT, (TextPart(PROSE.format(n=i)),)) if i % 2 else user(f"Question {i}?")
        messages.append(StoredMessage(f"m{i}", "c", parent, said))
    tree = conversation(*messages)
    panel.show_tree(None)
    app.processEvents()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.thread_time()
    panel.show_tree(tree)
    app.processEvents()
    opened = (time.thread_time() - began) * 1000
    bar = panel.verticalScrollBar()
    pages = []
    for step in range(40):
        began = time.thread_time()
        bar.setValue(bar.maximum() - (step + 1) * 600)
        app.processEvents()
        pages.append((time.thread_time() - began) * 1000)
    return {
        "messages": count,
        "open": round(opened, 1),
        "page_up_p50": round(statistics.median(pages), 1),
        "page_up_max": round(max(pages), 1),
        "memory_mib": round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, 1),
    }


def main() -> None:
    app = QApplication(sys.argv)
    with tempfile.TemporaryDirectory() as folder:
        theme = Theme(Settings(Path(folder) / "settings.json"))
        theme.apply(app)
        panel = TranscriptPanel(theme)
        panel.resize(1000, 800)
        panel.show()
        app.processEvents()
        stream(app, panel, PROSE.format(n=0), 8)  # imports
        prose = "".join(PROSE.format(n=i) for i in range(200))[:30_000]
        result = {
            "prose": stream(app, panel, prose, 8),
            "code_1000_lines": stream(app, panel, CODE, 12),
            "one_list": stream(app, panel, "".join(f"{i}. item **{i}** of `a` list\n" for i in range(1, 1000)), 12),
            "one_paragraph": stream(app, panel, "word **bold** and so on " * 400, 12),
            "open": open_long(app, panel, 1000),
        }
        print(json.dumps(result, indent=1))
        panel.deleteLater()


if __name__ == "__main__":
    main()
