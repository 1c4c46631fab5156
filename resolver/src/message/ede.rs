//! Extended DNS Errors of replies (RFC 8914): the info-code, and the extra text as words or, if the
//! client asks for it, as JSON.
//!
//! The JSON follows draft-ietf-dnsop-structured-dns-error, about version 27: `c` contacts, `j`
//! justification, `s` sub-error, `o` organization, `l` language. A client asks for it with an EDE
//! option of info-code 0 without text, as in versions up to about 10 of the draft. Later versions
//! define an empty option "Structured DNS Error", which has no assigned code yet; `query.rs` will
//! read it.

use std::sync::Arc;

use policy::{
    category::{CategoryId, CategorySet, Taxonomy},
    decide::{Layer, Verdict},
    lists::mandates::Mandate,
};

use crate::message::types::{EdeCode, Rcode};

/// Separates the words of a text.
const SEPARATOR: &str = ", ";
/// The words for layers that are no category.
const OWN_LIST: &str = "own list";
const PAUSED: &str = "paused";
const BYPASS: &str = "filtering is on";
const THING: &str = "not a domain of this device";
const SAFE_SEARCH: &str = "safe search";
/// Sub-errors of the draft's registry, by category slug. Other categories of the security layer are
/// the DNS operator's policy (6); those of the household's choice have no sub-error.
const SUB_ERRORS: [(&str, &str); 4] = [
    ("malware", "1"),
    ("ransomware", "1"),
    ("phishing", "2"),
    ("stalkerware", "4"),
];
const OPERATOR_POLICY: &str = "6";

/// The operator's contact for questions about a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockContact {
    pub uris: Vec<String>,
    /// The name of the operator; may be empty.
    pub organization: String,
    /// The language of titles and of the organization, as a BCP 47 tag.
    pub language: String,
}

impl Default for BlockContact {
    fn default() -> Self {
        Self {
            uris: Vec::new(),
            organization: String::new(),
            language: "en".to_owned(),
        }
    }
}

/// The parts of extra texts, prepared once at start.
pub struct EdeWords {
    taxonomy: Arc<Taxonomy>,
    /// By category: its title, escaped for JSON, and its sub-error.
    categories: Box<[(String, Option<&'static str>)]>,
    contact: String,
    organization: String,
    language: String,
}

impl EdeWords {
    /// Prepares the texts for these categories.
    #[must_use]
    pub fn new(taxonomy: Arc<Taxonomy>, contact: &BlockContact) -> Self {
        let sub_error = |slug: &str| {
            SUB_ERRORS
                .iter()
                .find(|(known, _)| *known == slug)
                .map(|(_, number)| *number)
        };
        let categories = taxonomy
            .categories()
            .iter()
            .map(|category| (escaped(&category.title), sub_error(&category.slug)))
            .collect();
        let quoted: Vec<String> = contact
            .uris
            .iter()
            .map(|uri| format!("\"{}\"", escaped(uri)))
            .collect();
        let member = |key: &str, text: &str| {
            if text.is_empty() {
                String::new()
            } else {
                format!("\"{key}\":\"{}\"", escaped(text))
            }
        };
        Self {
            taxonomy,
            categories,
            contact: if quoted.is_empty() {
                String::new()
            } else {
                format!("\"c\":[{}]", quoted.join(","))
            },
            organization: member("o", &contact.organization),
            language: member("l", &contact.language),
        }
    }

    fn slug(&self, category: CategoryId) -> &str {
        &self.taxonomy.category(category).slug
    }
}

/// Escapes a text for use inside a JSON string (RFC 8259 section 7).
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\\' => escaped.extend(['\\', character]),
            '\0'..='\x1f' => escaped.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => escaped.push(character),
        }
    }
    escaped
}

/// The form of the extra text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextForm {
    /// Words joined by commas.
    Plain,
    /// JSON with all members.
    FullJson,
    /// JSON with the members that programs read: contacts and sub-error.
    ShortJson,
    /// No text.
    CodeOnly,
}

/// Why an answer differs from the authority's.
#[derive(Clone, Copy)]
pub enum Reason<'t> {
    /// A verdict, and the mandate it follows, if any.
    Blocked(Verdict, Option<&'t Mandate>, &'t EdeWords),
    /// No answer, for this reason.
    Code(EdeCode),
    /// A stale answer (RFC 8767) with this response code, and the info-code of the fresh one if
    /// that is bogus.
    Stale(Rcode, Option<EdeCode>),
}

impl<'t> Reason<'t> {
    /// The info-code.
    #[must_use]
    pub fn code(self) -> EdeCode {
        match self {
            Self::Blocked(verdict, ..) => match verdict.layer {
                Layer::Mandatory => EdeCode::CENSORED,
                Layer::Security => EdeCode::BLOCKED,
                Layer::SafeSearch => EdeCode::FORGED_ANSWER,
                _ => EdeCode::FILTERED,
            },
            Self::Code(code) => code,
            Self::Stale(Rcode::NxDomain, _) => EdeCode::STALE_NXDOMAIN,
            Self::Stale(..) => EdeCode::STALE_ANSWER,
        }
    }

