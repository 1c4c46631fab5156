//! Domain names in one canonical form, and their reversed keys in the lists.
//!
//! A name is canonical from the moment it exists: uncompressed wire form (RFC 1035 section 3.1),
//! ASCII letters in lower case (RFC 4343), at most 255 octets, labels of 1 to 63 octets, the root
//! label last. Text is parsed here and nowhere else: what people and feeds write becomes A-labels
//! (UTS 46) or an error. Inside the program nothing is checked again.
//!
//! ```text
//! text      "Ads.Example.COM."
//! wire      3 a d s 7 e x a m p l e 3 c o m 0
//! key       c o m 0x00 e x a m p l e 0x00 a d s 0x00      (the order of a tree: parents come first)
//! ```

use std::{borrow::Borrow, fmt};

/// The longest name in wire form, in octets, the root label included (RFC 1035 section 2.3.4).
pub const NAME_OCTETS_MAX: usize = 255;
/// The longest label, in octets (RFC 1035 section 2.3.4).
pub const LABEL_OCTETS_MAX: usize = 63;
/// The most labels of a name of 255 octets, without the root.
pub const LABELS_MAX: usize = 127;

/// Ends a label in a reversed key. Sorts below every escaped octet, so a parent precedes its
/// children.
pub(crate) const KEY_LABEL_END: u8 = 0x00;
/// Precedes an octet that would otherwise read as [`KEY_LABEL_END`] or as this escape.
pub(crate) const KEY_ESCAPE: u8 = 0x01;

/// A text or an octet string is not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("the name is empty")]
    Empty,
    /// Two dots in a row, or a leading dot.
    #[error("the name has an empty label")]
    EmptyLabel,
    #[error("a label is longer than 63 octets")]
    LabelTooLong,
    #[error("the name is longer than 255 octets")]
    NameTooLong,
    /// A character that no host or service name has.
    #[error("{0:?} cannot stand in a name")]
    Character(char),
    #[error("not an internationalised name that IDNA knows")]
    Idna,
    /// A wire form that ends early, continues after the root, or is compressed.
    #[error("not an uncompressed wire name")]
    Wire,
}

/// An owned canonical name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

/// A borrowed canonical name, as on the query path.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameRef<'a>(&'a [u8]);

/// By the octets of its wire form: a map of names is looked up in by a borrowed name.
impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl Name {
    /// Parses a name as people and feeds write it: any case, with or without the trailing dot,
    /// U-labels or A-labels. `.` is the root.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let mut buffer = NameBuffer::new();
        buffer.parse(text.as_bytes()).map(NameRef::to_owned)
    }

    /// Reads what [`fmt::Display`] writes, so that each name which the program has stored can be read
    /// again: as [`Self::parse`], and `\DDD` is the octet with that decimal number (RFC 1035 section
    /// 5.1).
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn of_presentation(text: &str) -> Result<Self, NameError> {
        if !text.contains('\\') {
            return Self::parse(text);
        }
        let text = text.strip_suffix('.').unwrap_or(text);
        let mut wire = Vec::with_capacity(text.len() + 2);
        for label in text.split('.') {
            let label = unescaped(label)?;
            let length = u8::try_from(label.len()).map_err(|_| NameError::LabelTooLong)?;
            if length == 0 {
                return Err(NameError::EmptyLabel);
            }
            wire.push(length);
            wire.extend(label);
        }
        wire.push(0);
        NameRef::from_wire(&wire).map(NameRef::to_owned)
    }

    #[must_use]
    pub fn borrow(&self) -> NameRef<'_> {
        NameRef(&self.0)
    }

    #[must_use]
    pub fn root() -> Self {
        Self([0].into())
    }
}

impl<'a> NameRef<'a> {
    /// Checks octets that are expected to be canonical: lower case, uncompressed, the root label
    /// last.
    ///
    /// # Errors
    /// [`NameError::Wire`] and the length errors.
    pub fn from_wire(wire: &'a [u8]) -> Result<Self, NameError> {
        if wire.len() > NAME_OCTETS_MAX {
            return Err(NameError::NameTooLong);
        }
        let mut at = 0;
        loop {
            let length = usize::from(*wire.get(at).ok_or(NameError::Wire)?);
            if length == 0 {
                return if at + 1 == wire.len() {
                    Ok(Self(wire))
                } else {
                    Err(NameError::Wire)
                };
            }
            if length > LABEL_OCTETS_MAX {
                return Err(NameError::LabelTooLong);
            }
            let label = wire.get(at + 1..at + 1 + length).ok_or(NameError::Wire)?;
            if label.iter().any(u8::is_ascii_uppercase) {
                return Err(NameError::Wire);
            }
            at += 1 + length;
        }
    }

