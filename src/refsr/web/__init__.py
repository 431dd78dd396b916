"""The web page of ``refsr web`` and its HTTP API (docs/API_HTTP.md). Needs the extra ``web``.

``server`` opens the port; ``app`` has the routes, ``security`` the checks of every request;
``job_manager`` holds the jobs and their folders; ``worker_process`` runs a process and the queue
before it; ``worker`` is the program of that process, ``tasks`` what it does. ``page`` is what the
browser loads.
"""
