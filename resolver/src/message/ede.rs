//! Why an answer is not what the Internet says: the Extended DNS Error of a reply (RFC 8914), as
//! text, or as JSON where the client asked for that.
//!
//! The JSON is that of draft-ietf-dnsop-structured-dns-error, in the editors' text of 2026 around
//! version 27: `c` contacts, `j` justification, `s` sub-error, `o` organization, `l` language. A
//! client asks for it with an EDE option of its own, two octets of info-code 0, as versions up to
//! about 10 have it and as clients send it. Later versions have an empty option "Structured DNS
//! Error" instead, whose code nobody has assigned yet; `query.rs` is where it will be read.

use std::sync::Arc;

use policy::{
    category::{CategoryId, CategorySet, Taxonomy},
    decide::{Layer, Verdict},
    lists::mandates::Mandate,
};

use crate::message::query::Rcode;

/// Between the categories in the text of a reason.
const SEPARATOR: &str = ", ";
/// What stands for a list of the family's own.
const OWN_LIST: &str = "own list";
/// And for what is no list.
const PAUSED: &str = "paused";
const BYPASS: &str = "filtering is on";
const SAFE_SEARCH: &str = "safe search";
/// Sub-errors of the draft's registry, by our own categories. Others are policy: the DNS operator's
/// (6), or the family's, which has none.
const SUB_ERRORS: [(&str, &str); 4] = [
    ("malware", "1"),
    ("ransomware", "1"),
    ("phishing", "2"),
    ("stalkerware", "4"),
];
const OPERATOR_POLICY: &str = "6";

/// Whom to ask about a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// Where, as URIs.
    pub uris: Vec<String>,
    /// Who filters; may be empty.
    pub organization: String,
    /// The language of titles and of the organization, BCP 47.
    pub language: String,
}

impl Default for Contact {
    fn default() -> Self {
        Self {
            uris: Vec::new(),
            organization: String::new(),
            language: "en".to_owned(),
        }
    }
}

/// The words of reasons, put together once.
pub struct Wording {
    taxonomy: Arc<Taxonomy>,
    /// By category: its title as JSON has it, and its sub-error.
    categories: Box<[(String, Option<&'static str>)]>,
    contact: String,
    organization: String,
    language: String,
}

impl Wording {
    /// The words for these categories.
    #[must_use]
    pub fn new(taxonomy: Arc<Taxonomy>, contact: &Contact) -> Self {
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

/// The inside of a JSON string (RFC 8259 section 7).
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

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Words joined by commas.
    Plain,
    /// JSON.
    Whole,
    /// JSON without what only people read.
    Brief,
    /// The code alone.
    Bare,
}

/// Why an answer is not what the Internet says.
#[derive(Clone, Copy)]
pub enum Reason<'t> {
    /// A verdict, and the mandate behind it where there is one.
    Blocked(Verdict, Option<&'t Mandate>, &'t Wording),
    /// There is no answer: the info-code that says why, RFC 8914 section 4.
    Code(u16),
    /// The answer is older than it should be, because nobody could be asked: 3, or 19 of a name
    /// that did not exist.
    Stale(Rcode),
}

impl<'t> Reason<'t> {
    /// The info-code: 15 the operator's security, 16 an order from outside, 17 the household's own
    /// choice; 4 an answer that leads elsewhere by its choice.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::Blocked(verdict, ..) => match verdict.layer {
                Layer::Mandatory => 16,
                Layer::Security => 15,
                Layer::SafeSearch => 4,
                _ => 17,
            },
            Self::Code(code) => code,
            Self::Stale(Rcode::NxDomain) => 19,
            Self::Stale(_) => 3,
        }
    }

    /// Whether there is nothing to tell but the code: of an order in a feed, whose basis is not
    /// known. A mandate tells its basis, a confidential one as any other, so that neither its text
    /// nor the lack of one says which it is.
    fn is_silent(self) -> bool {
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
            Self::Code(_) | Self::Stale(_) => true,
        }
    }

    /// Puts the extra text together, piece by piece.
    pub(crate) fn write(self, form: Form, mut put: impl FnMut(&str)) {
        let Self::Blocked(verdict, mandate, wording) = self else {
            return;
        };
        match form {
            Form::Bare => {}
            _ if self.is_silent() => {}
            Form::Plain => Self::write_words(
                verdict,
                mandate.map(|mandate| mandate.basis.as_str()),
                |id| wording.slug(id),
                put,
            ),
            Form::Whole | Form::Brief => {
                write_json(verdict, mandate, wording, form == Form::Whole, &mut put)
            }
        }
    }

    /// The words for a verdict, joined.
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
            Layer::SafeSearchDeny | Layer::SafeSearch => Some(SAFE_SEARCH),
            _ => None,
        };
        let categories: CategorySet = verdict.categories;
        let words = basis
            .or(of_layer)
            .into_iter()
            .chain(categories.iter().map(word));
        for (place, word) in words.enumerate() {
            if place > 0 {
                put(SEPARATOR);
            }
            put(word);
        }
    }

    /// Octets of the extra text.
    pub(crate) fn octets(self, form: Form) -> usize {
        let mut octets = 0;
        self.write(form, |piece| octets += piece.len());
        octets
    }
}

