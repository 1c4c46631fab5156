//! Datagrams in batches: `recvmmsg`, `sendmmsg`, and the address that a datagram was sent to. Knows
//! nothing of DNS.
//!
//! This is the only unsafe code of the tree, and it is four system calls. Addresses and control
//! messages are read and written as plain octets, so that nothing here depends on what the kernel
//! wrote being well-formed.
//!
//! ```text
//! receive: kernel -> slot.packet, slot.peer, control     (one system call for up to a batch)
//! answer:  slot.packet -> slot.reply
//! send:    slot.reply, slot.peer, slot.local -> kernel    (one system call for all replies)
//! ```
//!
//! # Why the unsafe blocks are sound
//!
//! Each of them is one call into the kernel with pointers that were made, in the same function,
//! from references that live until the call has returned:
//! - every pointer is to memory that a slot or a vector of this batch owns, and every length is
//!   that memory's own;
//! - `receive` borrows the batch exclusively, so nobody else reads what the kernel writes; what it
//!   wrote is octets, for which any value is valid, and the lengths that it reports are cut to the
//!   buffers before they are used;
//! - `send` only has the kernel read;
//! - the kernel keeps none of the pointers after the call;
//! - descriptors are borrowed from the socket that is passed in, so they are open.

#![allow(unsafe_code)]

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket},
    os::fd::AsRawFd,
};

/// The largest datagram that is taken, in octets. A query with every option known fits several
/// times; a longer one is cut and so unreadable.
const PACKET_OCTETS: usize = 4_096;
/// `sockaddr_in6`, the larger of the two kinds of address, in octets.
const ADDRESS_OCTETS: usize = 28;
/// Room for the control message that is asked for: `in6_pktinfo` (20) and its header (16), aligned.
const CONTROL_OCTETS: usize = 40;
/// The header of a control message: its length as a word, its level and its type (`struct
/// cmsghdr`).
const CONTROL_HEADER_OCTETS: usize = size_of::<libc::cmsghdr>();
/// With fewer headers than this a batch gains nothing.
const BATCH_MIN: usize = 8;

/// A socket address as the kernel has it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct RawAddress {
    octets: [u8; ADDRESS_OCTETS],
    length: u32,
}

impl RawAddress {
    const NONE: Self = Self {
        octets: [0; ADDRESS_OCTETS],
        length: 0,
    };

    fn new(address: SocketAddr) -> Self {
        let mut raw = Self::NONE;
        raw.octets[2..4].copy_from_slice(&address.port().to_be_bytes());
        let family = match address {
            SocketAddr::V4(v4) => {
                raw.octets[4..8].copy_from_slice(&v4.ip().octets());
                raw.length = 16;
                libc::AF_INET
            }
            SocketAddr::V6(v6) => {
                raw.octets[4..8].copy_from_slice(&v6.flowinfo().to_ne_bytes());
                raw.octets[8..24].copy_from_slice(&v6.ip().octets());
                raw.octets[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                raw.length = 28;
                libc::AF_INET6
            }
        };
        raw.octets[..2].copy_from_slice(
            &u16::try_from(family)
                .expect("families are small")
                .to_ne_bytes(),
        );
        raw
    }

    fn read(&self) -> SocketAddr {
        let octets = &self.octets;
        let port = u16::from_be_bytes([octets[2], octets[3]]);
        if i32::from(u16::from_ne_bytes([octets[0], octets[1]])) == libc::AF_INET6 {
            let ip = Ipv6Addr::from(array::<16>(&octets[8..24]));
            let flow = u32::from_ne_bytes(array(&octets[4..8]));
            let scope = u32::from_ne_bytes(array(&octets[24..28]));
            return SocketAddrV6::new(ip, port, flow, scope).into();
        }
        (Ipv4Addr::from(array::<4>(&octets[4..8])), port).into()
    }
}

fn array<const N: usize>(octets: &[u8]) -> [u8; N] {
    octets.try_into().expect("the caller cut it to this length")
}

/// Control messages of one datagram; aligned as the kernel wants them.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_OCTETS]);

/// Where a reply goes, and from which of our addresses where the socket has several.
#[derive(Clone, Copy)]
pub struct Path {
    peer: RawAddress,
    local: Option<IpAddr>,
    /// The interface, for link-local addresses only: other replies go where the routes say.
    interface: u32,
}

impl Path {
    /// A path to `peer`; from `local` where it is given, else from the address that the system
    /// picks.
    #[must_use]
    pub fn new(peer: SocketAddr, local: Option<IpAddr>) -> Self {
        Self {
            peer: RawAddress::new(peer),
            local,
            interface: 0,
        }
    }

