//! The client's address that a load balancer announces at the start of a connection, by a binary
//! PROXY header (version 2).

use std::{io, net::IpAddr};

use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The signature, version, command, family and length.
const FIXED_OCTETS: usize = 16;
/// The longest rest: addresses, and what a load balancer knows of the client's TLS. A Unix address
/// takes 216 octets.
const REST_OCTETS_MAX: usize = 2_048;

/// Reads a PROXY header and nothing behind it. `None`: the connection is the load balancer's own,
/// such as a health check (LOCAL), or its client has no IP address.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let mut header = vec![0; FIXED_OCTETS];
    stream.read_exact(&mut header).await?;
    let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
    if length > REST_OCTETS_MAX || !header.starts_with(b"\r\n\r\n\0\r\nQUIT\n") {
        return Err(io::ErrorKind::InvalidData.into());
    }
    header.resize(FIXED_OCTETS + length, 0);
    stream.read_exact(&mut header[FIXED_OCTETS..]).await?;
    let only_v2 = ParseConfig {
        include_tlvs: false,
        allow_v1: false,
        allow_v2: true,
    };
    let (header, _) = ProxyHeader::parse(&header, only_v2)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    match header.proxied_address() {
        None => Ok(None),
        Some(address) if address.protocol == Protocol::Stream => {
            Ok(Some(address.source.ip().to_canonical()))
        }
        Some(_) => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use proxy_header::ProxiedAddress;

    use super::*;

    fn announcing(source: &str, protocol: Protocol) -> Vec<u8> {
        let source: std::net::SocketAddr = source.parse().unwrap();
        let address = ProxiedAddress {
            protocol,
            source,
            destination: source,
        };
        let mut octets = Vec::new();
        ProxyHeader::with_address(address)
            .encode_v2(&mut octets)
            .unwrap();
        octets
    }

    /// Reads a header, and returns the octets behind it, too.
    async fn reads(octets: &[u8]) -> Option<(Option<String>, Vec<u8>)> {
        let mut stream = octets;
        let client = read(&mut stream).await.ok()?;
        Some((client.map(|client| client.to_string()), stream.to_vec()))
    }

    #[tokio::test]
    async fn the_announced_client_is_read_and_no_octet_behind_it() {
        for (source, client) in [
            ("203.0.113.9:4711", "203.0.113.9"),
            ("[2001:db8::9]:4711", "2001:db8::9"),
            ("[::ffff:203.0.113.9]:4711", "203.0.113.9"),
        ] {
            let octets = [&announcing(source, Protocol::Stream)[..], b"GET /"].concat();
            let read = reads(&octets).await.unwrap();
            assert_eq!(read, (Some(client.to_owned()), b"GET /".to_vec()));
        }
        let mut local = Vec::new();
        ProxyHeader::with_local().encode_v2(&mut local).unwrap();
        assert_eq!(reads(&local).await, Some((None, Vec::new())));
        // LOCAL with addresses: they do not count.
        let mut local = announcing("203.0.113.9:4711", Protocol::Stream);
        local[12] = 0x20;
        assert_eq!(reads(&local).await, Some((None, Vec::new())));
    }

    #[tokio::test]
    async fn no_other_start_of_a_connection_is_a_header() {
        let good = announcing("203.0.113.9:4711", Protocol::Stream);
        for end in 0..good.len() {
            assert_eq!(reads(&good[..end]).await, None, "{end} octets");
        }
        let changed = |place: usize, octet: u8| {
            let mut octets = [&good[..], &[0; 4_096]].concat();
            octets[place] = octet;
            octets
        };
        for octets in [
            b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 80\r\n".to_vec(),
            b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            announcing("203.0.113.9:4711", Protocol::Datagram),
            changed(0, b'\n'),
            changed(12, 0x11),
            changed(12, 0x22),
            changed(13, 0x41),
            // Too short for its addresses, and longer than any.
            changed(15, 11),
            changed(14, 0x0f),
        ] {
            assert_eq!(reads(&octets).await, None, "{octets:?}");
        }
    }
}
