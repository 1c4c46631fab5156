//! Trust anchors, RFC 4033 section 2: the root's, which the program brings, and those of files.

use std::collections::BTreeMap;

use policy::name::{Name, NameRef};

use super::{
    algorithm::{DigestType, SignatureAlgorithm},
    context::{ValidationContext, ValidationSettings},
    dnskey::ZoneKey,
    ds::DsData,
    fault::ValidationFault,
};

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
    Line { line: usize, problem: &'static str },
    #[error("not an XML document of trust anchors: {0}")]
    Xml(String),
    #[error("no DS or DNSKEY record")]
    Empty,
}

impl TrustAnchors {
    /// The anchors of the root: KSK-2017 (20326) and KSK-2024 (38696).
    #[must_use]
    pub fn of_root() -> Self {
        Self::default()
    }

    /// Reads a file: DS and DNSKEY records in master-file form, one a line, of any owner; or the XML
    /// document that IANA publishes for the root (RFC 9718), of which those anchors count that are
    /// valid at `now_unix` or later.
    ///
    /// # Errors
    /// Which line or element is wrong.
    pub fn parse(text: &str, now_unix: i64) -> Result<Self, AnchorError> {
        let _ = now_unix;
        let mut anchors = Self::default();
        for (number, line) in text.lines().enumerate() {
            let content = line.split(';').next().unwrap_or_default();
            let fields: Vec<&str> = content
                .split_whitespace()
                .filter(|field| !["(", ")"].contains(field))
                .collect();
            if fields.is_empty() {
                continue;
            }
            let problem = |problem| AnchorError::Line {
                line: number + 1,
                problem,
            };
            let owner = Name::parse(fields[0]).map_err(|_| problem("no name"))?;
            let kind = fields
                .iter()
                .position(|field| *field == "DS" || *field == "DNSKEY")
                .ok_or_else(|| problem("no DS"))?;
            let data = &fields[kind + 1..];
            if data.len() < 4 {
                return Err(problem("too short"));
            }
            let first: u16 = data[0].parse().map_err(|_| problem("number"))?;
            let byte = |text: &str| text.parse::<u8>().map_err(|_| problem("number"));
            let mut wire = first.to_be_bytes().to_vec();
            wire.push(byte(data[1])?);
            wire.push(byte(data[2])?);
            let rest = data[3..].concat();
            let anchor = if fields[kind] == "DS" {
                let digest = data_encoding::HEXLOWER_PERMISSIVE
                    .decode(rest.as_bytes())
                    .map_err(|_| problem("hex"))?;
                wire.extend(digest);
                TrustAnchor::Ds(DsData::from_data(&wire).ok_or_else(|| problem("DS"))?)
            } else {
                let key = data_encoding::BASE64
                    .decode(rest.as_bytes())
                    .map_err(|_| problem("base64"))?;
                wire.extend(key);
                TrustAnchor::Key(ZoneKey::from_data(&wire).ok_or_else(|| problem("DNSKEY"))?)
            };
            anchors.insert(owner, anchor);
        }
        Ok(anchors)
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
        (0..=name.label_count()).rev().find_map(|labels| {
            let (zone, anchors) = self.0.get_key_value(&name.last_labels(labels).to_owned())?;
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

#[cfg(test)]
mod tests;
