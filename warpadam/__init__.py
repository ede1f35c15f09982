"""Library and client: the WarpAdam optimizer, its learned map P, and the SDK. No Ray, web framework or database."""
