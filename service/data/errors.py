"""The one error of reading data."""


class DataError(ValueError):
    """The data cannot be used. The message names file, column and row as far as they apply, and says what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message, 2000))


def printable(text: str, length: int) -> str:
    """`text` as it can be stored and shown: names in files hold anything, and of any length."""
    shown = text if len(text) <= length else f"{text[: length - 1]}…"
    return "".join(character if character.isprintable() else "\ufffd" for character in shown)
