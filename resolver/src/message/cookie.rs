//! DNS cookies of the server (RFC 7873), in the form that all servers of an anycast address share
//! (RFC 9018). A client that returns one receives what is sent to its address.

use std::{hash::Hasher, net::IpAddr};

use siphasher::sip::SipHasher24;

/// A client cookie and the server cookie to it.
pub type FullCookie = [u8; 24];

/// The key of server cookies.
pub type CookieSecret = [u8; 16];

/// The version, RFC 9018 section 4.
const VERSION: u8 = 1;
/// Ages in seconds: of the oldest cookie that is valid, of the oldest that is returned as it is, and
/// of a cookie from a server whose clock is ahead (RFC 9018 section 4.3).
const AGE_MAX_S: u32 = 3_600;
const RENEWED_AFTER_S: u32 = 1_800;
const AHEAD_MAX_S: u32 = 300;

/// The secrets of the server cookies.
pub struct ServerCookies {
    /// The first one makes cookies, each verifies them.
    secrets: Box<[CookieSecret]>,
}

/// The answer to a COOKIE option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CookieAnswer {
    /// Whether the server cookie of the query is valid.
    pub is_valid: bool,
    pub cookie: FullCookie,
}

impl ServerCookies {
    /// Cookies by these secrets, in the order of preference; without one, by a random secret.
    #[must_use]
    pub fn new(secrets: &[CookieSecret]) -> Self {
        let secrets = match secrets {
            [] => [rand::random()].into(),
            secrets => secrets.into(),
        };
        Self { secrets }
    }

    /// Verifies the cookie of a query, and makes the one of its reply. `now_s` is Unix time.
    #[cold]
    #[inline(never)]
    #[must_use]
    pub fn answer(
        &self,
        client: &[u8; 8],
        server: &[u8],
        source: IpAddr,
        now_s: u32,
    ) -> CookieAnswer {
        let age_s = self.age_s(client, server, source, now_s);
        let mut cookie = [0; 24];
        cookie[..8].copy_from_slice(client);
        let server_half = &mut cookie[8..];
        match age_s {
            Some(age_s) if age_s <= i64::from(RENEWED_AFTER_S) => {
                server_half.copy_from_slice(server)
            }
            _ => {
                let [a, b, c, d] = now_s.to_be_bytes();
                let head = [VERSION, 0, 0, 0, a, b, c, d];
                server_half.copy_from_slice(&made(&self.secrets[0], client, head, source));
            }
        }
        CookieAnswer {
            is_valid: age_s.is_some(),
            cookie,
        }
    }

    /// The age of a server cookie in seconds. None if it is not valid.
    fn age_s(&self, client: &[u8; 8], server: &[u8], source: IpAddr, now_s: u32) -> Option<i64> {
        let server: &[u8; 16] = server.try_into().ok()?;
        let head @ [version, _, _, _, a, b, c, d] = *server.first_chunk()?;
        let made_s = u32::from_be_bytes([a, b, c, d]);
        // Serial number arithmetic, RFC 1982.
        let age_s = i64::from(now_s.wrapping_sub(made_s).cast_signed());
        let is_current = (-i64::from(AHEAD_MAX_S)..=i64::from(AGE_MAX_S)).contains(&age_s);
        let is_ours = |secret| made(secret, client, head, source) == *server;
        (version == VERSION && is_current && self.secrets.iter().any(is_ours)).then_some(age_s)
    }
}