    /// The other end.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer.read()
    }

    /// Our end, where the socket is asked to tell it.
    #[must_use]
    pub fn local(&self) -> Option<IpAddr> {
        self.local
    }

    /// Writes the control message that makes the reply leave from `local`; returns its octets.
    fn write_control(&self, control: &mut Control) -> usize {
        let mut data = [0; 20];
        let (level, kind, data) = match self.local {
            None => return 0,
            // struct in_pktinfo: interface, the address to send from, an address that is not read.
            Some(IpAddr::V4(v4)) => {
                data[4..8].copy_from_slice(&v4.octets());
                (libc::IPPROTO_IP, libc::IP_PKTINFO, &data[..12])
            }
            // struct in6_pktinfo: address, interface.
            Some(IpAddr::V6(v6)) => {
                data[..16].copy_from_slice(&v6.octets());
                data[16..].copy_from_slice(&self.interface.to_ne_bytes());
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &data[..])
            }
        };
        let length = CONTROL_HEADER_OCTETS + data.len();
        let word = size_of::<usize>();
        control.0[..word].copy_from_slice(&length.to_ne_bytes());
        control.0[word..word + 4].copy_from_slice(&level.to_ne_bytes());
        control.0[word + 4..word + 8].copy_from_slice(&kind.to_ne_bytes());
        control.0[CONTROL_HEADER_OCTETS..length].copy_from_slice(data);
        aligned(length)
    }
}

/// Rounds up to where the next control message begins (`CMSG_ALIGN`).
const fn aligned(length: usize) -> usize {
    length.next_multiple_of(size_of::<usize>())
}

/// One datagram that came in, and the reply to it.
pub struct Slot {
    packet: Box<[u8; PACKET_OCTETS]>,
    packet_octets: usize,
    path: Path,
    /// What is to be sent; nothing is sent while it is empty.
    pub reply: Vec<u8>,
}

impl Slot {
    /// The datagram, cut to the largest that is taken.
    #[must_use]
    pub fn packet(&self) -> &[u8] {
        &self.packet[..self.packet_octets]
    }

    /// Where it came from, and so where a reply goes.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sends the reply elsewhere: for a client, whose first word is a reply to nothing.
    pub fn set_path(&mut self, path: Path) {
        self.path = path;
    }

    /// The datagram, its path, and the reply to write.
    #[must_use]
    pub fn parts(&mut self) -> (&[u8], &Path, &mut Vec<u8>) {
        (
            &self.packet[..self.packet_octets],
            &self.path,
            &mut self.reply,
        )
    }
}

/// What became of a batch of replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// Handed to the kernel.
    pub sent: usize,
    /// Not wanted by it: no room, or no way to the peer.
    pub refused: usize,
}

/// Slots for datagrams that come and go together. Made by the thread that uses it.
pub struct Batch {
    slots: Box<[Slot]>,
    controls: Box<[Control]>,
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    /// How many slots the last call asked for: few when few came, so that a quiet line does not pay
    /// for a busy one.
    asked: usize,
}

impl Batch {
    /// A batch of up to `size` datagrams, at least one.
    #[must_use]
    pub fn new(size: usize) -> Self {
        let size = size.max(1);
        let slot = || Slot {
            packet: Box::new([0; PACKET_OCTETS]),
            packet_octets: 0,
            path: Path {
                peer: RawAddress::NONE,
                local: None,
                interface: 0,
            },
            reply: Vec::with_capacity(PACKET_OCTETS),
        };
        Self {
            slots: (0..size).map(|_| slot()).collect(),
            controls: vec![Control([0; CONTROL_OCTETS]); size].into(),
            vectors: Vec::with_capacity(size),
            headers: Vec::with_capacity(size),
            asked: size.min(BATCH_MIN),
        }
    }

