"""The main job, end to end, over HTTP only, as any user would do it: `warpadam demo`."""
