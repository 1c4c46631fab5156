//! The trust anchors of the configuration.

use std::path::Path;

use control::causes;
use policy::name::Name;
use resolver::recursor::TrustAnchors;

use super::{error::ConfigError, recursion::RecursionConfig};

/// The anchors that validation begins with: none without validation. The root's are built in, unless
/// the configuration has others for the root. `read` reads a file.
pub fn collect(
    recursion: &RecursionConfig,
    read: impl Fn(&Path) -> Result<String, ConfigError>,
) -> Result<TrustAnchors, ConfigError> {
    let mut anchors = TrustAnchors::default();
    if !recursion.dnssec {
        return Ok(anchors);
    }
    let now = jiff::Timestamp::now().as_second();
    let parse = |key, text: &str| {
        TrustAnchors::parse(text, now).map_err(|error| ConfigError::Value(key, causes(&error)))
    };
    if !recursion.trust_anchors.is_empty() {
        let lines = recursion.trust_anchors.join("\n");
        anchors.extend(parse("recursion.trust_anchors", &lines)?);
    }
    for path in &recursion.trust_anchor_files {
        anchors.extend(parse("recursion.trust_anchor_files", &read(path)?)?);
    }
    if anchors.closest(Name::root().borrow()).is_none() {
        anchors.extend(TrustAnchors::of_root());
    }
    Ok(anchors)
}