    /// The slots: the first ones hold what the last [`Self::receive`] took.
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The slots, to write replies into.
    #[must_use]
    pub fn slots_mut(&mut self) -> &mut [Slot] {
        &mut self.slots
    }

    /// Takes datagrams that are there, up to the batch, and empties as many replies. With `waits`,
    /// waits for the first.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::WouldBlock`] where nothing is there and nobody waits.
    pub fn receive(&mut self, socket: &UdpSocket, waits: bool) -> io::Result<usize> {
        let asked = self.asked;
        self.vectors.clear();
        self.headers.clear();
        for slot in &mut self.slots[..asked] {
            self.vectors.push(libc::iovec {
                iov_base: slot.packet.as_mut_ptr().cast(),
                iov_len: PACKET_OCTETS,
            });
        }
        for ((slot, control), vector) in self
            .slots
            .iter_mut()
            .zip(&mut self.controls)
            .zip(&mut self.vectors)
        {
            // All lengths are set anew for each call: the kernel writes its own into them.
            self.headers.push(libc::mmsghdr {
                msg_hdr: libc::msghdr {
                    msg_name: slot.path.peer.octets.as_mut_ptr().cast(),
                    msg_namelen: ADDRESS_OCTETS as u32,
                    msg_iov: vector,
                    msg_iovlen: 1,
                    msg_control: control.0.as_mut_ptr().cast(),
                    msg_controllen: CONTROL_OCTETS,
                    msg_flags: 0,
                },
                msg_len: 0,
            });
        }
        let flags = if waits {
            libc::MSG_WAITFORONE
        } else {
            libc::MSG_DONTWAIT
        };
        let count = self.headers.len() as libc::c_uint;
        // SAFETY: `headers` has `count` elements, each with pointers to live memory of its own and
        // that memory's lengths; no timeout is given. See the head of this file.
        let taken = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                count,
                flags,
                std::ptr::null_mut(),
            )
        };
        let taken = usize::try_from(taken)
            .map_err(|_| io::Error::last_os_error())?
            .min(asked);
        for ((slot, header), control) in self
            .slots
            .iter_mut()
            .zip(&self.headers)
            .zip(&self.controls)
            .take(taken)
        {
            slot.packet_octets = (header.msg_len as usize).min(PACKET_OCTETS);
            slot.path.peer.length = header.msg_hdr.msg_namelen.min(ADDRESS_OCTETS as u32);
            slot.path.local = None;
            slot.reply.clear();
            let told = header.msg_hdr.msg_controllen.min(CONTROL_OCTETS);
            if told > 0 {
                read_controls(&control.0[..told], &mut slot.path);
            }
        }
        self.asked = if taken == asked {
            (2 * asked).min(self.slots.len())
        } else {
            (2 * taken).max(BATCH_MIN).min(self.slots.len())
        };
        Ok(taken)
    }

    /// Sends the replies of the first `count` slots that have one. Never waits: a reply that the
    /// kernel has no room for is lost, as UDP may, and the one after a reply that it refuses is
    /// sent all the same.
    pub fn send(&mut self, socket: &UdpSocket, count: usize) -> Sent {
        self.vectors.clear();
        self.headers.clear();
        let with_reply = || {
            self.slots[..count]
                .iter()
                .filter(|slot| !slot.reply.is_empty())
        };
        for slot in with_reply() {
            self.vectors.push(vector(&slot.reply));
        }
        for ((slot, control), vector) in with_reply().zip(&mut self.controls).zip(&mut self.vectors)
        {
            self.headers.push(header(&slot.path, control, vector));
        }
        send_all(socket, &mut self.headers)
    }
}

/// Sends one reply, outside of a batch.
pub fn send(socket: &UdpSocket, path: &Path, reply: &[u8]) -> Sent {
    let mut control = Control([0; CONTROL_OCTETS]);
    let mut vector = vector(reply);
    send_all(socket, &mut [header(path, &mut control, &mut vector)])
}

