//! Datagrams in batches: `recvmmsg`, `sendmmsg`, and the local address of each datagram. Knows
//! nothing of DNS.
//!
//! This is the only unsafe code of the workspace: four system calls. Addresses and control messages
//! are read and written as plain octets, so that no code here relies on well-formed kernel data.
//!
//! ```text
//! receive: kernel -> slot.packet, slot.peer, control     (one system call for up to a batch)
//! answer:  slot.packet -> slot.reply
//! send:    slot.reply, slot.peer, slot.local -> kernel    (one system call for all replies)
//! ```
//!
//! # Why the unsafe blocks are sound
//!
//! Each block is one call into the kernel with pointers made, in the same function, from references
//! that live until the call returns:
//! - each pointer is to memory that a slot or a vector of this batch owns, with that memory's
//!   length;
//! - `receive` borrows the batch exclusively, so that no other code reads what the kernel writes;
//!   the kernel writes octets, for which any value is valid, and the lengths that it reports are
//!   bounded by the buffers before they are used;
//! - in `send` the kernel only reads;
//! - the kernel keeps no pointer after the call;
//! - descriptors are borrowed from the socket that the caller passes in, so they are open.

#![allow(unsafe_code)]

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket},
    os::fd::AsRawFd,
};

/// The largest datagram that is received, in octets: several times a query with all known options.
/// A longer one is cut and does not parse.
const PACKET_OCTETS: usize = 4_096;
/// `sockaddr_in6`, the larger of the two kinds of address, in octets.
const ADDRESS_OCTETS: usize = 28;
/// Size of the largest control message: `in6_pktinfo` (20) and its header (16), aligned.
const CONTROL_OCTETS: usize = 40;
/// The header of a control message (`struct cmsghdr`): its length as a word, level and type.
const CONTROL_HEADER_OCTETS: usize = size_of::<libc::cmsghdr>();
/// The smallest batch: fewer headers save no time.
const BATCH_MIN: usize = 8;

/// A socket address in the form of the kernel.
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
    octets.try_into().expect("the caller passes this length")
}

/// Control messages of one datagram, aligned for the kernel.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_OCTETS]);

/// The addresses of a datagram: the peer, and the local address if the socket has several.
#[derive(Clone, Copy)]
pub struct UdpPath {
    peer: RawAddress,
    local: Option<IpAddr>,
    /// The interface, for link-local addresses only. Routes decide for other addresses.
    interface: u32,
}

impl UdpPath {
    /// A path to `peer`, from `local` or, if it is none, from the address that the system selects.
    #[must_use]
    pub fn new(peer: SocketAddr, local: Option<IpAddr>) -> Self {
        Self {
            peer: RawAddress::new(peer),
            local,
            interface: 0,
        }
    }

    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer.read()
    }

    /// The local address; known for sockets on wildcard addresses only.
    #[must_use]
    pub fn local(&self) -> Option<IpAddr> {
        self.local
    }

    /// Writes the control message that sets the source address of the reply; returns its length in
    /// octets.
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

/// Rounds up to the offset of the next control message (`CMSG_ALIGN`).
const fn aligned(length: usize) -> usize {
    length.next_multiple_of(size_of::<usize>())
}

/// One received datagram and its reply.
pub struct DatagramSlot {
    packet: Box<[u8; PACKET_OCTETS]>,
    packet_octets: usize,
    path: UdpPath,
    /// The reply. An empty one is not sent.
    pub reply: Vec<u8>,
}

impl DatagramSlot {
    /// The datagram, cut to the largest size.
    #[must_use]
    pub fn packet(&self) -> &[u8] {
        &self.packet[..self.packet_octets]
    }

    /// The path of the datagram, and of its reply.
    #[must_use]
    pub fn path(&self) -> &UdpPath {
        &self.path
    }

    /// Sets the path of the reply: for a program that sends queries.
    pub fn set_path(&mut self, path: UdpPath) {
        self.path = path;
    }

    /// The datagram, its path and its reply.
    #[must_use]
    pub fn parts(&mut self) -> (&[u8], &UdpPath, &mut Vec<u8>) {
        (
            &self.packet[..self.packet_octets],
            &self.path,
            &mut self.reply,
        )
    }
}

/// The outcome of sending replies, as numbers of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    pub sent: usize,
    /// Refused by the kernel: a full buffer, or no route to the peer.
    pub refused: usize,
}

/// Datagrams that are received and answered together. The thread that uses a batch creates it.
pub struct UdpBatch {
    slots: Box<[DatagramSlot]>,
    controls: Box<[Control]>,
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    /// Slots that the next call offers: about twice as many as the last one filled, so that a quiet
    /// socket does not pay for all slots.
    offered: usize,
}

