//! The device on real taps, in a network namespace of the test's own, where
//! whoever runs the tests may make those.

use super::packet::HEADER;
use super::*;
use crate::events::{Events, Token};
use crate::virtio::Slot;
use crate::virtio::chain::Access;
use crate::virtio::driver::{Driver, Line, all, memory};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use virtio_bindings::virtio_net as net;

nix::ioctl_write_ptr_bad!(tun_set_iff, libc::TUNSETIFF, libc::ifreq);
nix::ioctl_write_ptr_bad!(tun_set_vnet_hdr_sz, libc::TUNSETVNETHDRSZ, libc::c_int);

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Where packets of the guest's go: nobody has that address.
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 2];

fn config() -> NetConfig {
    NetConfig {
        mac: "02:00:00:00:00:01".into(),
        mtu: 1500,
        queue_pairs: 1,
        vhost: false,
    }
}

fn pairs(queue_pairs: u16) -> NetConfig {
    NetConfig {
        queue_pairs,
        ..config()
    }
}

#[allow(unsafe_code)] // TUNSETIFF.
fn tap(name: &str, flags: libc::c_int) -> io::Result<OwnedFd> {
    let mut options = OpenOptions::new();
    let tun = options.read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: all zeroes is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = i16::try_from(flags).unwrap();
    // SAFETY: the request is valid and outlives the call.
    unsafe { tun_set_iff(tun.as_raw_fd(), &raw const request) }?;
    Ok(tun.into())
}

const KIND: libc::c_int = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;

/// Runs `test` in a network namespace of its own.
fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || match unshare(CloneFlags::CLONE_NEWNET) {
        Err(Errno::EPERM) => eprintln!("not tried: no permission to make a network namespace"),
        made => {
            made.unwrap();
            // The kernel's own packets would come between the tests'.
            let switch = "/proc/sys/net/ipv6/conf/default/disable_ipv6";
            let _ = std::fs::write(switch, "1");
            test();
        }
    });
    thread.join().unwrap();
}

fn up(interface: &str) {
    let status = std::process::Command::new("ip")
        .args(["link", "set", interface, "up"])
        .status();
    assert!(status.unwrap().success());
}

/// A guest's driver with one pair of queues.
struct Guest {
    events: Events,
    device: Net,
    receive: Driver,
    transmit: Driver,
    line: Line,
}

impl Guest {
    fn start(mut device: Net, features: impl FnOnce(u64) -> u64) -> Self {
        let events = Events::new().unwrap();
        let memory = memory();
        let [receive, transmit] = [0, 1].map(|n| Driver::new(&memory, n, 256, true));
        let line = Line::new();
        let offered = device.features().unwrap();
        device
            .start(Start {
                features: features(offered),
                queues: vec![Some(receive.ready()), Some(transmit.ready())],
                memory,
                interrupt: line.interrupt(),
                sources: events.sources(Slot::new(0).unwrap()),
            })
            .unwrap();
        Self {
            events,
            device,
            receive,
            transmit,
            line,
        }
    }

    /// Waits for events and serves them, until `done`.
    fn serve_until(&mut self, mut done: impl FnMut(&mut Self) -> bool) -> Vec<Served> {
        let mut served = Vec::new();
        while !done(self) {
            for token in self.events.wait().unwrap() {
                let Token::Device { source, .. } = token else {
                    panic!("{token:?}");
                };
                served.push(self.device.serve(source).unwrap());
            }
        }
        served
    }

    /// What is watched has nothing to tell.
    fn is_quiet(&self) -> bool {
        let (line, mut end) = std::os::unix::net::UnixStream::pair().unwrap();
        io::Write::write_all(&mut end, b"x").unwrap();
        self.events.watch(&line, Token::Control).unwrap();
        self.events.wait().unwrap() == [Token::Control]
    }
}

/// A whole packet: header, addresses, an experimental type, content.
fn packet(to: [u8; 6], length: usize) -> Vec<u8> {
    let mut packet = vec![0; HEADER];
    packet.extend(to);
    packet.extend(MAC);
    packet.extend([0x88, 0xb5]);
    packet.resize(HEADER + length, 7);
    packet
}

