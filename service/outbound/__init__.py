"""What this service fetches from, or sends to, addresses that its users name: webhooks, and datasets over HTTP.

Whoever names an address must not reach by it what only this machine can reach. So nothing is trusted but the address
that a connection is made to: the name is resolved here, every address that it has is judged, and the connection goes
to the very one that was judged. A name that answers differently the second time, an odd spelling of 127.0.0.1 or a
redirect all meet the same judge.
"""

from service.outbound.addresses import Network, Trust, judge
from service.outbound.client import FAILURES, Answer, request
from service.outbound.guard import Guard, Refused

__all__ = ["FAILURES", "Answer", "Guard", "Network", "Refused", "Trust", "judge", "request"]
