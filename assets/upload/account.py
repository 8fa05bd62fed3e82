"""The account that assets are loaded into: its site, the address of its API, and the keys."""

import re
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

# https://docs.datadoghq.com/getting_started/site/
SITES = (
    "datadoghq.com",
    "us3.datadoghq.com",
    "us5.datadoghq.com",
    "datadoghq.eu",
    "ap1.datadoghq.com",
    "ap2.datadoghq.com",
    "uk1.datadoghq.com",
    "ddog-gov.com",
    "us2.ddog-gov.com",
)
# New sites are subdomains of these. Only --api-url can send keys elsewhere.
DOMAINS = ("datadoghq.com", "datadoghq.eu", "ddog-gov.com")
KEYS = ("DD_API_KEY", "DD_APP_KEY")
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class UsageError(Exception):
    """The command cannot start; the text is one line that says what is wrong, and what would be right."""


@dataclass(frozen=True)
class Account:
    site: str
    api_url: str
    api_key: str = field(repr=False)
    application_key: str = field(repr=False)
    # The address of the proxy to use, if any: it may contain a password.
    proxy: str | None = field(default=None, repr=False)

    def link(self, path: str) -> str:
        """Build the address of a page: `https://app.datadoghq.eu/monitors/17`, `https://us5.datadoghq.com/monitors/17`."""
        host = f"app.{self.site}" if self.site in DOMAINS else self.site
        return f"https://{host}{path}"


def read_account(environment: Mapping[str, str], api_url: str | None = None) -> Account:
    """Read the account from environment variables; raise UsageError if one is missing or wrong."""
    missing = [name for name in KEYS if not environment.get(name)]
    if missing:
        raise UsageError(f"{' and '.join(missing)}: not set. Create keys in Datadog, under Organization Settings.")
    for name in KEYS:
        # The HTTP library would quote a key with a line break or a blank in its error.
        if not re.fullmatch(r"[A-Za-z0-9_-]+", environment[name]):
            raise UsageError(f"{name}: contains characters that no key has (blanks, quotes, line breaks?)")
    site = environment.get("DD_SITE") or SITES[0]
    if not re.fullmatch(rf"(?:[a-z0-9-]+\.)?(?:{'|'.join(map(re.escape, DOMAINS))})", site) or site.startswith(
        ("api.", "app.")
    ):
        raise UsageError(f"DD_SITE: {site!r} is not a site of Datadog. The sites: {', '.join(SITES)}")
    address = check_url(api_url) if api_url else f"https://api.{site}"
    return Account(site, address, environment["DD_API_KEY"], environment["DD_APP_KEY"], find_proxy(address))


def check_url(url: str) -> str:
    """Return the address without a trailing slash; raise UsageError if keys must not be sent to it."""
    parts = split_url(url)
    # The address is not quoted, because it may contain a password.
    if parts is None or parts.query or parts.fragment or "@" in url:
        raise UsageError("--api-url: not an address such as https://datadog-proxy.example (no user, no password)")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise UsageError("--api-url: would send the keys unencrypted; use https")
    return url.rstrip("/")


def find_proxy(url: str) -> str | None:
    """Find the proxy for an address, as HTTPS_PROXY and NO_PROXY say; raise UsageError if it cannot be used."""
    parts = urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if not proxy or parts.scheme == "http" or urllib.request.proxy_bypass(parts.netloc):
        return None
    if split_url(proxy) is None:
        raise UsageError("HTTPS_PROXY: not an address such as http://proxy.example:3128")
    return proxy


def split_url(url: str) -> SplitResult | None:
    """Split an HTTP or HTTPS address; return None if it is not one."""
    try:
        parts = urlsplit(url)
        # Reading an invalid port raises ValueError.
        is_address = parts.scheme in {"http", "https"} and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        return None
    return parts if is_address else None
