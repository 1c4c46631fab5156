//! Numbers of the protocol as types: record types, classes, response codes, EDNS option codes and
//! Extended DNS Error codes. All such constants of the data path stand here.
//!
//! A number that is not named here is still a valid value: it came from a packet. `hickory-proto`
//! has enums for some of these; the hot path compares integers and needs no more than that.

use std::fmt;

/// A record type or query type (IANA "Resource Record (RR) TYPEs").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Rtype(u16);

impl Rtype {
    /// Reserved: no record has it (RFC 6895 section 3.1).
    pub const RESERVED: Self = Self(0);
    /// IPv4 address, RFC 1035.
    pub const A: Self = Self(1);
    /// Name server of a zone, RFC 1035.
    pub const NS: Self = Self(2);
    /// Alias, RFC 1035.
    pub const CNAME: Self = Self(5);
    /// Start of a zone of authority, RFC 1035.
    pub const SOA: Self = Self(6);
    /// Name of an address, RFC 1035.
    pub const PTR: Self = Self(12);
    /// Host information, RFC 1035; the answer to ANY, RFC 8482.
    pub const HINFO: Self = Self(13);
    /// Text, RFC 1035.
    pub const TXT: Self = Self(16);
    /// IPv6 address, RFC 3596.
    pub const AAAA: Self = Self(28);
    /// Alias of a whole subtree, RFC 6672.
    pub const DNAME: Self = Self(39);
    /// EDNS pseudo-record, RFC 6891.
    pub const OPT: Self = Self(41);
    /// Delegation signer, RFC 4034.
    pub const DS: Self = Self(43);
    /// Signature of an RRset, RFC 4034.
    pub const RRSIG: Self = Self(46);
    /// Proof that names or types do not exist, RFC 4034.
    pub const NSEC: Self = Self(47);
    /// Key of a zone, RFC 4034.
    pub const DNSKEY: Self = Self(48);
    /// The same with hashed names, RFC 5155.
    pub const NSEC3: Self = Self(50);
    /// Parameters of the hash of NSEC3, RFC 5155.
    pub const NSEC3PARAM: Self = Self(51);
    /// Service binding, RFC 9460.
    pub const SVCB: Self = Self(64);
    /// Service binding for HTTPS, RFC 9460.
    pub const HTTPS: Self = Self(65);
    /// In an NSEC or NSEC3 type bit map: the name does not exist, RFC 9824. No record has it.
    pub const NXNAME: Self = Self(128);
    /// Transaction key, RFC 2930.
    pub const TKEY: Self = Self(249);
    /// Transaction signature, RFC 8945.
    pub const TSIG: Self = Self(250);
    /// Incremental zone transfer, RFC 1995.
    pub const IXFR: Self = Self(251);
    /// Zone transfer, RFC 1035.
    pub const AXFR: Self = Self(252);
    /// Mailbox-related records, RFC 1035.
    pub const MAILB: Self = Self(253);
    /// Mail agent records, RFC 1035.
    pub const MAILA: Self = Self(254);
    /// All types, RFC 8482.
    pub const ANY: Self = Self(255);

    /// The type with this number.
    #[must_use]
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// The number on the wire.
    #[must_use]
    pub const fn to_u16(self) -> u16 {
        self.0
    }

    /// Its two octets on the wire.
    #[must_use]
    pub const fn to_be_bytes(self) -> [u8; 2] {
        self.0.to_be_bytes()
    }

    /// Whether records of this type carry an address of a host, or hints of one: A, AAAA, SVCB and
    /// HTTPS.
    #[must_use]
    pub const fn leads_to_a_host(self) -> bool {
        matches!(self, Self::A | Self::AAAA | Self::SVCB | Self::HTTPS)
    }
}

/// A class (IANA "DNS CLASSes").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Class(u16);

impl Class {
    /// The Internet, RFC 1035.
    pub const IN: Self = Self(1);
    /// Chaos: names of the server itself, RFC 4892.
    pub const CH: Self = Self(3);

    /// The class with this number.
    #[must_use]
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// The number on the wire.
    #[must_use]
    pub const fn to_u16(self) -> u16 {
        self.0
    }

    /// Its two octets on the wire.
    #[must_use]
    pub const fn to_be_bytes(self) -> [u8; 2] {
        self.0.to_be_bytes()
    }
}

/// The DNSSEC bits of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct DnssecBits {
    /// DO, RFC 3225: the response may have signatures and proofs. Sent with EDNS only.
    pub dnssec_ok: bool,
    /// CO, RFC 9824 section 5.1: beside DO, the response may say NXDOMAIN with a compact denial.
    pub compact_ok: bool,
    /// CD, RFC 4035 section 3.2.2: the resolver must not validate for this query.
    pub checking_disabled: bool,
}

/// The code of an EDNS option, RFC 6891 section 6.1.2.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct OptionCode(u16);

impl OptionCode {
    /// DNS cookie, RFC 7873 section 4.
    pub const COOKIE: Self = Self(10);
    /// Extended DNS Error, RFC 8914 section 2.
    pub const EDE: Self = Self(15);
    /// `add-mac` of dnsmasq: the MAC address of the asking device, six octets or text (local use).
    pub const MAC: Self = Self(65_001);