    /// The wire form, root label included.
    #[must_use]
    pub fn wire(self) -> &'a [u8] {
        self.0
    }

    #[must_use]
    pub fn is_root(self) -> bool {
        self.0.len() == 1
    }

    /// Whether all labels are of letters, digits, `-` and `_`, as those of all names that a registry
    /// sells and people write.
    #[must_use]
    pub fn is_plain(self) -> bool {
        self.labels().flatten().all(|octet| is_plain(*octet))
    }

    /// The labels from the left, without the root.
    pub fn labels(self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let length = usize::from(*rest.first()?);
            if length == 0 {
                return None;
            }
            let label = &rest[1..=length];
            rest = &rest[1 + length..];
            Some(label)
        })
    }

    /// The name itself, its parent, its parent's parent, down to the top-level domain; the root is
    /// left out.
    pub fn ancestors(self) -> impl Iterator<Item = Self> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let length = usize::from(*rest.first()?);
            if length == 0 {
                return None;
            }
            let here = Self(rest);
            rest = &rest[1 + length..];
            Some(here)
        })
    }

    /// The name without its first label; `None` for the root.
    #[must_use]
    pub fn parent(self) -> Option<Self> {
        let length = usize::from(self.0[0]);
        (length > 0).then(|| Self(&self.0[1 + length..]))
    }

    /// The number of labels, without the root.
    #[must_use]
    pub fn label_count(self) -> usize {
        self.labels().count()
    }

    /// The ancestor with `count` labels, or the name itself where it has no more.
    #[must_use]
    pub fn last_labels(self, count: usize) -> Self {
        let surplus = self.label_count().saturating_sub(count);
        self.ancestors().nth(surplus).unwrap_or(Self(&[0]))
    }

    /// The name with its ancestor `from` replaced by `to`, as by a DNAME (RFC 6672 section 2.2).
    ///
    /// # Errors
    /// [`NameError::NameTooLong`]; [`NameError::Wire`] where `from` is no ancestor.
    pub fn moved(self, from: NameRef<'_>, to: NameRef<'_>) -> Result<Name, NameError> {
        if !self.is_within(from) {
            return Err(NameError::Wire);
        }
        let wire = [&self.0[..self.0.len() - from.0.len()], to.0].concat();
        NameRef::from_wire(&wire).map(NameRef::to_owned)
    }

    /// Whether this name is `ancestor` or below it.
    #[must_use]
    pub fn is_within(self, ancestor: NameRef<'_>) -> bool {
        let Some(above) = self.0.len().checked_sub(ancestor.0.len()) else {
            return false;
        };
        if self.0[above..] != *ancestor.0 {
            return false;
        }
        // The octets may be the end of a label.
        let mut start = 0;
        while start < above {
            start += 1 + usize::from(self.0[start]);
        }
        start == above
    }

    #[must_use]
    pub fn to_owned(self) -> Name {
        Name(self.0.into())
    }

    /// Appends the reversed key: labels from the top-level domain down, each followed by
    /// [`KEY_LABEL_END`].
    pub fn write_key(self, key: &mut Vec<u8>) {
        let (starts, count) = self.label_starts();
        for &start in starts[..count].iter().rev() {
            for &octet in self.label_at(start) {
                if octet <= KEY_ESCAPE {
                    key.extend([KEY_ESCAPE, octet + 1]);
                } else {
                    key.push(octet);
                }
            }
            key.push(KEY_LABEL_END);
        }
    }

    /// The offsets of the length octets, from the left. On the stack, for walks from the right.
    pub(crate) fn label_starts(self) -> ([u8; LABELS_MAX], usize) {
        let mut starts = [0; LABELS_MAX];
        let mut count = 0;
        let mut at = 0;
        while self.0[at] != 0 {
            starts[count] = u8::try_from(at).expect("a name has at most 255 octets");
            count += 1;
            at += 1 + usize::from(self.0[at]);
        }
        (starts, count)
    }

    /// The label with its length octet at `start`.
    pub(crate) fn label_at(self, start: u8) -> &'a [u8] {
        let start = usize::from(start);
        &self.0[start + 1..=start + usize::from(self.0[start])]
    }
}