/// A socket that sees what the host gets and sends what it is given.
fn host_socket(interface: &str) -> OwnedFd {
    use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
    let index = nix::net::if_::if_nametoindex(interface).unwrap();
    let fd = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::empty(),
        SockProtocol::EthAll,
    )
    .unwrap();
    bind(&fd, index);
    fd
}

#[allow(unsafe_code)] // There is no safe sockaddr_ll to make.
fn bind(fd: &OwnedFd, index: u32) {
    // SAFETY: all zeroes is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).unwrap();
    address.sll_protocol = 0x88b5_u16.to_be();
    address.sll_ifindex = i32::try_from(index).unwrap();
    let length = u32::try_from(size_of_val(&address)).unwrap();
    // SAFETY: the address is valid and of that length.
    let bound = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) };
    Errno::result(bound).unwrap();
}

#[test]
fn packets_go_both_ways_through_a_tap() {
    in_namespace(|| {
        let net = Net::new(&config(), vec![tap("t0", KIND).unwrap()], Vec::new()).unwrap();
        up("t0");
        let host = host_socket("t0");
        let mut guest = Guest::start(net, |offered| offered);

        let sent = packet(OTHER, 60);
        let region = guest.transmit.place(&sent);
        guest.transmit.offer(&all(&[region], Access::Read));
        assert!(guest.transmit.kick());
        guest.serve_until(|guest| !guest.transmit.used().is_empty());
        let mut frame = [0; 100];
        let length = nix::unistd::read(&host, &mut frame).unwrap();
        assert_eq!(frame[..length], sent[HEADER..]);

        // Nothing to receive into, then something.
        nix::unistd::write(&host, &packet(MAC, 99)[HEADER..]).unwrap();
        let region = guest.receive.reserve(70_000);
        guest.device.serve(2).unwrap();
        assert!(guest.is_quiet());
        guest.receive.offer(&all(&[region], Access::Write));
        assert!(guest.receive.kick());
        guest.serve_until(|guest| guest.receive.used_index() > 0);
        assert_eq!(guest.receive.used(), [(0, 12 + 99)]);
        assert_eq!(guest.line.count(), 2);
        let mut expected = packet(MAC, 99);
        expected[10] = 1;
        assert_eq!(guest.receive.read((region.0, 111)), expected);
    });
}

#[test]
fn nobody_is_woken_for_packets_that_the_guest_has_no_room_for() {
    in_namespace(|| {
        let net = Net::new(&config(), vec![tap("t0", KIND).unwrap()], Vec::new()).unwrap();
        up("t0");
        let host = host_socket("t0");
        let mut guest = Guest::start(net, |offered| offered);
        for _ in 0..10 {
            nix::unistd::write(&host, &packet(MAC, 60)[HEADER..]).unwrap();
        }
        guest.device.serve(2).unwrap();
        assert!(guest.is_quiet());
    });
}

#[test]
fn a_tap_that_is_gone_takes_the_link_down_once() {
    in_namespace(|| {
        let net = Net::new(&config(), vec![tap("t0", KIND).unwrap()], Vec::new()).unwrap();
        up("t0");
        let mut guest = Guest::start(net, |offered| offered);
        let region = guest.receive.reserve(70_000);
        guest.receive.offer(&all(&[region], Access::Write));
        let status = std::process::Command::new("ip")
            .args(["link", "delete", "t0"])
            .status();
        assert!(status.unwrap().success());
        let served = guest.serve_until(|guest| guest.device.config()[6] == 0);
        assert_eq!(served.last(), Some(&Served::ConfigChanged));
        assert!(guest.is_quiet());
        guest.receive.kick.write(1).unwrap();
        assert_eq!(guest.device.serve(0).unwrap(), Served::Quiet);
    });
}