    /// The info-code of a second Extended DNS Error.
    pub(crate) fn second_code(self) -> Option<EdeCode> {
        match self {
            Self::Stale(_, bogus) => bogus,
            Self::Blocked(..) | Self::Code(_) => None,
        }
    }

    /// Whether the reason has no text. A block by an order in a feed has none, because its legal
    /// basis is unknown. A mandate names its basis; a confidential mandate does, too, so that its
    /// text cannot be told from that of a public one.
    fn has_no_text(self) -> bool {
        match self {
            Self::Blocked(
                Verdict {
                    layer: Layer::Mandatory,
                    ..
                },
                mandate,
                _,
            ) => mandate.is_none(),
            Self::Blocked(..) => false,
            Self::Code(_) | Self::Stale(..) => true,
        }
    }

    /// Writes the extra text, piece by piece.
    pub(crate) fn write(self, form: TextForm, mut put: impl FnMut(&str)) {
        let Self::Blocked(verdict, mandate, ede_words) = self else {
            return;
        };
        match form {
            TextForm::CodeOnly => {}
            _ if self.has_no_text() => {}
            TextForm::Plain => Self::write_words(
                verdict,
                mandate.map(|mandate| mandate.basis.as_str()),
                |id| ede_words.slug(id),
                put,
            ),
            TextForm::FullJson | TextForm::ShortJson => write_json(
                verdict,
                mandate,
                ede_words,
                form == TextForm::FullJson,
                &mut put,
            ),
        }
    }

    /// Writes the words for a verdict: the legal basis or the layer, then the categories.
    fn write_words<'w>(
        verdict: Verdict,
        basis: Option<&'w str>,
        word: impl Fn(CategoryId) -> &'w str,
        mut put: impl FnMut(&str),
    ) {
        let of_layer = match verdict.layer {
            Layer::DeviceDeny | Layer::PersonDeny | Layer::HouseholdDeny => Some(OWN_LIST),
            Layer::Paused => Some(PAUSED),
            Layer::Bypass => Some(BYPASS),
            Layer::Thing => Some(THING),
            Layer::SafeSearchDeny | Layer::SafeSearch => Some(SAFE_SEARCH),
            _ => None,
        };
        let categories: CategorySet = verdict.categories;
        let words = basis
            .or(of_layer)
            .into_iter()
            .chain(categories.iter().map(word));
        for (index, word) in words.enumerate() {
            if index > 0 {
                put(SEPARATOR);
            }
            put(word);
        }
    }

    /// Length of the extra text, in octets.
    pub(crate) fn octets(self, form: TextForm) -> usize {
        let mut octets = 0;
        self.write(form, |piece| octets += piece.len());
        octets
    }
}

/// Writes an I-JSON object (RFC 7493) without white space. Empty members are left out.
#[cold]
#[inline(never)]
fn write_json(
    verdict: Verdict,
    mandate: Option<&Mandate>,
    ede_words: &EdeWords,
    is_whole: bool,
    put: &mut dyn FnMut(&str),
) {
    let title = |id: CategoryId| ede_words.categories[id.index()].0.as_str();
    let mut words = 0;
    Reason::write_words(
        verdict,
        mandate.map(|mandate| mandate.basis.title()),
        title,
        |_| words += 1,
    );
    let has_words = is_whole && words > 0;
    let sub_error = match verdict.layer {
        // The draft has no sub-error for orders from outside.
        Layer::Mandatory => None,
        layer => {
            let of_category = verdict
                .categories
                .iter()
                .next()
                .and_then(|id| ede_words.categories[id.index()].1);
            of_category.or((layer == Layer::Security).then_some(OPERATOR_POLICY))
        }
    };
    let has_organization = is_whole && !ede_words.organization.is_empty();
    if ede_words.contact.is_empty() && !has_words && sub_error.is_none() {
        return;
    }
    let mut is_first = true;
    let mut begin = |put: &mut dyn FnMut(&str)| {
        put(if std::mem::take(&mut is_first) {
            "{"
        } else {
            ","
        })
    };
    if !ede_words.contact.is_empty() {
        begin(put);
        put(&ede_words.contact);
    }
    if has_words {
        begin(put);
        put("\"j\":\"");
        Reason::write_words(
            verdict,
            mandate.map(|mandate| mandate.basis.title()),
            title,
            &mut *put,
        );
        put("\"");
    }
    if let Some(sub_error) = sub_error {
        begin(put);
        put("\"s\":");
        put(sub_error);
    }
    if has_organization {
        begin(put);
        put(&ede_words.organization);
    }
    if has_words || has_organization {
        begin(put);
        put(&ede_words.language);
    }
    put("}");
}

#[cfg(test)]
mod tests;
