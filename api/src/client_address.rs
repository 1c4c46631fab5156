//! The address of the client that a request is counted for.
//!
//! It is the peer's address. Only if the peer is a trusted proxy, the headers `Forwarded` (RFC 7239)
//! and `X-Forwarded-For` are read: from the right, where the proxy has added its part, to the first
//! address that is not a trusted proxy's. A client can write anything further left.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::http::{HeaderMap, HeaderName, header, request::Parts};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The client of a request, in the request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// In the extensions of a request: its client speaks TLS, with this program or with a trusted proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecureTransport;

/// The client that a request is counted for.
pub fn of_request(parts: &Parts) -> IpAddr {
    parts
        .extensions
        .get::<ClientAddress>()
        .map_or(Ipv4Addr::UNSPECIFIED.into(), |ClientAddress(client)| {
            *client
        })
}

/// Networks of reverse proxies, whose word on the client's address counts.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    #[must_use]
    pub fn new(networks: &[IpNet]) -> Self {
        Self(networks.to_vec())
    }

    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        contains(&self.0, address)
    }

    /// The client of a request that came from this peer.
    ///
    /// The peer itself if the headers name no client, cannot be read, or name different clients: a
    /// proxy that writes one of the two headers may pass on the other as the client sent it.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> ClientAddress {
        if !self.contains(peer) {
            return ClientAddress(peer);
        }
        let forwarded = self.farthest(headers, &header::FORWARDED, |line| {
            rfc7239::parse(line)
                .map(|node| node.ok()?.forwarded_for?.ip().copied())
                .collect()
        });
        let x_forwarded_for = self.farthest(headers, &X_FORWARDED_FOR, |line| {
            line.split(',').map(node).collect()
        });
        ClientAddress(match (forwarded, x_forwarded_for) {
            (Named::By(one), Named::By(other)) if one == other => one,
            (Named::By(client), Named::Absent) | (Named::Absent, Named::By(client)) => client,
            _ => peer,
        })
    }

    /// Whether a trusted proxy says that its client speaks TLS. The right-most element counts, which
    /// the nearest proxy has added.
    pub(crate) fn says_secure(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        if !self.contains(peer) {
            return false;
        }
        fn last<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
            let line = headers.get_all(name).iter().next_back()?;
            line.to_str().ok()?.rsplit(',').next().map(str::trim)
        }
        let forwarded = last(headers, &header::FORWARDED).and_then(|element| {
            let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
            let (_, protocol) = pairs.find(|(key, _)| key.trim().eq_ignore_ascii_case("proto"))?;
            Some(protocol.trim().trim_matches('"'))
        });
        let protocol = forwarded.or_else(|| last(headers, &X_FORWARDED_PROTO));
        protocol.is_some_and(|protocol| protocol.eq_ignore_ascii_case("https"))
    }

    /// The client that one header names: the right-most address outside of the trusted networks, or
    /// the left-most one if all are inside.
    fn farthest(
        &self,
        headers: &HeaderMap,
        name: &HeaderName,
        read: impl Fn(&str) -> Vec<Option<IpAddr>>,
    ) -> Named {
        let mut farthest = Named::Absent;
        let lines: Vec<_> = headers.get_all(name).iter().collect();
        for line in lines.into_iter().rev() {
            let Ok(line) = line.to_str() else {
                return Named::Unreadable;
            };
            for address in read(line).into_iter().rev() {
                let Some(address) = address.map(|address| address.to_canonical()) else {
                    return Named::Unreadable;
                };
                farthest = Named::By(address);
                if !self.contains(address) {
                    return farthest;
                }
            }
        }
        farthest
    }
}

/// What a header says about the client.
enum Named {
    Absent,
    Unreadable,
    By(IpAddr),
}

/// An element of `X-Forwarded-For`: an address, which some proxies write with a port.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    let with_port = || text.parse::<SocketAddr>().map(|address| address.ip());
    bare.parse().or_else(|_| with_port()).ok()
}