    /// The option with this code.
    #[must_use]
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// The number on the wire.
    #[must_use]
    pub const fn to_u16(self) -> u16 {
        self.0
    }

    /// Its two octets on the wire.
    #[must_use]
    pub const fn to_be_bytes(self) -> [u8; 2] {
        self.0.to_be_bytes()
    }
}

/// The info-code of an Extended DNS Error, RFC 8914 section 4.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct EdeCode(u16);

impl EdeCode {
    /// Whether it says that an answer is bogus, and why.
    #[must_use]
    pub fn is_of_bogus(self) -> bool {
        matches!(self.0, 5..=12 | 25)
    }

    /// Any other error, section 4.1.
    pub const OTHER: Self = Self(0);
    /// No DNSKEY algorithm of the zone is supported, RFC 8914 section 4.2.
    pub const UNSUPPORTED_DNSKEY_ALGORITHM: Self = Self(1);
    /// No DS digest type of the zone is supported, section 4.3.
    pub const UNSUPPORTED_DS_DIGEST_TYPE: Self = Self(2);
    /// The answer is stale, RFC 8914 section 4.4.
    pub const STALE_ANSWER: Self = Self(3);
    /// The answer is another one than the authority's, by policy, section 4.5.
    pub const FORGED_ANSWER: Self = Self(4);
    /// Validation ended without a verdict, section 4.6.
    pub const DNSSEC_INDETERMINATE: Self = Self(5);
    /// The answer is bogus, section 4.7.
    pub const DNSSEC_BOGUS: Self = Self(6);
    /// All signatures have expired, section 4.8.
    pub const SIGNATURE_EXPIRED: Self = Self(7);
    /// No signature is valid yet, section 4.9.
    pub const SIGNATURE_NOT_YET_VALID: Self = Self(8);
    /// No DNSKEY matches a DS or a signature, section 4.10.
    pub const DNSKEY_MISSING: Self = Self(9);
    /// No RRSIG covers the records, section 4.11.
    pub const RRSIGS_MISSING: Self = Self(10);
    /// No DNSKEY has the Zone Key flag, section 4.12.
    pub const NO_ZONE_KEY_BIT_SET: Self = Self(11);
    /// No NSEC or NSEC3 proves the denial, section 4.13.
    pub const NSEC_MISSING: Self = Self(12);
    /// Blocked by the operator's security policy, section 4.16.
    pub const BLOCKED: Self = Self(15);
    /// Blocked by an order from outside, section 4.17.
    pub const CENSORED: Self = Self(16);
    /// Blocked because the client asked for it, section 4.18.
    pub const FILTERED: Self = Self(17);
    /// The client may not ask this server, section 4.19.
    pub const PROHIBITED: Self = Self(18);
    /// The denial is stale, section 4.20.
    pub const STALE_NXDOMAIN: Self = Self(19);
    /// A query without RD to a server that is not authoritative, section 4.21.
    pub const NOT_AUTHORITATIVE: Self = Self(20);
    /// No authority answered, section 4.23.
    pub const NO_REACHABLE_AUTHORITY: Self = Self(22);
    /// A signature expires before it becomes valid (IANA "Extended DNS Error Codes").
    pub const SIGNATURE_EXPIRED_BEFORE_VALID: Self = Self(25);
    /// NSEC3 records have too many iterations, RFC 9276 section 6.
    pub const UNSUPPORTED_NSEC3_ITERATIONS: Self = Self(27);
    /// No query has this type, RFC 9824 section 9.
    pub const INVALID_QUERY_TYPE: Self = Self(30);

    /// A negative trust anchor is at or above the name, RFC 7646 (IANA "Extended DNS Error Codes").
    pub const NEGATIVE_TRUST_ANCHOR: Self = Self(33);

    /// The info-code with this number.
    #[must_use]
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// The number on the wire.
    #[must_use]
    pub const fn to_u16(self) -> u16 {
        self.0
    }

    /// Its two octets on the wire.
    #[must_use]
    pub const fn to_be_bytes(self) -> [u8; 2] {
        self.0.to_be_bytes()
    }
}

macro_rules! numbers {
    ($($name:ident $mnemonic:literal),+) => {$(
        impl From<u16> for $name {
            fn from(number: u16) -> Self {
                Self(number)
            }
        }

        impl From<$name> for u16 {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!($mnemonic, "{}"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }
    )+};
}
numbers!(Rtype "TYPE", Class "CLASS", OptionCode "OPT", EdeCode "EDE");

/// A response code that the data path sends by itself, RFC 6895 section 2.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rcode {
    NoError = 0,
    /// The query cannot be read.
    FormErr = 1,
    /// The query cannot be answered now.
    ServFail = 2,
    /// The name does not exist.
    NxDomain = 3,
    /// The opcode or query type is not implemented.
    NotImp = 4,
    /// The client may not ask this.
    Refused = 5,
    /// An EDNS version above 0, RFC 6891 section 9.
    BadVers = 16,
    /// The query has no valid server cookie, RFC 7873 section 5.2.
    BadCookie = 23,
}

/// How a query arrived and its answer leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A datagram. The client's EDNS payload size bounds the answer, or 512 octets without EDNS.
    Udp,
    /// A stream. The two-octet length field bounds the answer.
    Tcp,
    /// No client: an explanation, judged as over UDP and not bounded by a payload size.
    Internal,
}
