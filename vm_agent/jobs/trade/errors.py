"""What can go wrong with a purchase, sorted by what the caller must do.

TradeError
├── BadParams             change the params: a name or a value
├── MissingExtra          install ccxt on this machine
├── NoKey                 give the job its API key
├── Refused               the exchange, or one of its rules, says no to this; nothing was placed by it
│   ├── NoSuchMarket      the symbol
│   ├── WrongKey          the API key, its permissions, or the addresses it may be used from
│   ├── BadSlices         spend, or the number of slices: below or above what the market takes
│   ├── TooLittleBalance  put money on the account, or spend less
│   └── PriceTooHigh      wait, or raise max_price
├── Unreachable           the exchange did not answer; nothing was placed by this
└── OrderUnknown          look at the order, which is named: nobody could tell whether it was placed
"""


class TradeError(Exception):
    """Not all was bought; the message says why, and what was."""


class BadParams(TradeError):
    """A param is unknown, or its value cannot be used."""


class MissingExtra(TradeError):
    """ccxt is not installed here."""


class NoKey(TradeError):
    """There is no API key, or it cannot be read."""


class Refused(TradeError):
    """The exchange says no."""


class NoSuchMarket(Refused):
    """The exchange does not trade this symbol, or not now."""


class WrongKey(Refused):
    """The exchange does not know the key, or not from here, or not for this."""


class BadSlices(Refused):
    """The market takes no orders of this size."""


class TooLittleBalance(Refused):
    """The account has less than what is to be spent and kept."""


class PriceTooHigh(Refused):
    """The market asks more than max_price."""


class Unreachable(TradeError):
    """The exchange did not answer a question."""


class OrderUnknown(TradeError):
    """An order was sent, and whether it was placed could not be found out."""
