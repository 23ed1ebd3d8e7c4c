"""Every number of the gateway, with its reason."""

TOKEN_AHEAD_SECONDS = 300.0  # an ID token is renewed so long before it expires: an outage of minutes goes unnoticed
TOKEN_AGAIN_SECONDS = 5.0  # between two refreshes, lest a metadata server that fails be hammered
TOKEN_TRIES = 3  # the metadata server is being maintained for less than a second at a time
TOKEN_PAUSE_SECONDS = 0.5  # between them

KEY_LENGTH_MIN = 16  # characters: what `openssl rand -hex 16` gives is twice as long; no password is let in

GUESSES_AT_ONCE = 10  # wrong keys from one address: a caller that was set up wrongly is told so
GUESS_SECONDS = 6.0  # until one more is heard: ten a minute, in the log as well
GUESSERS_MAX = 10_000  # addresses remembered: three megabytes; then the one seen longest ago is forgotten

HEAD_BYTES_MAX = 16 << 10  # a request's line and headers: uvicorn's own limit for what comes in parts
BODY_BYTES_MAX = 8 << 30  # an upload: hours of uncompressed sound; what the service itself takes may be less
REQUESTS_MAX = 512  # at once; each holds two sockets and 0.6 MB at most
SPARE_CONNECTIONS = 32  # kept open to the upstream for the next request
SPARE_SECONDS = 15.0  # and for so long: less than any front end keeps them, lest a request meet one that is closing
READ_AHEAD_BYTES = 256 << 10  # of an answer that its caller has not taken yet: one read of a socket by asyncio
ANSWER_HEAD_BYTES_MAX = 64 << 10  # the upstream is ours: cookies and security policies may be long

CONNECT_SECONDS = 10.0  # to Google's front end, with TLS
CONNECT_TRIES = 3  # within them; nothing has been sent then: trying again cannot do anything twice
CONNECT_PAUSE_SECONDS = 0.2  # between two of them
ANSWER_SECONDS = 3600.0  # until the answer begins, and between two pieces of it: Cloud Run's own limit is an hour
STALL_SECONDS = 60.0  # for one piece of a body to come, or to be taken, on either side

SHUTDOWN_SECONDS = 20  # what runs may end in; startup.sh's unit kills at 20 s