/// What the kernel only reads has a mutable pointer in its interface.
fn vector(reply: &[u8]) -> libc::iovec {
    libc::iovec {
        iov_base: reply.as_ptr().cast_mut().cast(),
        iov_len: reply.len(),
    }
}

fn header(path: &Path, control: &mut Control, vector: &mut libc::iovec) -> libc::mmsghdr {
    let controls = path.write_control(control);
    libc::mmsghdr {
        msg_hdr: libc::msghdr {
            msg_name: path.peer.octets.as_ptr().cast_mut().cast(),
            msg_namelen: path.peer.length,
            msg_iov: vector,
            msg_iovlen: 1,
            msg_control: if controls == 0 {
                std::ptr::null_mut()
            } else {
                control.0.as_mut_ptr().cast()
            },
            msg_controllen: controls,
            msg_flags: 0,
        },
        msg_len: 0,
    }
}

/// The headers' pointers are to what the caller of this function's callers borrows until it
/// returns.
fn send_all(socket: &UdpSocket, headers: &mut [libc::mmsghdr]) -> Sent {
    let mut outcome = Sent::default();
    let mut done = 0;
    while done < headers.len() {
        let rest = &mut headers[done..];
        let count = rest.len() as libc::c_uint;
        // SAFETY: `rest` has `count` elements, each with pointers to live memory that the kernel
        // only reads. See the head of this file.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                rest.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT,
            )
        };
        match usize::try_from(sent) {
            Ok(sent) => {
                outcome.sent += sent;
                // The kernel reports at least one or an error; a zero would have us ask for ever.
                done += sent.max(1);
            }
            Err(_) => match io::Error::last_os_error().kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock => {
                    outcome.refused += headers.len() - done;
                    return outcome;
                }
                // The first of the rest cannot be sent; the others may.
                _ => {
                    outcome.refused += 1;
                    done += 1;
                }
            },
        }
    }
    outcome
}

/// Reads what the kernel told beside a datagram: the address it was sent to.
fn read_controls(mut controls: &[u8], path: &mut Path) {
    let word = size_of::<usize>();
    while let Some(header) = controls.get(..CONTROL_HEADER_OCTETS) {
        let length = usize::from_ne_bytes(array(&header[..word]));
        let level = i32::from_ne_bytes(array(&header[word..word + 4]));
        let kind = i32::from_ne_bytes(array(&header[word + 4..word + 8]));
        let Some(data) = controls.get(CONTROL_HEADER_OCTETS..length) else {
            return;
        };
        match (level, kind, data.len()) {
            // struct in_pktinfo: interface, our address to answer from, the address in the
            // datagram's header.
            (libc::IPPROTO_IP, libc::IP_PKTINFO, 12..) => {
                path.local = Some(Ipv4Addr::from(array::<4>(&data[4..8])).into());
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, 20..) => {
                let local = Ipv6Addr::from(array::<16>(&data[..16]));
                path.interface = if local.is_unicast_link_local() {
                    u32::from_ne_bytes(array(&data[16..20]))
                } else {
                    0
                };
                path.local = Some(local.into());
            }
            _ => {}
        }
        controls = controls.get(aligned(length)..).unwrap_or_default();
    }
}

