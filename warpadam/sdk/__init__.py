"""What the client is made of: the connection, jobs, collections, errors. `warpadam.client.Client` is the way in."""