/// The host's kernel has dropped it. Here, because its header would be longer than
/// all that the guest has room for.
#[test]
fn a_packet_that_cannot_be_read_is_lost_and_no_other() {
    in_namespace(|| {
        let tap = tap("t0", KIND).unwrap();
        let other = tap.try_clone().unwrap();
        let net = Net::new(&config(), vec![tap], Vec::new()).unwrap();
        up("t0");
        let host = host_socket("t0");
        let mut guest = Guest::start(net, |offered| offered);
        let region = guest.receive.reserve(70_000);
        guest.receive.offer(&all(&[region], Access::Write));
        set_header_size(&other, 1 << 20);
        for _ in 0..3 {
            nix::unistd::write(&host, &packet(MAC, 60)[HEADER..]).unwrap();
            assert_eq!(guest.device.serve(2).unwrap(), Served::Quiet);
        }
        assert!(guest.is_quiet());
        assert_eq!(guest.receive.used(), []);
        set_header_size(&other, 12);
        nix::unistd::write(&host, &packet(MAC, 99)[HEADER..]).unwrap();
        guest.serve_until(|guest| guest.receive.used_index() > 0);
        assert_eq!(guest.receive.used(), [(0, 12 + 99)]);
        assert_eq!(guest.device.config()[6], 1, "the link is down");
    });
}

#[allow(unsafe_code)] // TUNSETVNETHDRSZ.
fn set_header_size(tap: &OwnedFd, size: libc::c_int) {
    // SAFETY: the size outlives the call, and the descriptor is a tap's.
    unsafe { tun_set_vnet_hdr_sz(tap.as_raw_fd(), &raw const size) }.unwrap();
}

#[test]
fn a_reset_in_the_middle_leaves_the_old_queues_alone() {
    in_namespace(|| {
        let net = Net::new(&config(), vec![tap("t0", KIND).unwrap()], Vec::new()).unwrap();
        up("t0");
        let host = host_socket("t0");
        let mut guest = Guest::start(net, |offered| offered);
        for _ in 0..2 {
            let region = guest.receive.reserve(70_000);
            guest.receive.offer(&all(&[region], Access::Write));
        }
        // Buffers are taken, and then the driver resets.
        guest.device.serve(0).unwrap();
        guest.device.stop().unwrap();
        nix::unistd::write(&host, &packet(MAC, 60)[HEADER..]).unwrap();
        assert!(guest.is_quiet());
        assert_eq!(guest.device.serve(2).unwrap(), Served::Quiet);
        assert_eq!(guest.receive.used_index(), 0);

        let mut again = Guest::start(guest.device, |offered| offered);
        let region = again.receive.reserve(70_000);
        again.receive.offer(&all(&[region], Access::Write));
        again.serve_until(|guest| guest.receive.used_index() > 0);
        assert_eq!(again.receive.used(), [(0, 72)]);
    });
}

#[test]
fn a_driver_that_breaks_its_queue_has_to_reset() {
    in_namespace(|| {
        let net = Net::new(&config(), vec![tap("t0", KIND).unwrap()], Vec::new()).unwrap();
        let mut guest = Guest::start(net, |offered| offered);
        guest.transmit.set_available(257);
        guest.transmit.kick.write(1).unwrap();
        assert_eq!(guest.device.serve(1).unwrap(), Served::NeedsReset);
        assert!(guest.is_quiet());
        guest.device.stop().unwrap();
    });
}

#[test]
fn several_pairs_are_used_as_the_driver_wants() {
    in_namespace(|| {
        let kind = KIND | libc::IFF_MULTI_QUEUE;
        let taps = (0..3).map(|_| tap("t0", kind).unwrap()).collect();
        let mut net = Net::new(&pairs(3), taps, Vec::new()).unwrap();
        assert_eq!(net.queue_sizes(), [256, 256, 256, 256, 256, 256, 16]);
        assert_eq!(net.config()[8], 3);
        let features = net.features().unwrap();
        assert_ne!(features & 1 << net::VIRTIO_NET_F_MQ, 0);

        let memory = memory();
        let mut control = Driver::new(&memory, 3, 16, true);
        let events = Events::new().unwrap();
        let mut queues: Vec<_> = (0..6).map(|_| None).collect();
        queues.push(Some(control.ready()));
        net.start(Start {
            features,
            queues,
            memory,
            interrupt: Line::new().interrupt(),
            sources: events.sources(Slot::new(0).unwrap()),
        })
        .unwrap();
        let mut command = |bytes: &[u8]| {
            let command = control.place(bytes);
            let answer = control.place(&[0xff]);
            control.offer(&[(command, Access::Read), (answer, Access::Write)]);
            assert_eq!(net.serve(pair::CONTROL).unwrap(), Served::Quiet);
            control.read(answer)[0]
        };
        for pairs in [3, 1, 2, 2] {
            assert_eq!(command(&[4, 0, pairs, 0]), 0, "{pairs} pairs");
        }
        for bad in [
            &[4, 0, 0, 0][..],
            &[4, 0, 4, 0],
            &[4, 0, 1, 1],
            &[4, 1, 1, 0],
            &[0, 0, 1, 0],
            &[4, 0, 1],
            &[4, 0, 1, 0, 0],
            &[4, 0, 1, 0, 0, 9],
        ] {
            assert_eq!(command(bad), 1, "{bad:?}");
        }
    });
}

