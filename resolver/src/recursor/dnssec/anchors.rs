//! Trust anchors, RFC 4033 section 2: the root's, which the program brings, and those of files.

use std::collections::BTreeMap;

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use policy::name::{Name, NameRef};

use super::{
    algorithm::{DigestType, SignatureAlgorithm},
    context::{ValidationContext, ValidationSettings},
    dnskey::ZoneKey,
    ds::DsData,
    fault::ValidationFault,
    iana_xml::{self, XmlProblem},
};

/// KSK-2017 and KSK-2024 as IANA publishes them in root-anchors.xml (RFC 9718).
const OF_ROOT: &str = "\
    . DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D
    . DS 38696 8 2 683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16";

/// A key that is trusted without a chain, or its digest.
#[derive(Debug, Clone)]
pub enum TrustAnchor {
    Ds(DsData),
    Key(ZoneKey),
}

/// Trust anchors by the zones they are for.
#[derive(Debug, Clone, Default)]
pub struct TrustAnchors(BTreeMap<Name, Vec<TrustAnchor>>);

/// Why a text holds no trust anchors.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnchorError {
    #[error("line {line}: {problem}")]
    Line { line: usize, problem: LineProblem },
    #[error("the XML document is no list of trust anchors")]
    Xml(#[from] XmlProblem),
    #[error("the text has no DS or DNSKEY record that is valid now")]
    Empty,
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineProblem {
    #[error("the owner is not a domain name")]
    Owner,
    #[error("the record is neither DS nor DNSKEY of class IN")]
    Type,
    #[error("a field is missing or is not a number in its range")]
    Number,
    #[error("the digest is not hexadecimal, or its length does not fit its type")]
    Digest,
    #[error("the public key is not base64")]
    Key,
    #[error("the key has no Zone Key flag, is revoked, or has a protocol other than 3")]
    NoZoneKey,
    #[error("a parenthesis is not closed")]
    Parenthesis,
}

impl TrustAnchors {
    /// The anchors of the root: KSK-2017 (20326) and KSK-2024 (38696).
    #[must_use]
    pub fn of_root() -> Self {
        Self::parse(OF_ROOT, 0).expect("a test reads them")
    }

    /// Reads a file: DS and DNSKEY records in master-file form with absolute owners, of any zone; or
    /// the XML document that IANA publishes for the root (RFC 9718), of which those anchors count
    /// that are valid at `now_unix`, in seconds since 1970-01-01 00:00 UTC.
    ///
    /// # Errors
    /// Which line or element is wrong.
    pub fn parse(text: &str, now_unix: i64) -> Result<Self, AnchorError> {
        let mut anchors = Self::default();
        if text.trim_start().starts_with('<') {
            for (zone, data) in iana_xml::read(text, now_unix)? {
                anchors.insert(zone, TrustAnchor::Ds(data));
            }
        } else {
            for (line, fields) in logical_lines(text)? {
                let (zone, anchor) =
                    parse_record(&fields).map_err(|problem| AnchorError::Line { line, problem })?;
                anchors.insert(zone, anchor);
            }
        }
        if anchors.is_empty() {
            Err(AnchorError::Empty)
        } else {
            Ok(anchors)
        }
    }

    /// Adds an anchor of a zone.
    pub fn insert(&mut self, zone: Name, anchor: TrustAnchor) {
        self.0.entry(zone).or_default().push(anchor);
    }

    /// Adds all anchors of another collection.
    pub fn extend(&mut self, other: Self) {
        for (zone, anchors) in other.0 {
            self.0.entry(zone).or_default().extend(anchors);
        }
    }

    /// The anchors that cover a name: those of its closest ancestor that has any, or its own.
    #[must_use]
    pub fn closest(&self, name: NameRef<'_>) -> Option<(NameRef<'_>, &[TrustAnchor])> {
        let root = Name::root();
        let mut zones = name.ancestors().chain([root.borrow()]);
        zones.find_map(|zone| {
            let (zone, anchors) = self.0.get_key_value(zone.wire())?;
            Some((zone.borrow(), &anchors[..]))
        })
    }

    /// All zones with their anchors.
    pub fn iter(&self) -> impl Iterator<Item = (NameRef<'_>, &[TrustAnchor])> {
        self.0
            .iter()
            .map(|(zone, anchors)| (zone.borrow(), &anchors[..]))
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TrustAnchor {
    /// Its record's type and data in presentation form.
    pub(super) fn to_presentation(&self) -> String {
        match self {
            Self::Ds(data) => {
                let digest = HEXLOWER_PERMISSIVE.encode(&data.digest);
                format!(
                    "DS {} {} {} {digest}",
                    data.tag, data.algorithm, data.digest_type
                )
            }
            Self::Key(key) => format!("DNSKEY {}", key.to_presentation()),
        }
    }

    pub(super) fn tag_and_algorithm(&self) -> (u16, u8) {
        match self {
            Self::Ds(data) => (data.tag, data.algorithm),
            Self::Key(key) => (key.tag, key.algorithm),
        }
    }

    /// Whether its algorithm and digest type are supported.
    pub(super) fn is_usable(&self, settings: &ValidationSettings) -> bool {
        match self {
            Self::Ds(data) => {
                SignatureAlgorithm::supported(data.algorithm, settings).is_some()
                    && DigestType::supported(data.digest_type, settings).is_some()
            }
            Self::Key(key) => key.is_supported(settings),
        }
    }

    /// Whether the anchor is this key of the zone.
    pub(super) fn vouches_for(
        &self,
        zone: NameRef<'_>,
        key: &ZoneKey,
        context: ValidationContext<'_>,
    ) -> Result<bool, ValidationFault> {
        match self {
            Self::Ds(data) => data.matches(zone, key, context),
            Self::Key(known) => Ok(known.data() == key.data()),
        }
    }
}

/// The fields of each record of a master file with the number of its first line: without comments,
/// and joined across lines within parentheses (RFC 1035 section 5.1).
fn logical_lines(text: &str) -> Result<Vec<(usize, Vec<&str>)>, AnchorError> {
    let mut records: Vec<(usize, Vec<&str>)> = Vec::new();
    let mut open_since = None;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split_once(';').map_or(line, |(record, _)| record);
        if open_since.is_none() {
            records.push((number, Vec::new()));
        }
        if line.contains('(') {
            open_since = Some(number);
        }
        if line.contains(')') {
            open_since = None;
        }
        if let Some((_, fields)) = records.last_mut() {
            fields.extend(
                line.split(|c: char| c.is_whitespace() || c == '(' || c == ')')
                    .filter(|field| !field.is_empty()),
            );
        }
    }
    records.retain(|(_, fields)| !fields.is_empty());
    match open_since {
        Some(line) => Err(AnchorError::Line {
            line,
            problem: LineProblem::Parenthesis,
        }),
        None => Ok(records),
    }
}

/// Reads a record: owner, TTL and class in any order and both optional, type, data.
fn parse_record(fields: &[&str]) -> Result<(Name, TrustAnchor), LineProblem> {
    let (owner, rest) = fields.split_first().ok_or(LineProblem::Owner)?;
    let zone = Name::parse(owner).map_err(|_| LineProblem::Owner)?;
    let is_ttl_or_class =
        |field: &&&str| field.eq_ignore_ascii_case("IN") || field.parse::<u32>().is_ok();
    let skipped = rest.iter().take(2).take_while(is_ttl_or_class).count();
    let (rtype, data) = rest[skipped..].split_first().ok_or(LineProblem::Type)?;
    let anchor = if rtype.eq_ignore_ascii_case("DS") {
        TrustAnchor::Ds(parse_ds(data)?)
    } else if rtype.eq_ignore_ascii_case("DNSKEY") {
        TrustAnchor::Key(parse_key(data)?)
    } else {
        return Err(LineProblem::Type);
    };
    Ok((zone, anchor))
}

fn number<T: std::str::FromStr>(fields: &[&str], place: usize) -> Result<T, LineProblem> {
    let field = fields.get(place).ok_or(LineProblem::Number)?;
    field.parse().map_err(|_| LineProblem::Number)
}

fn parse_ds(fields: &[&str]) -> Result<DsData, LineProblem> {
    let (tag, algorithm) = (number(fields, 0)?, number(fields, 1)?);
    let digest_type = number(fields, 2)?;
    let digest = fields[3..].concat();
    HEXLOWER_PERMISSIVE
        .decode(digest.as_bytes())
        .ok()
        .and_then(|digest| DsData::new(tag, algorithm, digest_type, digest))
        .ok_or(LineProblem::Digest)
}

/// Reads the data of a DNSKEY record in presentation form, RFC 4034 section 2.2.
///
/// # Errors
/// What is wrong with a field.
pub fn parse_key(fields: &[&str]) -> Result<ZoneKey, LineProblem> {
    let flags: u16 = number(fields, 0)?;
    let (protocol, algorithm): (u8, u8) = (number(fields, 1)?, number(fields, 2)?);
    let public = BASE64
        .decode(fields.get(3..).unwrap_or_default().concat().as_bytes())
        .map_err(|_| LineProblem::Key)?;
    let [high, low] = flags.to_be_bytes();
    let data = [&[high, low, protocol, algorithm], &public[..]].concat();
    let key = ZoneKey::from_data(&data).ok_or(LineProblem::Key)?;
    if key.may_sign() {
        Ok(key)
    } else {
        Err(LineProblem::NoZoneKey)
    }
}

#[cfg(test)]
mod tests;
