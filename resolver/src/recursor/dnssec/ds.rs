//! DS data, RFC 4034 section 5, and which of them lead into a zone.

use policy::name::NameRef;

use crate::recursor::rrset::RrSet;

use super::{
    algorithm::{DigestType, SignatureAlgorithm},
    canonical::data_octets,
    context::{ValidationContext, ValidationSettings},
    dnskey::ZoneKey,
    fault::{InsecurityCause, ValidationFault},
};

/// Key tag, algorithm and digest type, in octets.
const FIXED_OCTETS: usize = 4;
/// DS records of a zone that are used. A count, as in PowerDNS.
const RECORDS_MAX: usize = 8;

/// The data of a DS record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DsData {
    pub tag: u16,
    pub algorithm: u8,
    pub digest_type: u8,
    pub digest: Box<[u8]>,
}

impl DsData {
    /// Reads the data of a DS record; none where they are too short.
    #[must_use]
    pub fn from_data(data: &[u8]) -> Option<Self> {
        let (&[high, low, algorithm, digest_type], digest) =
            data.split_first_chunk::<FIXED_OCTETS>()?;
        (!digest.is_empty()).then(|| Self {
            tag: u16::from_be_bytes([high, low]),
            algorithm,
            digest_type,
            digest: digest.into(),
        })
    }

    /// A record of these fields; none where the length of the digest does not fit a known type.
    pub(super) fn new(tag: u16, algorithm: u8, digest_type: u8, digest: Vec<u8>) -> Option<Self> {
        let octets = DigestType::known(digest_type).map_or(digest.len(), DigestType::octets);
        (!digest.is_empty() && digest.len() == octets).then(|| Self {
            tag,
            algorithm,
            digest_type,
            digest: digest.into(),
        })
    }

    /// Whether the record is the digest of this key of the zone.
    pub(super) fn matches(
        &self,
        zone: NameRef<'_>,
        key: &ZoneKey,
        context: ValidationContext<'_>,
    ) -> Result<bool, ValidationFault> {
        if self.tag != key.tag || self.algorithm != key.algorithm {
            return Ok(false);
        }
        let Some(digest_type) = DigestType::supported(self.digest_type, context.settings) else {
            return Ok(false);
        };
        context.budget.charge_digest()?;
        let digest = digest_type.digest(&[zone.wire(), key.data()].concat());
        Ok(digest.as_ref() == &*self.digest)
    }
}

/// The DS records of a zone that the validator can use: at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsableDs(Vec<DsData>);

impl UsableDs {
    /// Picks the usable records of a DS RRset, which must be secure.
    ///
    /// # Errors
    /// Why the zone is insecure: no record has a supported algorithm and a supported digest type
    /// (RFC 4035 section 5.2, RFC 6840 section 5.2).
    pub fn new(set: &RrSet, settings: &ValidationSettings) -> Result<Self, InsecurityCause> {
        let all = set
            .records
            .iter()
            .filter_map(|record| DsData::from_data(&data_octets(record)?));
        Self::pick(all, settings)
    }

    pub(super) fn pick(
        all: impl Iterator<Item = DsData>,
        settings: &ValidationSettings,
    ) -> Result<Self, InsecurityCause> {
        let mut usable = Vec::new();
        let mut cause = InsecurityCause::UnsupportedAlgorithm;
        for data in all {
            if SignatureAlgorithm::supported(data.algorithm, settings).is_none() {
                continue;
            }
            match DigestType::supported(data.digest_type, settings) {
                None => cause = InsecurityCause::UnsupportedDigest,
                Some(_) if usable.len() >= RECORDS_MAX => {}
                Some(digest_type) => usable.push((digest_type, data)),
            }
        }
        if usable
            .iter()
            .any(|(digest_type, _)| *digest_type > DigestType::Sha1)
        {
            usable.retain(|(digest_type, _)| *digest_type > DigestType::Sha1);
        }
        let usable: Vec<DsData> = usable.into_iter().map(|(_, data)| data).collect();
        if usable.is_empty() {
            Err(cause)
        } else {
            Ok(Self(usable))
        }
    }

    pub(super) fn records(&self) -> &[DsData] {
        &self.0
    }
}

#[cfg(test)]
mod tests;
