//! Anything that is not this sandbox's own loopback. The default profile has no network.

use crate::attempt::{Attempt, Twin};

pub const ATTEMPTS: &[Attempt] = &[
    Attempt::python(
        "connect to the host's loopback by IPv4",
        "if allowed(lambda: socket.create_connection(('127.0.0.1', tcp), 5)): got()",
    ),
    Attempt::python(
        "connect to the host's loopback by IPv6",
        "if allowed(lambda: socket.create_connection(('::1', tcp6), 5)): got()",
    ),
    Attempt::python(
        "connect to the host's loopback by a mapped address",
        "if allowed(lambda: socket.create_connection(('::ffff:127.0.0.1', tcp), 5)): got()",
    ),
    Attempt::python(
        "connect to the host's loopback by the address of any",
        "if allowed(lambda: socket.create_connection(('0.0.0.0', tcp), 5)): got()",
    ),
    Attempt::python(
        "send a datagram to the host's loopback",
        "allowed(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', udp)))",
    )
    .seen_by_datagram(),
    Attempt::python(
        "send data while connecting",
        "MSG_FASTOPEN = 0x20000000
if allowed(lambda: socket.socket().sendto(b'x', MSG_FASTOPEN, ('127.0.0.1', tcp))): got()",
    ),
    Attempt::python(
        "connect to the host's loopback by multipath TCP",
        "if allowed(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262).connect(('127.0.0.1', tcp))): got()",
    )
    .needs("[ \"$(cat /proc/sys/net/mptcp/enabled)\" = 1 ]"),
    Attempt::python(
        "have a route that leads out",
        "if any(not line.split()[0] == 'lo' for line in open('/proc/net/route').read().splitlines()[1:]): got()",
    )
    .needs("[ $(wc -l < /proc/net/route) -gt 1 ]"),
    Attempt::python("see another interface than loopback", "if any(name != 'lo' for _, name in socket.if_nameindex()): got()")
        .needs("[ $(ls /sys/class/net | wc -l) -gt 1 ]"),
    Attempt::python("make a packet socket", "if allowed(lambda: socket.socket(17, socket.SOCK_RAW, 3)): got()").twin(Twin::Root),
    Attempt::python("make a packet socket the old way", "if allowed(lambda: socket.socket(socket.AF_INET, 10, 3)): got()").twin(Twin::Root),
    Attempt::python(
        "make a raw socket",
        "for family in (socket.AF_INET, socket.AF_INET6):
    if allowed(lambda: socket.socket(family, socket.SOCK_RAW, 1)): got()",
    )
    .twin(Twin::Root),
    Attempt::python(
        "make a socket of a protocol that has a module loaded",
        "for family in (socket.AF_INET, socket.AF_INET6):
    # SCTP, DCCP, L2TP, UDP-Lite. There is no socket of type 15.
    for protocol in (132, 33, 115, 136): reached(SYS.socket, family, 15, protocol)",
    ),
    Attempt::python("make a socket to the hypervisor", "if allowed(lambda: socket.socket(40, socket.SOCK_STREAM)): got()")
        .needs("/usr/bin/python3 -c 'import socket; socket.socket(40, socket.SOCK_STREAM)'"),
    Attempt::python("make a socket to the kernel's ciphers", "if allowed(lambda: socket.socket(38, socket.SOCK_SEQPACKET)): got()")
        .needs("/usr/bin/python3 -c 'import socket; socket.socket(38, socket.SOCK_SEQPACKET)'"),
    Attempt::python("make a bluetooth socket", "if allowed(lambda: socket.socket(31, socket.SOCK_RAW, 1)): got()")
        .needs("/usr/bin/python3 -c 'import socket; socket.socket(31, socket.SOCK_RAW, 1)'"),
    Attempt::python(
        "make a socket of any other family",
        "for family in range(3, 46):
    if family in (socket.AF_INET6, socket.AF_NETLINK): continue
    for kind in (1, 2, 3, 5):
        if allowed(lambda: socket.socket(family, kind)): got()",
    )
    .twin(Twin::Root),
    Attempt::python(
        "make a netlink socket of another kind than routes",
        "for protocol in range(1, 23):
    if allowed(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)): got()",
    ),
    Attempt::python(
        "change the network by netlink",
        "sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
# RTM_SETLINK with request and ack: set lo down.
message = struct.pack('IHHII', 32, 19, 5, 1, 0) + struct.pack('BxHiII', 0, 0, 1, 0, 1)
sock.send(message)
if struct.unpack_from('i', sock.recv(4096), 16)[0] == 0: got()",
    )
    .twin(Twin::Behind(&["unshare", "-n"])),
    Attempt::python(
        "pass a socket's address family in 64 bits",
        "if call(41, 0x1_0000_0011, 3, 0)[0] >= 0: got()",
    )
    .twin(Twin::Root)
    .needs("[ $(uname -m) = x86_64 ]"),
];
