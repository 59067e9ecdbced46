"""What the kernel knows of the other end of a connection.

A client that has sent all it wants to (`shutdown(SHUT_WR)`) and one that has closed look the same from here: both have
sent an end of file. On the same machine the kernel holds the client's socket as well, and says whether a process still
has it open. Of a client elsewhere that cannot be known without writing to it.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
from typing import Any

from gevent.monkey import get_original

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_NO_COOKIE = (0xFFFFFFFF, 0xFFFFFFFF)
_ALL_STATES = 0xFFFFFFFF

# linux/netlink.h nlmsghdr; linux/inet_diag.h inet_diag_sockid, inet_diag_req_v2 and inet_diag_msg
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBxI")
_PORTS = struct.Struct("!HH")
_ADDRESSES = struct.Struct("!16s16s")
_INTERFACE_AND_COOKIE = struct.Struct("=III")
_ANSWER = struct.Struct("=4x 48x IIIII")  # from the family to the inode, which is last

_new_socket = get_original("socket", "socket")  # gevent's would switch greenlets


def is_open(sock: socket.socket) -> bool:
    """Whether a process on this machine has the other end of a connection open. False where that cannot be known."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    with contextlib.suppress(OSError, ValueError, struct.error):
        return _inode(_plain(sock.getpeername()), _plain(sock.getsockname())) != 0
    return False


def _plain(name: Any) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]:
    """Address and port; IPv4 that comes along as IPv6 is IPv4."""
    address = ipaddress.ip_address(name[0])
    return getattr(address, "ipv4_mapped", None) or address, name[1]


def _inode(local: tuple[Any, int], remote: tuple[Any, int]) -> int:
    """The inode of one TCP socket of this machine; 0 when no process holds it. An OSError when there is none."""
    family = socket.AF_INET if local[0].version == 4 else socket.AF_INET6
    question = (
        _REQUEST.pack(family, socket.IPPROTO_TCP, 0, _ALL_STATES)
        + _PORTS.pack(local[1], remote[1])
        + _ADDRESSES.pack(local[0].packed, remote[0].packed)
        + _INTERFACE_AND_COOKIE.pack(0, *_NO_COOKIE)
    )
    header = _HEADER.pack(_HEADER.size + len(question), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 0, 0)
    with _new_socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _NETLINK_SOCK_DIAG) as netlink:
        netlink.sendall(header + question)
        answer = netlink.recv(4096)  # the kernel has answered before it returned from the sending
    if _HEADER.unpack_from(answer)[1] != _SOCK_DIAG_BY_FAMILY:
        raise OSError("no such socket")
    inode: int = _ANSWER.unpack_from(answer, _HEADER.size)[-1]
    return inode
