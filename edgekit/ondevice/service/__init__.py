"""`python3 -m ondevice serve`: the bundle behind a local HTTP port or Unix socket, through switches of the release.

command      its words; `python3 -m ondevice.service` takes the same and needs nothing but the standard library
supervisor   holds the listening socket, follows the link, starts a worker from each release's own code
child        one worker process, as the supervisor sees it
outage       answers 503 while no release is fit to serve
listener     the port or Unix socket, and who may reach it
worker       loads a bundle, checks its golden samples, serves, drains
server       connections: time limits, one request at a time, draining
protocol     HTTP/1.1 requests and responses as bytes
endpoints    /predict, /healthz, /metrics
metrics      counts and histograms in Prometheus' text format

Supervisor and worker may be of different releases. They speak JSON lines over a socket pair (CONTROL_PROTOCOL):
to the worker `hello` (first), `serve`, `absorb`, `note`, `drain`; from it `ready` or `failed`, `draining`, `drained`.
"""

#: Raised when a message changes its meaning; new keys, which an older side ignores, need no new number.
CONTROL_PROTOCOL = 1