#[test]
fn a_command_without_room_for_an_answer_goes_back() {
    in_namespace(|| {
        let kind = KIND | libc::IFF_MULTI_QUEUE;
        let taps = (0..2).map(|_| tap("t0", kind).unwrap()).collect();
        let mut net = Net::new(&pairs(2), taps, Vec::new()).unwrap();
        let memory = memory();
        let mut control = Driver::new(&memory, 3, 16, true);
        let events = Events::new().unwrap();
        // Without MQ, commands come behind the first pair.
        net.start(Start {
            features: 1 << net::VIRTIO_NET_F_CTRL_VQ,
            queues: vec![None, None, Some(control.ready()), None, None],
            memory,
            interrupt: Line::new().interrupt(),
            sources: events.sources(Slot::new(0).unwrap()),
        })
        .unwrap();
        let region = control.place(&[4, 0, 1, 0]);
        control.offer(&all(&[region], Access::Read));
        net.serve(pair::CONTROL).unwrap();
        assert_eq!(control.used(), [(0, 0)]);
    });
}

#[test]
fn what_is_no_tap_of_ours_is_refused() {
    let file = std::fs::File::open("/dev/null").unwrap();
    let refused = Net::new(&config(), vec![file.into()], Vec::new());
    assert!(matches!(refused, Err(NetError::Tap(TapError::NotOne(_)))));
    for count in [0, 17] {
        let refused = Net::new(&pairs(count), Vec::new(), Vec::new());
        assert!(matches!(refused, Err(NetError::Pairs { pairs }) if pairs == count));
    }
    in_namespace(|| {
        for flags in [
            libc::IFF_TAP | libc::IFF_NO_PI,
            libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR,
        ] {
            let refused = Net::new(&config(), vec![tap("x0", flags).unwrap()], Vec::new());
            let told = refused.err();
            assert!(
                matches!(told, Some(NetError::Tap(TapError::Flags { .. }))),
                "{told:?}"
            );
        }
    });
}

#[test]
fn each_pair_has_what_was_said_that_it_has() {
    let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let by_kernel = NetConfig {
        vhost: true,
        ..config()
    };
    for (config, taps, vhosts, told) in [
        (
            config(),
            2,
            0,
            "2 descriptors of the tap of a network interface instead of 1",
        ),
        (
            config(),
            1,
            1,
            "1 descriptors of the vhost-net of a network interface instead of 0",
        ),
        (
            by_kernel,
            1,
            0,
            "0 descriptors of the vhost-net of a network interface instead of 1",
        ),
    ] {
        let fds = |count| (0..count).map(|_| null()).collect();
        let refused = Net::new(&config, fds(taps), fds(vhosts)).err().unwrap();
        assert_eq!(refused.to_string(), told);
    }
}

#[test]
fn what_is_no_vhost_net_is_refused() {
    in_namespace(|| {
        let config = NetConfig {
            vhost: true,
            ..config()
        };
        let null = std::fs::File::open("/dev/null").unwrap().into();
        let refused = Net::new(&config, vec![tap("t0", KIND).unwrap()], vec![null]);
        let told = refused.err();
        assert!(
            matches!(told, Some(NetError::Kernel(KernelError::VhostNet(_)))),
            "{told:?}"
        );
    });
}
