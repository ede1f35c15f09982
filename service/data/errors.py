"""The one error of reading data."""


class DataError(ValueError):
    """The data cannot be used. The message names file, column and row as far as they apply, and says what to do."""
