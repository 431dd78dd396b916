"""The process that works on photos: told what to do, and answering, in lines of JSON.

    python -m refsr.web.worker '{"model": "auto", "max_memory": 1500000000, ...}'

A task is a line {"task": NAME, ...} on stdin; answers on stdout are any number of lines with its
progress and one {"done": ...} or {"failed": {"sentence", "part", "fault"}}. The process ends with
its stdin.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any

from refsr.errors import RefsrError
from refsr.image.quiet import quiet_libraries
from refsr.inference.memory import is_out_of_memory
from refsr.web.tasks import TASKS, Bench

BUG = "Something in refsr went wrong with this photo; the terminal of the server says what."
NO_MEMORY = "Out of memory; try a smaller photo or fewer references."


def failure(error: Exception, task: dict[str, Any]) -> dict[str, Any]:
    """What the server is told: a sentence that names files as the user does, and whose fault."""
    if is_out_of_memory(error):
        return {"sentence": NO_MEMORY, "part": None, "fault": True}
    if not isinstance(error, RefsrError):
        traceback.print_exception(error)
        return {"sentence": BUG, "part": None, "fault": True}
    sentence, blamed = str(error), None
    names: dict[str, str] = task.get("names", {})
    for part, name in sorted(names.items(), reverse=True):  # reference-1 is the start of -10
        path = os.path.join(task["folder"], part)  # noqa: PTH118 - as the library prints it
        if path in sentence:
            sentence, blamed = sentence.replace(path, name), part
    sentence = sentence.replace(task["folder"] + os.sep, "")
    return {"sentence": sentence, "part": blamed, "fault": False}


def main() -> None:
    """Serve tasks until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not look like an answer

    def tell(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    with quiet_libraries():
        bench = Bench(**json.loads(sys.argv[1]))
        for line in sys.stdin:
            task = json.loads(line)
            try:
                answer = TASKS[task["task"]](bench, task, tell)
            except Exception as error:
                tell({"failed": failure(error, task)})
            else:
                tell({"done": answer})


if __name__ == "__main__":
    main()
