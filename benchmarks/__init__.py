"""What is fast and what converges, against real peers: see README.md beside this file."""
