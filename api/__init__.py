"""The HTTP edge: routes, dependencies, the one map from errors to HTTP, the web page. It decides nothing: service/ does."""