/// The labels of a name, located once for several walks from the top.
pub(crate) struct Labels<'n> {
    name: NameRef<'n>,
    starts: [u8; LABELS_MAX],
    count: usize,
}

impl<'n> Labels<'n> {
    pub(crate) fn of(name: NameRef<'n>) -> Self {
        let (starts, count) = name.label_starts();
        Self {
            name,
            starts,
            count,
        }
    }

    /// The number of labels, without the root.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The label at an index; the top-level label is 0.
    pub(crate) fn label_from_top(&self, at: usize) -> &'n [u8] {
        self.name.label_at(self.starts[self.count - 1 - at])
    }
}

/// Space for the name of a query on the stack, folded to lower case.
#[derive(Clone)]
pub struct WireName([u8; NAME_OCTETS_MAX]);

impl Default for WireName {
    fn default() -> Self {
        Self([0; NAME_OCTETS_MAX])
    }
}

impl WireName {
    /// Reads an uncompressed name at an offset of a message and folds it to lower case.
    ///
    /// # Errors
    /// [`NameError::Wire`] where the message ends early or the name is compressed, and the length
    /// errors.
    pub fn read(&mut self, message: &[u8], at: usize) -> Result<NameRef<'_>, NameError> {
        let rest = message.get(at..).ok_or(NameError::Wire)?;
        let mut end = 0;
        loop {
            let length = usize::from(*rest.get(end).ok_or(NameError::Wire)?);
            end += 1 + length;
            if length > LABEL_OCTETS_MAX {
                return Err(if length >= 0xc0 {
                    NameError::Wire
                } else {
                    NameError::LabelTooLong
                });
            }
            if end > NAME_OCTETS_MAX {
                return Err(NameError::NameTooLong);
            }
            if length == 0 {
                break;
            }
        }
        let name = &mut self.0[..end];
        name.copy_from_slice(&rest[..end]);
        // A length octet is at most 63 and therefore no letter.
        name.make_ascii_lowercase();
        Ok(NameRef(name))
    }
}

/// Reads a reversed key.
///
/// # Errors
/// [`NameError::Wire`] where the octets are no key.
pub fn name_of_key(key: &[u8]) -> Result<Name, NameError> {
    let mut labels: Vec<Vec<u8>> = Vec::new();
    let mut label = Vec::new();
    let mut octets = key.iter();
    while let Some(&octet) = octets.next() {
        match octet {
            KEY_LABEL_END => labels.push(std::mem::take(&mut label)),
            KEY_ESCAPE => label.push(
                octets
                    .next()
                    .ok_or(NameError::Wire)?
                    .checked_sub(1)
                    .ok_or(NameError::Wire)?,
            ),
            _ => label.push(octet),
        }
    }
    if !label.is_empty() {
        return Err(NameError::Wire);
    }
    let mut wire = Vec::with_capacity(key.len() + 1);
    for label in labels.iter().rev() {
        wire.push(u8::try_from(label.len()).map_err(|_| NameError::LabelTooLong)?);
        wire.extend_from_slice(label);
    }
    wire.push(0);
    NameRef::from_wire(&wire).map(NameRef::to_owned)
}

/// Space for one name on the stack, so that feeds of millions of lines are read without an
/// allocation a line.
pub struct NameBuffer {
    octets: [u8; NAME_OCTETS_MAX],
}

impl Default for NameBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl NameBuffer {
    #[must_use]
    pub fn new() -> Self {
        Self {
            octets: [0; NAME_OCTETS_MAX],
        }
    }

