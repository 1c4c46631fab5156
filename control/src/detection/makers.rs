//! Makers of devices, recognised by the names that their devices ask for, or give themselves at a
//! DHCP server. The names are data:
//! `makers.toml`.

use std::{collections::HashMap, sync::LazyLock};

use policy::name::{Name, NameRef};
use serde::Deserialize;

/// The shipped makers.
const SHIPPED: &str = include_str!("../../makers.toml");

/// A maker, and a kind of its devices.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Maker {
    pub name: String,
    /// What such a device usually is.
    pub kind: String,
    /// The seat of the maker, ISO 3166-1.
    pub country: String,
    /// The beginnings of the maker's names in the IEEE register, in any letter case.
    #[serde(default)]
    register: Vec<String>,
    /// The beginnings of words in the names that its devices give to a DHCP server, lower case.
    #[serde(default)]
    dhcp: Vec<String>,
    /// Suffixes of the names that its devices ask for.
    names: Vec<Name>,
}

/// All makers.
#[derive(Debug)]
pub struct Makers {
    makers: Vec<Maker>,
    names: HashMap<Name, usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    maker: Vec<Maker>,
}

impl Makers {
    #[must_use]
    pub fn shipped() -> &'static Self {
        static MAKERS: LazyLock<Makers> =
            LazyLock::new(|| Makers::read(SHIPPED).expect("a test reads what is shipped"));
        &MAKERS
    }

    fn read(document: &str) -> Result<Self, toml::de::Error> {
        let Document { maker: makers } = toml::from_str(document)?;
        let names = (0..).zip(&makers).flat_map(|(place, maker)| {
            let names = maker.names.iter().cloned();
            names.map(move |name| (name, place))
        });
        Ok(Self {
            names: names.collect(),
            makers,
        })
    }

    /// The maker whose devices ask for a name, by the longest suffix.
    #[must_use]
    pub fn by_name(&self, name: NameRef<'_>) -> Option<&Maker> {
        let place = name
            .ancestors()
            .find_map(|ancestor| self.names.get(&ancestor.to_owned()))?;
        Some(&self.makers[*place])
    }

    /// The maker whose devices give such a name to a DHCP server: `Ellas-iPhone`, `LAPTOP-4F2K`.
    #[must_use]
    pub fn by_dhcp_name(&self, name: &str) -> Option<&Maker> {
        let name = name.to_lowercase();
        let words: Vec<&str> = name
            .split(|letter: char| !letter.is_alphanumeric())
            .collect();
        self.makers.iter().find(|maker| {
            let mut beginnings = maker.dhcp.iter();
            beginnings.any(|beginning| {
                words
                    .iter()
                    .any(|word| word.starts_with(beginning.as_str()))
            })
        })
    }

    /// The maker with a name of the IEEE register.
    #[must_use]
    pub fn by_registered(&self, registered: &str) -> Option<&Maker> {
        self.makers.iter().find(|maker| {
            let mut beginnings = maker.register.iter();
            beginnings.any(|beginning| {
                let start = registered.get(..beginning.len());
                start.is_some_and(|start| start.eq_ignore_ascii_case(beginning))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use policy::lists::public_suffix::{SuffixKind, public_suffix};

    use super::*;

    #[test]
    fn the_shipped_names_are_many_and_each_is_one_makers() {
        let makers = Makers::read(SHIPPED).unwrap();
        let all: Vec<&Name> = makers
            .makers
            .iter()
            .flat_map(|maker| &maker.names)
            .collect();
        assert!(all.len() >= 150, "{}", all.len());
        assert_eq!(all.len(), makers.names.len(), "no name stands twice");
        for name in all {
            // A maker's own domain may be a suffix of its customers' names.
            let kind = public_suffix(name.borrow());
            let is_suffix = matches!(kind, Some(SuffixKind::TopLevel | SuffixKind::Registry));
            assert!(!is_suffix, "{name}");
        }
        for maker in &makers.makers {
            assert!(maker.country.len() == 2, "{maker:?}");
            let is_word = |word: &String| word.len() >= 3 && *word == word.to_lowercase();
            assert!(maker.dhcp.iter().all(is_word), "{maker:?}");
            assert!(
                !maker.kind.is_empty() && !maker.name.is_empty(),
                "{maker:?}"
            );
        }
        let pairs: BTreeSet<_> = makers
            .makers
            .iter()
            .map(|maker| (&maker.name, &maker.kind))
            .collect();
        assert_eq!(pairs.len(), makers.makers.len(), "no pair stands twice");
    }

    #[test]
    fn a_maker_is_found_by_the_longest_suffix_and_by_the_register() {
        let kind = |name: &str| {
            let name = Name::parse(name).unwrap();
            let maker = Makers::shipped().by_name(name.borrow());
            maker.map(|maker| (maker.name.as_str(), maker.kind.as_str()))
        };
        assert_eq!(kind("fw.ring.com"), Some(("Ring", "doorbell or camera")));
        assert_eq!(
            kind("eu.captive.apple.com").map(|pair| pair.0),
            Some("Apple")
        );
        assert_eq!(kind("www.apple.com"), None, "asked for by everything");
        assert_eq!(kind("notring.com"), None);
        let called = |name| {
            Makers::shipped()
                .by_dhcp_name(name)
                .map(|maker| &*maker.kind)
        };
        assert_eq!(called("DESKTOP-4F2K"), Some("Windows computer"));
        assert_eq!(called("android-1234"), Some("Android phone or tablet"));
        assert_eq!(called("SonosZP"), Some("speaker"));
        assert_eq!(called("myiphone"), None, "a word begins with it");
        assert_eq!(called(""), None);
        let registered = |name| Makers::shipped().by_registered(name);
        assert_eq!(registered("Sonos, Inc.").unwrap().kind, "speaker");
        assert_eq!(registered("TP-LINK TECHNOLOGIES").unwrap().name, "TP-Link");
        assert_eq!(registered("Unheard Of Ltd"), None);
    }
}