/// An object without anything that could be left out (RFC 7493).
#[cold]
#[inline(never)]
fn write_json(
    verdict: Verdict,
    mandate: Option<&Mandate>,
    wording: &Wording,
    is_whole: bool,
    put: &mut dyn FnMut(&str),
) {
    let title = |id: CategoryId| wording.categories[id.index()].0.as_str();
    let mut words = 0;
    Reason::write_words(
        verdict,
        mandate.map(|mandate| mandate.basis.title()),
        title,
        |_| words += 1,
    );
    let has_words = is_whole && words > 0;
    let sub_error = match verdict.layer {
        // Sub-errors are none of orders.
        Layer::Mandatory => None,
        layer => {
            let of_category = verdict
                .categories
                .iter()
                .next()
                .and_then(|id| wording.categories[id.index()].1);
            of_category.or((layer == Layer::Security).then_some(OPERATOR_POLICY))
        }
    };
    let has_organization = is_whole && !wording.organization.is_empty();
    if wording.contact.is_empty() && !has_words && sub_error.is_none() {
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
    if !wording.contact.is_empty() {
        begin(put);
        put(&wording.contact);
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
        put(&wording.organization);
    }
    if has_words || has_organization {
        begin(put);
        put(&wording.language);
    }
    put("}");
}

#[cfg(test)]
mod tests {
    use policy::{
        decide::Action,
        lists::mandates::{ActiveMandates, MandateDocument},
    };

    use super::*;

    fn wording(uris: &[&str], organization: &str) -> Wording {
        let uris = uris.iter().map(|uri| (*uri).to_owned()).collect();
        Wording::new(
            Arc::new(Taxonomy::shipped()),
            &Contact {
                uris,
                organization: organization.to_owned(),
                ..Contact::default()
            },
        )
    }

    fn text(reason: Reason<'_>, form: Form) -> String {
        let mut text = String::new();
        reason.write(form, |piece| text.push_str(piece));
        assert_eq!(reason.octets(form), text.len());
        text
    }

    fn blocked(layer: Layer, slugs: &[&str]) -> Verdict {
        let taxonomy = Taxonomy::shipped();
        Verdict {
            categories: slugs
                .iter()
                .map(|slug| taxonomy.find(slug).unwrap())
                .collect(),
            ..Verdict::of_layer(layer)
        }
    }

    #[test]
    fn a_reason_is_told_in_words_or_in_the_least_json() {
        let plain = wording(&[], "");
        let whole = wording(
            &["mailto:help@isp.example", "https://isp.example/\"blocked\""],
            "Ada's ISP\t\\",
        );
        let choice = blocked(Layer::Category, &["gambling", "violence"]);
        for (reason, form, expected) in [
            (
                Reason::Blocked(choice, None, &plain),
                Form::Plain,
                "violence, gambling",
            ),
            (
                Reason::Blocked(choice, None, &plain),
                Form::Whole,
                r#"{"j":"Violence, Gambling","l":"en"}"#,
            ),
            (Reason::Blocked(choice, None, &plain), Form::Brief, ""),
            (Reason::Blocked(choice, None, &plain), Form::Bare, ""),
            (
                Reason::Blocked(blocked(Layer::Security, &["phishing"]), None, &whole),
                Form::Whole,
                r#"{"c":["mailto:help@isp.example","https://isp.example/\"blocked\""],"j":"Phishing","s":2,"o":"Ada's ISP\u0009\\","l":"en"}"#,
            ),
            (
                Reason::Blocked(blocked(Layer::Security, &["hacking"]), None, &whole),
                Form::Brief,
                r#"{"c":["mailto:help@isp.example","https://isp.example/\"blocked\""],"s":6}"#,
            ),
            (
                Reason::Blocked(blocked(Layer::DeviceDeny, &[]), None, &plain),
                Form::Plain,
                "own list",
            ),
            (
                Reason::Blocked(blocked(Layer::HouseholdDeny, &[]), None, &plain),
                Form::Whole,
                r#"{"j":"own list","l":"en"}"#,
            ),
            (Reason::Code(22), Form::Whole, ""),
            (Reason::Stale(Rcode::NoError), Form::Plain, ""),
        ] {
            assert_eq!(text(reason, form), expected);
        }
    }

    #[test]
    fn a_confidential_order_reads_as_any_other_of_its_basis_in_every_form() {
        let whole = wording(&["mailto:help@isp.example"], "ISP");
        let mandate = |confidential| {
            let name = Some("a.example".into());
            let basis = "court-order".into();
            let reference = Some("CO/1".into());
            Mandate::read(
                "a".parse().unwrap(),
                MandateDocument {
                    name,
                    basis,
                    reference,
                    confidential,
                    ..MandateDocument::default()
                },
            )
            .unwrap()
        };
        let set = ActiveMandates::of(vec![Arc::new(mandate(false))]);
        let name = policy::name::Name::parse("a.example").unwrap();
        let verdict = Verdict {
            action: Action::Mandate(set.find(name.borrow()).unwrap()),
            ..Verdict::of_layer(Layer::Mandatory)
        };
        for mandate in [mandate(false), mandate(true)] {
            let reason = Reason::Blocked(verdict, Some(&mandate), &whole);
            assert_eq!(text(reason, Form::Plain), "court-order");
            assert_eq!(
                text(reason, Form::Whole),
                r#"{"c":["mailto:help@isp.example"],"j":"a court's order","o":"ISP","l":"en"}"#
            );
            assert_eq!(
                text(reason, Form::Brief),
                r#"{"c":["mailto:help@isp.example"]}"#
            );
            assert_eq!(
                (text(reason, Form::Bare), reason.code()),
                (String::new(), 16)
            );
        }
        // What rests on a feed has no basis to tell.
        for form in [Form::Plain, Form::Whole, Form::Brief, Form::Bare] {
            let of_feed = Reason::Blocked(verdict, None, &whole);
            assert_eq!((text(of_feed, form), of_feed.code()), (String::new(), 16));
        }
    }
}
