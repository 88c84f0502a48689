"""Where rank 0 listens: at one address of this machine, never at all of them unless that is asked for by name.

``ARCFACE_PADDLE_INTERFACE`` names the network of the job, as an interface (``eth1``, ``ib0``) or as an address
(``10.0.0.1``, ``fd00::1``). An interface holds for Gloo and NCCL too, which have variables of their own. Without it
the address is the one under which the launcher announces rank 0, at which the other ranks look for it anyway.
``ARCFACE_PADDLE_PORT`` names the port, for firewalls that let only known ones through; without it the system gives a
free one. Rank 0 tells the others its port through the process group, so only its own setting counts.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from typing import Any, Optional

from arcface_paddle.errors import ConfigError, MissingDependencyError
from arcface_paddle.untrusted import integer

INTERFACE_VARIABLE = "ARCFACE_PADDLE_INTERFACE"
PORT_VARIABLE = "ARCFACE_PADDLE_PORT"
_COLLECTIVES_VARIABLES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
LONGEST_ADDRESS = 64  # an IPv6 address has at most 45 characters, its zone at most 15 more


def host_of(endpoint: str) -> str:
    """Return the host of ``host:port`` or ``[IPv6 address]:port``."""
    return endpoint.rsplit(":", 1)[0].strip("[]")


def wanted_address() -> Optional[str]:
    """Return the address that ``ARCFACE_PADDLE_INTERFACE`` asks for, None when it is not set.

    Raises:
        ConfigError: neither an address nor an interface of this machine that has one.
        MissingDependencyError: an interface, without psutil.
    """
    wanted = os.environ.get(INTERFACE_VARIABLE, "").strip().strip("[]")
    if not wanted:
        return None
    return wanted if _is_address(wanted) else _address_of_interface(wanted)


def wanted_port() -> int:
    """Return the port that ``ARCFACE_PADDLE_PORT`` asks for, 0 (any) when it is not set.

    Raises:
        ConfigError: no number of a port.
    """
    wanted = os.environ.get(PORT_VARIABLE, "").strip()
    if not wanted:
        return 0
    port = integer(wanted)
    if port is None or not 1 <= port <= 65535:
        raise ConfigError(f"{PORT_VARIABLE} is {wanted!r:.60}; allowed: 1 to 65535")
    return port


def bind_collectives() -> None:
    """Have Gloo and NCCL use the named interface as well, unless their own variables say otherwise."""
    wanted = os.environ.get(INTERFACE_VARIABLE, "").strip()
    if wanted and not _is_address(wanted.strip("[]")):
        for variable in _COLLECTIVES_VARIABLES:
            os.environ.setdefault(variable, wanted)


def is_any_address(address: str) -> bool:
    """Tell whether an address stands for all interfaces, ``0.0.0.0`` or ``::``."""
    return address in ("0.0.0.0", "::")


def listen(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """Open a listening socket at one address.

    Args:
        host: IPv4 or IPv6 address, or a name for one, of this machine; ``0.0.0.0`` or ``::`` for all of them.
        port: 0 = a free one.

    Raises:
        ConfigError: it is no address of this machine, or the port is taken.
    """
    problem: Any = "no address"
    try:
        for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            try:
                return _listen_at(family, address)
            except OSError as error:
                problem = error.strerror or error
    except OSError as error:
        problem = error.strerror or error
    if port:
        raise ConfigError(f"rank 0 cannot listen at {host!r}, port {port} ({problem}): choose another {PORT_VARIABLE}")
    raise ConfigError(
        f"rank 0 cannot listen at {host!r} ({problem}): set {INTERFACE_VARIABLE} on every machine to the interface "
        "(eth0) or on that of rank 0 to its own address (10.0.0.1, fd00::1) in the network of the job"
    )


def _listen_at(family: int, address: Any) -> socket.socket:
    """Open a listening socket; ``create_server`` would drop the zone of an IPv6 address (fe80::1%eth0)."""
    server = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A run that is started again must not wait until the system has forgotten the connections of the last one.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        server.bind(address)
        server.listen(1024)
    except OSError:
        server.close()
        raise
    return server


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


def _address_of_interface(name: str) -> str:
    """Return the first IPv4 address of an interface, else an IPv6 address that means the same on other machines."""
    try:
        import psutil
    except ImportError:
        raise MissingDependencyError("psutil", extra="train", purpose=f"{INTERFACE_VARIABLE}={name}") from None
    interfaces = psutil.net_if_addrs()
    if name not in interfaces:
        raise ConfigError(
            f"{INTERFACE_VARIABLE} is {name!r}; allowed: an address, or an interface of this machine: "
            f"{', '.join(sorted(interfaces))}"
        )
    found = {family: [a.address for a in interfaces[name] if a.family == family] for family in _FAMILIES}
    lasting = [address for address in found[socket.AF_INET6] if "%" not in address]
    for address in (*found[socket.AF_INET], *lasting):
        return str(address)
    raise ConfigError(f"{INTERFACE_VARIABLE} is {name!r}, an interface without an address; name the address itself")


_FAMILIES = (socket.AF_INET, socket.AF_INET6)
