//! Where published names come from.

use jiff::civil::Date;

/// The publication that names were taken from, and the day of the last comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameSource {
    /// The page that publishes the names, an `https` URL.
    pub url: String,
    /// The day on which the names were last compared with the page.
    pub as_of: Date,
}

impl NameSource {
    /// Checks the URL. `subject` names the entry in the error.
    pub(crate) fn read(subject: &str, url: String, as_of: Date) -> Result<Self, String> {
        match url.strip_prefix("https://") {
            Some(rest) if !rest.is_empty() => Ok(Self { url, as_of }),
            _ => Err(format!("{subject}: source = {url:?} is no https URL")),
        }
    }
}
