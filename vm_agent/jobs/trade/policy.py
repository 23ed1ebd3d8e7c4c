"""Every number of the trading job that is not the user's, with its unit and its reason."""

ASK_SECONDS = 60.0  # how long a question is asked again that nothing hangs on
ASK_PAUSE_SECONDS, ASK_PAUSE_SECONDS_MAX = 0.5, 8.0  # between two of them: the first, and what it grows to
ORDER_UNKNOWN_SECONDS = 600.0  # how long an order that was sent is looked for where no look-up is answered
PLACINGS_MAX = 3  # of one slice, each after the one before is known not to have arrived
SLICES_MAX = 100  # each is four requests, and an entry of the result

# Binance refuses a request whose timestamp is older than recvWindow, or more than 1 s ahead of its own clock:
# "timestamp < (serverTime + 1000) && (serverTime - timestamp) <= recvWindow" (its REST API, "Timing security").
RECV_WINDOW_SECONDS = 5.0  # Binance's own advice is 5 s or less
AHEAD_SECONDS = 1.0
# An order is found some moments after it was placed only ("Order does not exist": ccxt issue 1786, after 2 s).
LOOK_UP_LAG_SECONDS = 24.0
LOCAL_RECV_WINDOW_SECONDS = 1.0  # a server on this machine has no network to be late on, and no replicas
LOCAL_LOOK_UP_LAG_SECONDS = 0.5
REQUEST_SECONDS = 10.0  # until a request counts as unanswered
