"""The Hugging Face Hub: data sets and models by name, fetched once, pinned to a commit, and kept like an upload.

Only the hub that the server names is asked (`WARPADAM_HUB_URL`), through the guard that all outside addresses pass; a
token is sent where the operator listed one for the project, and to nobody that the hub leads on to. Nothing that a
repository holds is run, and no pickle is read.
"""
