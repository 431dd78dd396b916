"""The program of a worker process: reads tasks and writes answers as lines of JSON.

    python -m refsr.web.worker '{"model": "auto", "max_memory": 1500000000, ...}'

A task is a line {"task": NAME, ...} on stdin. Its answers on stdout are any number of progress
messages and then one {"done": ...} or {"failed": {"message", "part", "status"}}. The process
ends at the end of its stdin.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any

from refsr.errors import RefsrError, TooLargeError
from refsr.image.quiet import quiet_libraries
from refsr.inference.memory import is_out_of_memory
from refsr.web.disk import DISK_FULL, is_disk_full
from refsr.web.tasks import TASKS, WorkerState
from refsr.web.worker_process import BAD_ANSWER

OUT_OF_MEMORY = "Out of memory; try a smaller photo or fewer references."
DISK_STATUS = 507  # of HTTP: Insufficient Storage


def failure(error: Exception, task: dict[str, Any]) -> dict[str, Any]:
    """The arguments of the server's TaskError, with the user's names of the files."""
    if is_out_of_memory(error):
        return {"message": OUT_OF_MEMORY, "part": None, "status": 500}
    if is_disk_full(error):
        return {"message": DISK_FULL, "part": None, "status": DISK_STATUS}
    if not isinstance(error, RefsrError):
        traceback.print_exception(error)
        return {"message": BAD_ANSWER, "part": None, "status": 500}
    message, cause = str(error), None
    if isinstance(error, TooLargeError):  # the page has no flags
        message = f"{error.fact} here; send a smaller version of it."
    names: dict[str, str] = task.get("names", {})
    for part, name in sorted(names.items(), reverse=True):  # reference-1 is the start of -10
        path = os.path.join(task["folder"], part)  # noqa: PTH118 - as the library prints it
        if path in message:
            message, cause = message.replace(path, name), part
    message = message.replace(task["folder"] + os.sep, "")
    return {"message": message, "part": cause, "status": 422}


def main() -> None:
    """Run tasks until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not look like an answer

    def send(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    with quiet_libraries():
        state = WorkerState(**json.loads(sys.argv[1]))
        for line in sys.stdin:
            task = json.loads(line)
            try:
                answer = TASKS[task["task"]](state, task, send)
            except Exception as error:
                send({"failed": failure(error, task)})
            else:
                send({"done": answer})


if __name__ == "__main__":
    main()
