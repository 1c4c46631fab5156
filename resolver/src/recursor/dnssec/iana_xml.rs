//! The XML document in which IANA publishes the trust anchors of the root, RFC 9718 section 2.

use data_encoding::HEXLOWER_PERMISSIVE;
use jiff::Timestamp;
use policy::name::Name;
use quick_xml::{
    Reader,
    events::{BytesStart, Event},
};

use super::ds::DsData;

/// Why a document is no list of trust anchors.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XmlProblem {
    #[error("the document is not well formed: {0}")]
    Form(String),
    #[error("the document element is not TrustAnchor")]
    Root,
    #[error("the zone is not a domain name")]
    Zone,
    #[error("a KeyDigest element has a time that cannot be read")]
    Time,
    #[error("a KeyDigest element lacks a field, or a field of it cannot be read")]
    KeyDigest,
}

/// The fields of a KeyDigest element while it is read.
#[derive(Default)]
struct KeyDigest {
    is_valid: bool,
    tag: Option<u16>,
    algorithm: Option<u8>,
    digest_type: Option<u8>,
    digest: Option<Vec<u8>>,
}

/// The DS data that are valid at a time, with the zone of each.
pub(super) fn read(text: &str, now_unix: i64) -> Result<Vec<(Name, DsData)>, XmlProblem> {
    let mut reader = Reader::from_str(text);
    let mut anchors = Vec::new();
    let mut path: Vec<Vec<u8>> = Vec::new();
    let mut zone = None;
    let mut current = KeyDigest::default();
    loop {
        let event = reader
            .read_event()
            .map_err(|error| XmlProblem::Form(error.to_string()))?;
        match event {
            Event::Start(element) => {
                let element_name = element.local_name().as_ref().to_vec();
                if path.is_empty() && element_name != b"TrustAnchor" {
                    return Err(XmlProblem::Root);
                }
                if element_name == b"KeyDigest" {
                    current = KeyDigest {
                        is_valid: is_valid(&element, now_unix)?,
                        ..KeyDigest::default()
                    };
                }
                path.push(element_name);
            }
            Event::Text(content) => {
                let content = content
                    .decode()
                    .map_err(|error| XmlProblem::Form(error.to_string()))?;
                let element = path.last().map_or(&b""[..], Vec::as_slice);
                if element == b"Zone" {
                    zone = Some(Name::parse(content.trim()).map_err(|_| XmlProblem::Zone)?);
                }
                current.read(element, content.trim());
            }
            Event::End(_) => {
                let element = path.pop();
                if element.as_deref() == Some(b"KeyDigest") && current.is_valid {
                    let data = std::mem::take(&mut current).data();
                    anchors.push(data.ok_or(XmlProblem::KeyDigest)?);
                }
            }
            Event::Eof => break,
            _ => {}
        }
    }
    if !path.is_empty() {
        return Err(XmlProblem::Form("an element is not closed".to_owned()));
    }
    let zone = zone.ok_or(XmlProblem::Zone)?;
    Ok(anchors
        .into_iter()
        .map(|data| (zone.clone(), data))
        .collect())
}

/// Whether the time lies between `validFrom` and `validUntil`, which may be missing.
fn is_valid(element: &BytesStart<'_>, now_unix: i64) -> Result<bool, XmlProblem> {
    let time = |attribute: &str| -> Result<Option<i64>, XmlProblem> {
        let Some(attribute) = element
            .try_get_attribute(attribute)
            .map_err(|error| XmlProblem::Form(error.to_string()))?
        else {
            return Ok(None);
        };
        let text = std::str::from_utf8(&attribute.value).map_err(|_| XmlProblem::Time)?;
        let time: Timestamp = text.trim().parse().map_err(|_| XmlProblem::Time)?;
        Ok(Some(time.as_second()))
    };
    let has_begun = time("validFrom")?.is_none_or(|from| from <= now_unix);
    let has_ended = time("validUntil")?.is_some_and(|until| until <= now_unix);
    Ok(has_begun && !has_ended)
}

impl KeyDigest {
    /// Takes the content of a child element. What cannot be read counts as missing.
    fn read(&mut self, element: &[u8], content: &str) {
        match element {
            b"KeyTag" => self.tag = content.parse().ok(),
            b"Algorithm" => self.algorithm = content.parse().ok(),
            b"DigestType" => self.digest_type = content.parse().ok(),
            b"Digest" => {
                let digits: String = content.split_whitespace().collect();
                self.digest = HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok();
            }
            _ => {}
        }
    }

    fn data(self) -> Option<DsData> {
        DsData::new(self.tag?, self.algorithm?, self.digest_type?, self.digest?)
    }
}

#[cfg(test)]
mod tests;
