//! Every kind of address that a sandbox without a network must not reach, and every spelling of the metadata service's.
//!
//! The daemon serves in a network namespace of the test's own, which has all of them and no way out; a server there
//! answers on each. A session without a sandbox reaches it, which shows that the probe works.

use std::process::Stdio;

use dunlin_harness::{Running, User, World, require};
use nix::unistd::geteuid;

const ADDRESSES: &[&str] = &[
    "10.1.2.3/32",
    "100.64.0.1/32",
    "169.254.169.254/32",
    "172.16.0.1/32",
    "192.168.1.1/32",
    "203.0.113.7/32",
    "fd00::1/128",
    "fd00:ec2::254/128",
    "2001:db8::7/128",
];

/// Answers on every address of its namespace: TCP, and UDP where names are asked for.
const SERVER: &str = "import socket, threading
tcp = socket.create_server(('::', 8080), family=socket.AF_INET6, dualstack_ipv6=True)
udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
udp.bind(('::', 53))
def answer():
    while True:
        data, sender = udp.recvfrom(512)
        udp.sendto(data, sender)
threading.Thread(target=answer, daemon=True).start()
print('ready', flush=True)
while True: tcp.accept()[0].close()";

/// Prints each spelling that it reached.
const PROBE: &str = "import socket
print('RAN')
for name in ('10.1.2.3', '100.64.0.1', '169.254.169.254', '2852039166', '0xa9fea9fe', '0251.0376.0251.0376', '0xa9.0xfe.0xa9.0xfe',
             '169.254.43518', '169.16689662', '::ffff:169.254.169.254', '::ffff:a9fe:a9fe', '172.16.0.1', '192.168.1.1', '203.0.113.7',
             'fd00::1', 'fd00:ec2::254', '2001:db8::7', '127.0.0.1', '0.0.0.0', '0', '127.1', '::1', '::', '::ffff:127.0.0.1'):
    try:
        socket.create_connection((name, 8080), 5)
        print('tcp', name)
    except OSError:
        pass
for name in ('203.0.113.7', '169.254.169.254', '2001:db8::7', '127.0.0.1'):
    asker = socket.socket(socket.AF_INET6 if ':' in name else socket.AF_INET, socket.SOCK_DGRAM)
    asker.settimeout(5)
    try:
        asker.sendto(b'question', (name, 53))
        asker.recvfrom(512)
        print('dns', name)
    except OSError:
        pass";

#[test]
fn no_address_of_the_hosts_network_is_reached_however_it_is_spelt() {
    require!("network namespaces", geteuid().is_root(), "only root can put the daemon into one");
    for user in [User::Own, User::Ordinary] {
        let added = ADDRESSES.iter().map(|address| format!("ip addr add {address} dev lo nodad && "));
        let line = format!("ip link set lo up && {} exec \"$@\"", added.collect::<String>());
        let wrapper = ["unshare", "-n", "sh", "-c", &line, "sh"].map(str::to_owned);
        let world = World::wrapped_by_root(user, &wrapper);
        let mut server = world.command("nsenter");
        let keeper = world.pid("keeper").to_string();
        server.args(["-t", &keeper, "-n", "/usr/bin/python3", "-c", SERVER]).stdin(Stdio::null());
        std::os::unix::process::CommandExt::uid(&mut server, 0).stderr(Stdio::null());
        let mut server = Running::start(server);
        server.read_until("ready");
        let reached = |profile: &str| {
            let words = ["run", "--no-tty", "-p", profile, "--", "/usr/bin/python3", "-c", PROBE];
            let said = world.dunlin(&words).expect(0).out();
            assert!(said.starts_with("RAN\n"), "{said}");
            said.lines().count() - 1
        };
        assert_eq!(reached("unconfined"), 28, "the probe works where nothing stops it");
        for profile in ["workspace-write", "read-only"] {
            assert_eq!(reached(profile), 0, "{profile} as {user:?}");
        }
    }
}
