"""Why a registry gave no usable answer, in words a user can act on."""

import ssl
from collections.abc import Iterator

import requests
from urllib3.exceptions import NameResolutionError, ReadTimeoutError


class HostError(Exception):
    """A registry gave no usable answer: `problem` is a clause that follows its name, `remedy` what to do."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy


def connection_error(error: Exception) -> HostError:
    """The HostError for what `requests` or `urllib3` raised."""
    causes = list(_causes(error))
    for cause in causes:
        if (known := _known(cause)) is not None:
            return known
    return HostError(f"can't be used: {causes[-1]}", "check the image's name and the registry")


def status_error(status: int, reason: str, *, plain_http: bool) -> HostError:
    """The HostError for an HTTP status that is neither success, 404 nor a refused login."""
    answer = f"answers {status} {reason}".rstrip()
    if status == 429:
        return HostError(answer, "its rate limit is reached: wait, or log in for a higher one")
    if status >= 500:
        return HostError(answer, "the fault is on its side: try again later, or ask who runs it")
    if status == 400 and plain_http:
        return HostError(f"{answer} to plain HTTP", "take `registryTLS.insecure: true` away if it speaks TLS")
    return HostError(answer, "check that the image's name is right and that a registry runs there")


def _known(cause: BaseException) -> HostError | None:  # noqa: PLR0911 - one table
    match cause:
        case ssl.SSLCertVerificationError():
            return HostError(
                f"has a certificate that is refused: {cause.verify_message}",
                "renew it, or trust its CA: SSL_CERT_FILE=/path/to/ca.pem"
                " (`registryTLS.insecureSkipTLSVerify: true` takes any certificate)",
            )
        case ssl.SSLError(reason="WRONG_VERSION_NUMBER" | "HTTP_REQUEST" | "RECORD_LAYER_FAILURE"):
            return HostError("does not speak TLS", "set `registryTLS.insecure: true` if plain HTTP is what you want")
        case requests.exceptions.ProxyError():
            return HostError("can't be reached through the proxy", "check HTTP_PROXY, HTTPS_PROXY and NO_PROXY")
        case requests.exceptions.TooManyRedirects():
            return HostError("redirects without end", "check the image's name and the registry")
        case NameResolutionError():
            return HostError("has a host name that can't be resolved", "check the spelling and the DNS server")
        case requests.exceptions.Timeout() | ReadTimeoutError() | TimeoutError():
            return HostError("does not answer in time", "check the network, proxies (HTTPS_PROXY) and the registry")
        case requests.exceptions.HTTPError(response=requests.Response() as response):
            return status_error(response.status_code, response.reason, plain_http=False)
        case OSError(strerror=str() as reason):
            return HostError(f"can't be reached: {reason}", "check host and port, and that the registry runs")
        case _:
            return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """`error` and what it wraps; requests and urllib3 keep the cause as `reason` or as an argument."""
    found: BaseException | None = error
    while found is not None:
        yield found
        inner = (getattr(found, "reason", None), *found.args, found.__cause__, found.__context__)
        found = next((cause for cause in inner if isinstance(cause, BaseException)), None)