/// The server cookie to a client cookie: version, reserved octets and time, then their hash (RFC 9018
/// section 4).
fn made(secret: &CookieSecret, client: &[u8; 8], head: [u8; 8], source: IpAddr) -> [u8; 16] {
    let mut cookie = [0; 16];
    cookie[..8].copy_from_slice(&head);
    let mut hasher = SipHasher24::new_with_key(secret);
    hasher.write(client);
    hasher.write(&head);
    match source {
        IpAddr::V4(v4) => hasher.write(&v4.octets()),
        IpAddr::V6(v6) => hasher.write(&v6.octets()),
    }
    // The hash is written as SipHash defines its octets: the lowest first.
    cookie[8..].copy_from_slice(&hasher.finish().to_le_bytes());
    cookie
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: CookieSecret = 0xe5e9_73e5_a6b2_a43f_48e7_dc84_9e37_bfcf_u128.to_be_bytes();
    const CLIENT: [u8; 8] = 0x2464_c4ab_cf10_c957_u64.to_be_bytes();

    fn source() -> IpAddr {
        [198, 51, 100, 100].into()
    }

    /// RFC 9018 appendix A.
    #[test]
    fn cookies_are_those_of_the_rfc() {
        let cookies = ServerCookies::new(&[SECRET]);
        let learnt = cookies.answer(&CLIENT, &[], source(), 1_559_731_985);
        let server = 0x0100_0000_5cf7_9f11_1f81_30c3_eee2_9480_u128.to_be_bytes();
        assert_eq!((learnt.is_valid, &learnt.cookie[8..]), (false, &server[..]));
        // 40 minutes later it is renewed.
        let renewed = cookies.answer(&CLIENT, &server, source(), 1_559_734_385);
        let expected = 0x0100_0000_5cf7_a871_d4a5_64a1_442a_ca77_u128.to_be_bytes();
        assert_eq!(
            (renewed.is_valid, &renewed.cookie[8..]),
            (true, &expected[..])
        );
        let v6: IpAddr = "2001:db8:220:1:59de:d0f4:8769:82b8".parse().unwrap();
        let secret = 0x4455_36bc_d251_3298_075a_5d37_9663_c962_u128.to_be_bytes();
        let client = 0x2268_1ab9_7d52_c298_u64.to_be_bytes();
        let given = ServerCookies::new(&[secret]).answer(&client, &[], v6, 1_559_741_961);
        let expected = 0x0100_0000_5cf7_c609_a6bb_79d1_6625_507a_u128.to_be_bytes();
        assert_eq!(given.cookie[8..], expected);
        // The reserved octets of another server count as they are.
        let client = 0xfc93_fc62_807d_db86_u64.to_be_bytes();
        let server = 0x01ab_cdef_5cf7_8f71_a314_227b_6679_ebf5_u128.to_be_bytes();
        let source = [203, 0, 113, 203].into();
        assert!(
            cookies
                .answer(&client, &server, source, 1_559_728_000)
                .is_valid
        );
    }

    #[test]
    fn a_cookie_is_valid_for_its_address_and_an_hour() {
        let cookies = ServerCookies::new(&[]);
        let given = cookies.answer(&CLIENT, &[], source(), 10_000).cookie;
        let is_valid = |client: &[u8; 8], source, now_s| {
            cookies.answer(client, &given[8..], source, now_s).is_valid
        };
        assert!(is_valid(&CLIENT, source(), 10_000) && is_valid(&CLIENT, source(), 13_600));
        assert!(!is_valid(&CLIENT, source(), 13_601), "too old");
        assert!(is_valid(&CLIENT, source(), 9_700) && !is_valid(&CLIENT, source(), 9_699));
        assert!(!is_valid(&CLIENT, [198, 51, 100, 101].into(), 10_000));
        assert!(!is_valid(&[0; 8], source(), 10_000));
        let kept = cookies.answer(&CLIENT, &given[8..], source(), 11_800);
        assert_eq!(kept.cookie, given);
        assert_ne!(
            cookies
                .answer(&CLIENT, &given[8..], source(), 11_801)
                .cookie,
            given
        );
    }

    #[test]
    fn a_secret_that_follows_another_leaves_its_cookies_valid() {
        let (old, new) = ([1; 16], [2; 16]);
        let given = ServerCookies::new(&[old]).answer(&CLIENT, &[], source(), 10_000);
        let server = &given.cookie[8..];
        let both = ServerCookies::new(&[new, old]).answer(&CLIENT, server, source(), 10_001);
        assert!(both.is_valid);
        assert!(
            !ServerCookies::new(&[new])
                .answer(&CLIENT, server, source(), 10_001)
                .is_valid
        );
    }
}
