"""Models that user code makes: how that code is run, what it may declare, and whom its failures are told of.

The code runs in a process of its own below a training worker (`child`), with an environment of its own, no descriptor
but one socket, and where the kernel can do it no files, signals or network beyond that (`confine`). The worker
(`host`) is ours: it takes from the socket what it understands and carries it on; nothing that comes from there is
unpickled.
"""