impl UdpBatch {
    /// A batch of up to `size` datagrams, at least one.
    #[must_use]
    pub fn new(size: usize) -> Self {
        let size = size.max(1);
        let slot = || DatagramSlot {
            packet: Box::new([0; PACKET_OCTETS]),
            packet_octets: 0,
            path: UdpPath {
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
            offered: size.min(BATCH_MIN),
        }
    }

    /// The slots. The first ones hold the datagrams of the last [`Self::receive`].
    #[must_use]
    pub fn slots(&self) -> &[DatagramSlot] {
        &self.slots
    }

    /// The slots, for writing replies.
    #[must_use]
    pub fn slots_mut(&mut self) -> &mut [DatagramSlot] {
        &mut self.slots
    }

    /// Receives the waiting datagrams, up to the size of the batch, and clears as many replies. With
    /// `waits`, waits for the first datagram.
    ///
    /// # Errors
    /// The system call fails; [`io::ErrorKind::WouldBlock`] if no datagram is there and `waits` is
    /// false.
    pub fn receive(&mut self, socket: &UdpSocket, waits: bool) -> io::Result<usize> {
        let offered = self.offered;
        self.vectors.clear();
        self.headers.clear();
        for slot in &mut self.slots[..offered] {
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
            // The kernel overwrites all lengths, so that each call sets them anew.
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
            .min(offered);
        self.read_headers(taken);
        self.offered = if taken == offered {
            (2 * offered).min(self.slots.len())
        } else {
            (2 * taken).max(BATCH_MIN).min(self.slots.len())
        };
        Ok(taken)
    }

    /// Takes lengths and addresses of the first `taken` datagrams from what the kernel wrote.
    #[inline]
    fn read_headers(&mut self, taken: usize) {
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
            let control_octets = header.msg_hdr.msg_controllen.min(CONTROL_OCTETS);
            if control_octets > 0 {
                read_controls(&control.0[..control_octets], &mut slot.path);
            }
        }
    }

    /// Sends the non-empty replies of the first `count` slots. Never waits: a reply that the kernel
    /// refuses is lost, and the ones after it are sent.
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

/// Sends one reply outside of a batch.
pub fn send(socket: &UdpSocket, path: &UdpPath, reply: &[u8]) -> Sent {
    let mut control = Control([0; CONTROL_OCTETS]);
    let mut vector = vector(reply);
    send_all(socket, &mut [header(path, &mut control, &mut vector)])
}

/// The interface has a mutable pointer, although the kernel only reads.
fn vector(reply: &[u8]) -> libc::iovec {
    libc::iovec {
        iov_base: reply.as_ptr().cast_mut().cast(),
        iov_len: reply.len(),
    }
}

fn header(path: &UdpPath, control: &mut Control, vector: &mut libc::iovec) -> libc::mmsghdr {
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

/// The headers point to memory that the callers of this function borrow until it returns.
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
                // The kernel reports at least one or an error; a zero would loop forever.
                done += sent.max(1);
            }
            Err(_) => match io::Error::last_os_error().kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock => {
                    outcome.refused += headers.len() - done;
                    return outcome;
                }
                // The first of the rest cannot be sent. The others may be.
                _ => {
                    outcome.refused += 1;
                    done += 1;
                }
            },
        }
    }
    outcome
}

/// Reads the control messages of a datagram: the local address that it was sent to.
fn read_controls(mut controls: &[u8], path: &mut UdpPath) {
    let word = size_of::<usize>();
    while let Some(header) = controls.get(..CONTROL_HEADER_OCTETS) {
        let length = usize::from_ne_bytes(array(&header[..word]));
        let level = i32::from_ne_bytes(array(&header[word..word + 4]));
        let kind = i32::from_ne_bytes(array(&header[word + 4..word + 8]));
        let Some(data) = controls.get(CONTROL_HEADER_OCTETS..length) else {
            return;
        };
        match (level, kind, data.len()) {
            // struct in_pktinfo: interface, local address to answer from, destination address of the
            // datagram.
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

/// Sets options that the standard library and socket2 lack: replies are never fragmented, and a
/// socket on a wildcard address reports the local address of each datagram.
///
/// # Errors
/// The system refuses an option.
pub fn prepare(socket: &UdpSocket, address: SocketAddr) -> io::Result<()> {
    let is_wildcard = address.ip().is_unspecified();
    match address {
        SocketAddr::V4(_) => {
            // Sets "don't fragment" on each reply and ignores "too big" messages, which can be
            // forged: replies fit every path (RFC 9715 section 3.1). It also saves the kernel the
            // identification of fragments.
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

/// Number of datagrams lost to a full receive buffer since the socket was created. The kernel can
/// also report the counter with each datagram (`SO_RXQ_OVFL`), at a cost for each.
///
/// # Errors
/// The system call fails.
pub fn overflows(socket: &UdpSocket) -> io::Result<u32> {
    /// The index of the drop counter, `SK_MEMINFO_DROPS`, and the number of values, from
    /// `linux/sock_diag.h`.
    const DROPS: usize = 8;
    const VALUES: usize = 9;
    let mut values = [0_u32; VALUES];
    let mut length = size_of_val(&values) as libc::socklen_t;
    let level = libc::SOL_SOCKET;
    let option = libc::SO_MEMINFO;
    // SAFETY: the pointers are to `values` and `length`, which live until the call has returned;
    // `length` is the size of `values` and so bounds what the kernel writes, which is integers.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            option,
            values.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if done == 0 {
        Ok(values[DROPS])
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sets a receive buffer above the system's limit, which needs the privilege CAP_NET_ADMIN.
///
/// # Errors
/// The system call fails, also without the privilege.
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
    // that of `value`.
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
mod tests;