    /// Parses a name from UTF-8 text, see [`Name::parse`].
    pub fn parse(&mut self, text: &[u8]) -> Result<NameRef<'_>, NameError> {
        let text = text.trim_ascii();
        if text.is_ascii() {
            return self.parse_ascii(text);
        }
        let text = std::str::from_utf8(text).map_err(|_| NameError::Idna)?;
        // The empty deny list admits service labels such as `_dmarc`; invalid characters are
        // refused below.
        let ascii = idna::uts46::Uts46::new()
            .to_ascii(
                text.as_bytes(),
                idna::AsciiDenyList::EMPTY,
                idna::uts46::Hyphens::Allow,
                idna::uts46::DnsLength::Ignore,
            )
            .map_err(|_| NameError::Idna)?;
        self.parse_ascii(ascii.as_bytes())
    }

    fn parse_ascii(&mut self, text: &[u8]) -> Result<NameRef<'_>, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text == b"." {
            self.octets[0] = 0;
            return Ok(NameRef(&self.octets[..1]));
        }
        let text = text.strip_suffix(b".").unwrap_or(text);
        let mut label = 0;
        for (at, &octet) in (1..).zip(text.iter().chain(b".")) {
            if octet == b'.' {
                let length = at - label - 1;
                if length == 0 {
                    return Err(NameError::EmptyLabel);
                }
                if length > LABEL_OCTETS_MAX {
                    return Err(NameError::LabelTooLong);
                }
                self.octets[label] = u8::try_from(length).expect("checked above");
                label = at;
            } else if is_plain(octet) {
                // One octet is reserved for the root label.
                if at >= NAME_OCTETS_MAX - 1 {
                    return Err(NameError::NameTooLong);
                }
                self.octets[at] = octet.to_ascii_lowercase();
            } else {
                return Err(NameError::Character(char::from(octet)));
            }
        }
        self.octets[label] = 0;
        Ok(NameRef(&self.octets[..=label]))
    }
}

/// Whether an octet of a label is written as it is.
fn is_plain(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_'
}

/// The octets of a label with escapes.
fn unescaped(label: &str) -> Result<Vec<u8>, NameError> {
    let mut octets = Vec::with_capacity(label.len());
    let mut rest = label.bytes();
    while let Some(octet) = rest.next() {
        if octet == b'\\' {
            let digits: Vec<u8> = rest.by_ref().take(3).collect();
            let is_number = digits.len() == 3 && digits.iter().all(u8::is_ascii_digit);
            let number = str::from_utf8(&digits).ok().filter(|_| is_number);
            let number = number.and_then(|number| number.parse::<u8>().ok());
            octets.push(
                number
                    .ok_or(NameError::Character('\\'))?
                    .to_ascii_lowercase(),
            );
        } else if is_plain(octet) {
            octets.push(octet.to_ascii_lowercase());
        } else {
            return Err(NameError::Character(char::from(octet)));
        }
    }
    Ok(octets)
}

