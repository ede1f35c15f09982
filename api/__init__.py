"""The HTTP edge: routes, dependencies, the map from errors to HTTP, the web page. It decides nothing; service/ does."""
