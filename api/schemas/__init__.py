"""What the API answers: one pydantic model per object of the contract, made from rows by its `of`."""