/// Whether one of the networks contains an address.
pub(crate) fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    /// What a request of this peer, with these headers, is counted for.
    fn client(peer: &str, headers: &[(&str, &str)]) -> String {
        let trusted = ["192.0.2.0/24", "2001:db8:1::/48"].map(|text| text.parse().unwrap());
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        let ClientAddress(client) =
            TrustedProxies::new(&trusted).client(peer.parse().unwrap(), &map);
        client.to_string()
    }

    #[test]
    fn only_a_trusted_proxy_says_that_its_client_speaks_tls() {
        let trusted = TrustedProxies::new(&["192.0.2.0/24".parse().unwrap()]);
        for (peer, name, value, is_secure) in [
            ("192.0.2.1", "x-forwarded-proto", "https", true),
            ("192.0.2.1", "x-forwarded-proto", "https, http", false),
            ("192.0.2.1", "x-forwarded-proto", "http,HTTPS", true),
            (
                "192.0.2.1",
                "forwarded",
                "for=192.0.2.9;Proto=\"https\"",
                true,
            ),
            ("192.0.2.1", "forwarded", "proto=https, proto=http", false),
            ("192.0.2.1", "forwarded", "for=192.0.2.9", false),
            ("198.51.100.1", "x-forwarded-proto", "https", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_str(value).unwrap());
            let says = trusted.says_secure(peer.parse().unwrap(), &headers);
            assert_eq!(says, is_secure, "{peer} {name}: {value}");
        }
    }

    #[test]
    fn a_client_is_believed_nothing_about_its_address() {
        for header in ["Forwarded", "X-Forwarded-For"] {
            let value = ["for=203.0.113.9", "203.0.113.9"][usize::from(header.starts_with('X'))];
            assert_eq!(client("198.51.100.1", &[(header, value)]), "198.51.100.1");
            assert_eq!(client("192.0.2.1", &[(header, value)]), "203.0.113.9");
        }
    }

    #[test]
    fn the_right_most_address_that_is_no_proxy_is_the_client() {
        for (written, expected) in [
            ("203.0.113.9", "203.0.113.9"),
            ("10.0.0.1, 203.0.113.9", "203.0.113.9"),
            ("10.0.0.1, 203.0.113.9, 192.0.2.7", "203.0.113.9"),
            ("nonsense, 203.0.113.9,192.0.2.7", "203.0.113.9"),
            ("203.0.113.9:4711", "203.0.113.9"),
            ("2001:db8::9", "2001:db8::9"),
            ("[2001:db8::9]", "2001:db8::9"),
            ("[2001:db8::9]:4711", "2001:db8::9"),
            ("::ffff:203.0.113.9, 2001:db8:1::7", "203.0.113.9"),
            ("192.0.2.8, 192.0.2.7", "192.0.2.8"),
        ] {
            let found = client("192.0.2.1", &[("X-Forwarded-For", written)]);
            assert_eq!(found, expected, "{written}");
        }
        for (written, expected) in [
            ("for=203.0.113.9", "203.0.113.9"),
            ("For=\"203.0.113.9:4711\";proto=https", "203.0.113.9"),
            ("by=192.0.2.1;for=\"[2001:db8::9]:4711\"", "2001:db8::9"),
            (
                "for=10.0.0.1, for=203.0.113.9, for=192.0.2.7",
                "203.0.113.9",
            ),
            ("for=\"evil, for=203.0.113.9", "203.0.113.9"),
        ] {
            let found = client("192.0.2.1", &[("Forwarded", written)]);
            assert_eq!(found, expected, "{written}");
        }
        let two_lines = [
            ("X-Forwarded-For", "10.0.0.1"),
            ("X-Forwarded-For", "203.0.113.9"),
        ];
        assert_eq!(client("192.0.2.1", &two_lines), "203.0.113.9");
    }

    #[test]
    fn without_a_readable_address_the_proxy_is_counted() {
        for headers in [
            &[][..],
            &[("X-Forwarded-For", "")],
            &[("X-Forwarded-For", "nonsense")],
            &[("X-Forwarded-For", "203.0.113.9, unknown, 192.0.2.7")],
            &[("X-Forwarded-For", "203.0.113.9,")],
            &[("X-Forwarded-For", "203.0.113.999")],
            &[("Forwarded", "for=unknown")],
            &[("Forwarded", "for=_hidden")],
            &[("Forwarded", "proto=https")],
            &[("Forwarded", "203.0.113.9")],
            &[("Forwarded", "for=203.0.113.9;proto")],
        ] {
            assert_eq!(client("192.0.2.1", headers), "192.0.2.1", "{headers:?}");
        }
    }

    #[test]
    fn a_header_that_the_proxy_only_passed_on_names_no_client() {
        let spoofed = [
            ("Forwarded", "for=10.0.0.1"),
            ("X-Forwarded-For", "203.0.113.9"),
        ];
        assert_eq!(client("192.0.2.1", &spoofed), "192.0.2.1");
        let agreed = [
            ("Forwarded", "for=203.0.113.9"),
            ("X-Forwarded-For", "203.0.113.9"),
        ];
        assert_eq!(client("192.0.2.1", &agreed), "203.0.113.9");
    }
}