/// Text without the trailing dot. Octets other than letters, digits, `-` and `_` are written as
/// `\DDD` (RFC 1035 section 5.1).
impl fmt::Display for NameRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        for (position, label) in self.labels().enumerate() {
            if position > 0 {
                f.write_str(".")?;
            }
            for &octet in label {
                if is_plain(octet) {
                    write!(f, "{}", char::from(octet))?;
                } else {
                    write!(f, "\\{octet:03}")?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.borrow().fmt(f)
    }
}

impl fmt::Debug for NameRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::of_presentation(&text)
            .map_err(|error| serde::de::Error::custom(format!("{text:?}: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, canonical: Result<&str, NameError>) {
        assert_eq!(
            Name::parse(text).map(|name| name.to_string()),
            canonical.map(str::to_owned),
            "{text:?}"
        );
    }

    #[test]
    fn text_becomes_one_canonical_form() {
        check("Ads.Example.COM.", Ok("ads.example.com"));
        check(" x.y ", Ok("x.y"));
        check("_dmarc.example.com", Ok("_dmarc.example.com"));
        check("bücher.example", Ok("xn--bcher-kva.example"));
        check("BÜCHER.example", Ok("xn--bcher-kva.example"));
        check(".", Ok("."));
        check("", Err(NameError::Empty));
        check("a..b", Err(NameError::EmptyLabel));
        check(".a", Err(NameError::EmptyLabel));
        check("a/b", Err(NameError::Character('/')));
        check("*.a", Err(NameError::Character('*')));
        check(
            &format!("{}.a", "x".repeat(63)),
            Ok(&format!("{}.a", "x".repeat(63))),
        );
        check(&"x".repeat(64), Err(NameError::LabelTooLong));
        // 4 × 62 octets with their length octets, 2 more, and the root: 255. One more octet is too
        // many.
        let longest = format!("{}a", format!("{}.", "x".repeat(62)).repeat(4));
        assert_eq!(Name::parse(&longest).unwrap().borrow().wire().len(), 255);
        check(&format!("{longest}a"), Err(NameError::NameTooLong));
        check(
            &"a.".repeat(127),
            Ok("a.".repeat(127).trim_end_matches('.')),
        );
        check(&"a.".repeat(128), Err(NameError::NameTooLong));
    }

    #[test]
    fn escapes_are_read_and_odd_ones_refused() {
        let read = |text| Name::of_presentation(text).map(|name| name.to_string());
        assert_eq!(
            read("Living\\032Room.example."),
            Ok("living\\032room.example".to_owned())
        );
        assert_eq!(read("\\065.example"), Ok("a.example".to_owned()));
        assert_eq!(read("\\046.example"), Ok("\\046.example".to_owned()));
        for text in ["\\03", "\\256.example", "\\03x", "\\+12", "a\\"] {
            assert_eq!(read(text), Err(NameError::Character('\\')), "{text}");
        }
        assert_eq!(read("\\032..example"), Err(NameError::EmptyLabel));
        assert_eq!(read("\\032 .example"), Err(NameError::Character(' ')));
        assert_eq!(read(&"\\032".repeat(64)), Err(NameError::LabelTooLong));
        let plain = Name::parse("_a-1.example").unwrap();
        let odd = Name::of_presentation("a\\000.example").unwrap();
        assert!(plain.borrow().is_plain() && !odd.borrow().is_plain());
    }

    #[test]
    fn a_name_is_within_itself_and_its_parents_only() {
        let name = Name::parse("not.example.com").unwrap();
        let is_within = |text| name.borrow().is_within(Name::parse(text).unwrap().borrow());
        assert!(
            is_within("not.example.com")
                && is_within("example.com")
                && is_within("com")
                && is_within(".")
        );
        assert!(
            !is_within("xample.com")
                && !is_within("a.not.example.com")
                && !is_within("t.example.com")
        );
        // A label may have the octets of a longer name's end.
        let top = Name::parse("com").unwrap();
        for wire in [b"\x04\x03com\x00".as_slice(), b"\x05x\x03com\x00"] {
            let odd = NameRef::from_wire(wire).unwrap();
            assert!(!odd.is_within(top.borrow()), "{wire:?}");
        }
    }

    proptest! {
        #[test]
        fn any_wire_name_survives_its_key(labels in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..10)) {
            let mut wire = Vec::new();
            for label in &labels {
                wire.push(u8::try_from(label.len()).unwrap());
                wire.extend(label.to_ascii_lowercase());
            }
            wire.push(0);
            let name = NameRef::from_wire(&wire).unwrap();
            let mut key = Vec::new();
            name.write_key(&mut key);
            prop_assert_eq!(name_of_key(&key).unwrap(), name.to_owned());
        }

        /// A device may ask for any octets, and what the program keeps of that must be readable.
        #[test]
        fn any_name_that_is_stored_is_read_again(labels in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..10)) {
            let labels = labels.iter().map(|label| label.to_ascii_lowercase());
            let lengths = labels.map(|label| [vec![u8::try_from(label.len()).unwrap()], label].concat());
            let wire = [lengths.collect::<Vec<_>>().concat(), vec![0]].concat();
            let name = NameRef::from_wire(&wire).unwrap().to_owned();
            let stored = serde_json::to_string(&name).unwrap();
            prop_assert_eq!(serde_json::from_str::<Name>(&stored).unwrap(), name);
        }

        #[test]
        fn a_name_is_within_exactly_its_ancestors(
            lengths in prop::collection::vec(1_u8..4, 0..8),
            others in prop::collection::vec(1_u8..4, 0..4),
        ) {
            // Labels that look like the length octets of others.
            let wire = |lengths: &[u8]| {
                let labels = lengths.iter().flat_map(|length| vec![*length; usize::from(*length) + 1]);
                labels.chain([0]).collect::<Vec<u8>>()
            };
            let (name, other) = (wire(&lengths), wire(&others));
            let name = NameRef::from_wire(&name).unwrap();
            let other = NameRef::from_wire(&other).unwrap();
            let is_ancestor = other.is_root() || name.ancestors().any(|above| above == other);
            prop_assert_eq!(name.is_within(other), is_ancestor);
        }

        #[test]
        fn no_text_panics(text in any::<Vec<u8>>()) {
            let _ = NameBuffer::new().parse(&text);
            let _ = NameRef::from_wire(&text);
            let _ = name_of_key(&text);
        }
    }
}
