"""HTTP: routes, the one map from errors to answers, and the web page. Never imports Ray or torch."""
