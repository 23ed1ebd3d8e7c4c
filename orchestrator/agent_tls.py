"""TLS to an agent: whom a connection trusts, and what it means when there is none."""

import ssl
from collections.abc import Iterator


def trusting(certificate: str | None) -> ssl.SSLContext:
    """Whoever has the key of exactly this certificate (PEM), on whatever host; None: nobody. ValueError: it is none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False  # it is published for a VM, not for an address
    context.verify_mode = ssl.CERT_REQUIRED
    if certificate is not None:
        try:
            context.load_verify_locations(cadata=certificate)
        except ssl.SSLError as nonsense:
            raise ValueError(f"not a certificate: {nonsense}") from nonsense
    return context


def from_a_stranger(error: BaseException) -> bool:
    """The other side speaks TLS, but has not the key of the certificate that we trust."""
    return any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error))


def from_no_tls(error: BaseException) -> bool:
    """The other side speaks, but not TLS as we want it. Its subclasses say that it said nothing, or hung up."""
    return any(type(cause) is ssl.SSLError for cause in _causes(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