/// Sets what the standard library and socket2 cannot: replies leave unfragmented, and for a
/// wildcard address each datagram tells where it was sent to.
///
/// # Errors
/// The system's.
pub fn prepare(socket: &UdpSocket, address: SocketAddr) -> io::Result<()> {
    let is_wildcard = address.ip().is_unspecified();
    match address {
        SocketAddr::V4(_) => {
            // "Don't fragment" on every reply, and no belief in "too big" messages, which anybody
            // can forge: our replies fit every path (RFC 9715 section 3.1). It also spares the
            // kernel a fragment's identification for each.
            set(
                socket,
                libc::IPPROTO_IP,
                libc::IP_MTU_DISCOVER,
                libc::IP_PMTUDISC_PROBE,
            )?;
            if is_wildcard {
                set(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
            }
        }
        SocketAddr::V6(_) => {
            set(
                socket,
                libc::IPPROTO_IPV6,
                libc::IPV6_MTU_DISCOVER,
                libc::IPV6_PMTUDISC_PROBE,
            )?;
            if is_wildcard {
                set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
            }
        }
    }
    Ok(())
}

/// How many datagrams found the socket full since it was made. The kernel would also tell it with
/// each datagram (`SO_RXQ_OVFL`), but at a price for every one: asking now and then tells the same
/// counter.
///
/// # Errors
/// The system's.
pub fn overflows(socket: &UdpSocket) -> io::Result<u32> {
    /// The place of the drop counter, `SK_MEMINFO_DROPS`, and the number of places, from
    /// `linux/sock_diag.h`.
    const DROPS: usize = 8;
    const PLACES: usize = 9;
    let mut places = [0_u32; PLACES];
    let mut length = size_of_val(&places) as libc::socklen_t;
    let level = libc::SOL_SOCKET;
    let option = libc::SO_MEMINFO;
    // SAFETY: the pointers are to `places` and `length`, which live until the call has returned;
    // `length` is the former's own and so bounds what the kernel writes, which is numbers.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            option,
            places.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if done == 0 {
        Ok(places[DROPS])
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Asks for a receive buffer above the system's limit; only a privileged process gets it.
///
/// # Errors
/// The system's, also for want of privilege.
pub fn force_receive_buffer(socket: &UdpSocket, octets: usize) -> io::Result<()> {
    set(
        socket,
        libc::SOL_SOCKET,
        libc::SO_RCVBUFFORCE,
        i32::try_from(octets).map_err(io::Error::other)?,
    )
}

fn set(socket: &UdpSocket, level: i32, option: i32, value: i32) -> io::Result<()> {
    let length = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the pointer is to `value`, which lives until the call has returned, and the length is
    // its own.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            length,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(address: &str) -> UdpSocket {
        let socket = UdpSocket::bind(address).unwrap();
        prepare(&socket, socket.local_addr().unwrap()).unwrap();
        socket
    }

    #[test]
    fn addresses_survive_the_kernels_form() {
        for text in ["192.0.2.7:53", "[2001:db8::7]:853", "[fe80::1%3]:53"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(RawAddress::new(address).read(), address);
        }
    }

    #[test]
    fn a_batch_goes_round_in_order_and_each_reply_finds_its_peer() {
        let server = bound("127.0.0.1:0");
        let clients: Vec<UdpSocket> = (0..5).map(|_| bound("127.0.0.1:0")).collect();
        let mut batch = Batch::new(32);
        for round in 0..40_u8 {
            for (number, client) in (0..).zip(&clients) {
                client
                    .send_to(&[round, number], server.local_addr().unwrap())
                    .unwrap();
            }
            let mut taken = 0;
            while taken < clients.len() {
                let count = batch.receive(&server, true).unwrap();
                for slot in &mut batch.slots_mut()[..count] {
                    let (packet, path, reply) = slot.parts();
                    assert!(
                        clients
                            .iter()
                            .any(|client| client.local_addr().unwrap() == path.peer())
                    );
                    assert_eq!(path.local(), None, "a socket of one address need not tell");
                    reply.extend_from_slice(packet);
                    reply.push(b'!');
                }
                assert_eq!(
                    batch.send(&server, count),
                    Sent {
                        sent: count,
                        refused: 0
                    }
                );
                taken += count;
            }
            for (number, client) in (0..).zip(&clients) {
                let mut buffer = [0; 16];
                assert_eq!(client.recv(&mut buffer).unwrap(), 3);
                assert_eq!(buffer[..3], [round, number, b'!']);
            }
        }
    }

    #[test]
    fn a_slot_without_a_reply_sends_nothing() {
        let server = bound("127.0.0.1:0");
        let client = bound("127.0.0.1:0");
        let mut batch = Batch::new(4);
        for octet in 0..3 {
            client
                .send_to(&[octet], server.local_addr().unwrap())
                .unwrap();
        }
        let mut count = 0;
        while count < 3 {
            count += batch.receive(&server, true).unwrap();
        }
        assert_eq!(count, 3);
        batch.slots_mut()[1].reply.push(7);
        assert_eq!(
            batch.send(&server, count),
            Sent {
                sent: 1,
                refused: 0
            }
        );
        assert_eq!(client.recv(&mut [0; 4]).unwrap(), 1);
        assert_eq!(
            batch.receive(&server, false).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        assert!(batch.slots()[1].packet().len() == 1);
    }

    #[test]
    fn a_reply_from_a_wildcard_socket_leaves_from_the_address_that_was_asked() {
        let families = [
            ("0.0.0.0:0", "127.0.77.1", "127.0.77.2:0"),
            ("[::]:0", "::1", "[::1]:0"),
        ];
        for (wildcard, asked, from) in families {
            let server = bound(wildcard);
            let client = bound(from);
            let asked =
                SocketAddr::new(asked.parse().unwrap(), server.local_addr().unwrap().port());
            // A connected socket takes datagrams from that address only.
            client.connect(asked).unwrap();
            client.send(b"?").unwrap();
            let mut batch = Batch::new(8);
            assert_eq!(batch.receive(&server, true).unwrap(), 1);
            let path = *batch.slots()[0].path();
            assert_eq!(
                (path.peer(), path.local()),
                (client.local_addr().unwrap(), Some(asked.ip()))
            );
            batch.slots_mut()[0].reply.extend(b"batch");
            batch.send(&server, 1);
            assert_eq!(
                send(&server, &path, b"alone"),
                Sent {
                    sent: 1,
                    refused: 0
                }
            );
            for expected in [b"batch", b"alone"] {
                let mut buffer = [0; 16];
                assert_eq!(client.recv(&mut buffer).unwrap(), 5);
                assert_eq!(&buffer[..5], expected);
            }
        }
    }

    #[test]
    fn a_client_may_speak_from_any_of_its_addresses() {
        let server = bound("127.0.0.1:0");
        let client = bound("0.0.0.0:0");
        let mut batch = Batch::new(2);
        for (place, address) in ["127.0.77.3", "127.0.77.4"].into_iter().enumerate() {
            let slot = &mut batch.slots_mut()[place];
            slot.set_path(Path::new(
                server.local_addr().unwrap(),
                Some(address.parse().unwrap()),
            ));
            slot.reply.extend(address.as_bytes());
        }
        assert_eq!(batch.send(&client, 2).sent, 2);
        for _ in 0..2 {
            let mut buffer = [0; 16];
            let (octets, peer) = server.recv_from(&mut buffer).unwrap();
            assert_eq!(
                std::str::from_utf8(&buffer[..octets]).unwrap(),
                peer.ip().to_string()
            );
        }
    }

    #[test]
    fn one_reply_that_cannot_be_sent_costs_no_other() {
        let server = bound("127.0.0.1:0");
        let client = bound("127.0.0.1:0");
        let mut batch = Batch::new(3);
        // A v6 peer on a v4 socket is refused.
        let peers = [
            client.local_addr().unwrap(),
            "[2001:db8::1]:53".parse().unwrap(),
            client.local_addr().unwrap(),
        ];
        for (slot, peer) in batch.slots_mut().iter_mut().zip(peers) {
            slot.set_path(Path::new(peer, None));
            slot.reply.push(1);
        }
        assert_eq!(
            batch.send(&server, 3),
            Sent {
                sent: 2,
                refused: 1
            }
        );
    }

    #[test]
    fn what_found_the_socket_full_is_counted() {
        let server = bound("127.0.0.1:0");
        let client = bound("127.0.0.1:0");
        socket2::SockRef::from(&server)
            .set_recv_buffer_size(4_096)
            .unwrap();
        for _ in 0..200 {
            client
                .send_to(&[0; 512], server.local_addr().unwrap())
                .unwrap();
        }
        assert!(
            (100..200).contains(&overflows(&server).unwrap()),
            "{:?}",
            overflows(&server)
        );
    }

    #[test]
    fn controls_that_do_not_add_up_are_left() {
        let mut path = Path::new("192.0.2.1:53".parse().unwrap(), None);
        for length in [0_usize, 1, 15, 16, 20, 41, usize::MAX] {
            let mut octets = [0xff; CONTROL_OCTETS];
            octets[..size_of::<usize>()].copy_from_slice(&length.to_ne_bytes());
            read_controls(&octets, &mut path);
        }
        assert_eq!(path.local(), None);
    }
}
