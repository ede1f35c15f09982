"""The routes, one module per noun. A handler asks for what it needs, calls one use case, and presents its result."""
