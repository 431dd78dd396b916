"""The page of ``refsr web`` and its HTTP API (docs/API_HTTP.md). Needs the extra ``web``.

``serve`` opens the port; ``app`` has the routes; ``guard`` what every request must keep to;
``desk`` the jobs and their folders; ``lane`` the processes that work and the queue before each;
``worker`` such a process, ``tasks`` what it does. ``page`` is what the browser gets.
"""
