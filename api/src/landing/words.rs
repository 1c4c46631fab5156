//! The words of the block page, in English and Welsh.

use policy::{
    category::{Category, CategorySet, Taxonomy},
    decide::Layer,
};

/// The language of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    English,
    Welsh,
}

/// The texts of a page in one language.
pub(super) struct Words {
    /// The language's tag (BCP 47).
    pub tag: &'static str,
    pub blocked: &'static str,
    pub not_blocked: &'static str,
    pub not_blocked_text: &'static str,
    pub nothing: &'static str,
    pub nothing_text: &'static str,
    pub site: &'static str,
    pub category: &'static str,
    pub why: &'static str,
    pub no_password: &'static str,
    pub ask: &'static str,
    pub ask_text: &'static str,
    pub ask_in_app: &'static str,
    pub reason: &'static str,
    pub send: &'static str,
    pub asked: &'static str,
    pub asked_text: &'static str,
    pub report: &'static str,
    pub report_text: &'static str,
    pub reported: &'static str,
    pub reported_text: &'static str,
    pub failed: &'static str,
    pub too_often: &'static str,
    pub refused: &'static str,
    pub back: &'static str,
}

const ENGLISH: Words = Words {
    tag: "en-GB",
    blocked: "This site is blocked",
    not_blocked: "This site is not blocked for this home",
    not_blocked_text: "It may be blocked by the rules of one person or device, or the block has just been lifted: try again in half a minute.",
    nothing: "This is the block page of your Internet provider",
    nothing_text: "Blocked sites lead here. This page says what is blocked, and why.",
    site: "Site",
    category: "Category",
    why: "Why",
    no_password: "This page never asks for a password.",
    ask: "Ask for this site",
    ask_text: "The parents of this home read your question at once.",
    ask_in_app: "Ask in the family's app",
    reason: "Why do you need it? (optional)",
    send: "Send",
    asked: "Your question is with your parents",
    asked_text: "When they say yes, the site works within half a minute.",
    report: "Report a mistake",
    report_text: "If the site is in the wrong category, say so. Your provider reads each report.",
    reported: "Thank you. Your provider reads each report.",
    reported_text: "The number of your report:",
    failed: "That did not work",
    too_often: "Please wait a minute and try again.",
    refused: "This form can only be sent from the block page itself.",
    back: "Back",
};

const WELSH: Words = Words {
    tag: "cy",
    blocked: "Mae'r wefan hon wedi'i rhwystro",
    not_blocked: "Nid yw'r wefan hon wedi'i rhwystro ar gyfer y cartref hwn",
    not_blocked_text: "Efallai fod rheolau un person neu ddyfais yn ei rhwystro, neu fod y rhwystr newydd gael ei godi: rhowch gynnig arall arni mewn hanner munud.",
    nothing: "Dyma dudalen rwystro eich darparwr rhyngrwyd",
    nothing_text: "Mae gwefannau sydd wedi'u rhwystro yn arwain yma. Mae'r dudalen hon yn dweud beth sydd wedi'i rwystro, a pham.",
    site: "Gwefan",
    category: "Categori",
    why: "Pam",
    no_password: "Nid yw'r dudalen hon byth yn gofyn am gyfrinair.",
    ask: "Gofyn am y wefan hon",
    ask_text: "Mae rhieni'r cartref hwn yn darllen eich cwestiwn ar unwaith.",
    ask_in_app: "Gofyn yn ap y teulu",
    reason: "Pam mae ei hangen arnoch? (dewisol)",
    send: "Anfon",
    asked: "Mae eich cwestiwn gyda'ch rhieni",
    asked_text: "Pan fyddant yn cytuno, bydd y wefan yn gweithio o fewn hanner munud.",
    report: "Rhoi gwybod am gamgymeriad",
    report_text: "Os yw'r wefan yn y categori anghywir, dywedwch. Mae eich darparwr yn darllen pob adroddiad.",
    reported: "Diolch. Mae eich darparwr yn darllen pob adroddiad.",
    reported_text: "Rhif eich adroddiad:",
    failed: "Ni weithiodd hynny",
    too_often: "Arhoswch funud a rhowch gynnig arall arni.",
    refused: "Dim ond o'r dudalen rwystro ei hun y gellir anfon y ffurflen hon.",
    back: "Yn ôl",
};

impl Language {
    /// The language of a household's `locale`, else the first of `Accept-Language` that this page
    /// has, else English.
    pub(super) fn choose(locale: Option<&str>, accepted: Option<&str>) -> Self {
        let of = |tag: &str| {
            let primary = tag.trim().split(['-', '_', ';']).next().unwrap_or_default();
            match primary.to_ascii_lowercase().as_str() {
                "cy" => Some(Self::Welsh),
                "en" => Some(Self::English),
                _ => None,
            }
        };
        locale
            .and_then(of)
            .or_else(|| accepted?.split(',').find_map(of))
            .unwrap_or(Self::English)
    }

    pub(super) fn words(self) -> &'static Words {
        match self {
            Self::English => &ENGLISH,
            Self::Welsh => &WELSH,
        }
    }

    /// What a category is called.
    pub(super) fn title(self, category: &Category) -> &str {
        match (self, &category.welsh) {
            (Self::Welsh, Some(texts)) => &texts.title,
            _ => &category.title,
        }
    }

    /// What the categories of a set are called.
    pub(super) fn titles(self, taxonomy: &Taxonomy, categories: CategorySet) -> String {
        let titles = categories
            .iter()
            .map(|id| self.title(taxonomy.category(id)));
        titles.collect::<Vec<_>>().join(", ")
    }

    /// Whose choice the block is, by the layer that decided and the level where the setting is.
    pub(super) fn whose(self, layer: Layer, level: Option<&str>) -> &'static str {
        let (english, welsh) = match (layer, level) {
            (Layer::Mandatory, _) => (
                "An order obliges your provider to block it for everybody. Your family cannot lift it.",
                "Mae gorchymyn yn gorfodi eich darparwr i'w rhwystro i bawb. Ni all eich teulu ei chodi.",
            ),
            (Layer::Security, _) => (
                "It is dangerous: your provider blocks it for everybody's safety.",
                "Mae'n beryglus: mae eich darparwr yn ei rhwystro er diogelwch pawb.",
            ),
            (Layer::DeviceDeny, _) | (Layer::Category, Some("device")) => (
                "Your family blocked it for this device.",
                "Eich teulu a'i rhwystrodd ar gyfer y ddyfais hon.",
            ),
            (Layer::PersonDeny, _) | (Layer::Category, Some("person")) => (
                "Your family blocked it for the person who uses this device.",
                "Eich teulu a'i rhwystrodd ar gyfer y person sy'n defnyddio'r ddyfais hon.",
            ),
            (Layer::HouseholdDeny, _) | (Layer::Category, Some("household")) => (
                "Your family blocked it for this home.",
                "Eich teulu a'i rhwystrodd ar gyfer y cartref hwn.",
            ),
            (Layer::Category, Some("preset")) => (
                "It belongs to the level of filtering that your family chose.",
                "Mae'n perthyn i'r lefel hidlo a ddewisodd eich teulu.",
            ),
            (Layer::Category, _) => (
                "Your provider blocks this until your family has chosen.",
                "Mae eich darparwr yn rhwystro hyn nes bod eich teulu wedi dewis.",
            ),
            (Layer::Paused, _) => (
                "The Internet is paused for now, as your family set it.",
                "Mae'r rhyngrwyd wedi'i oedi am y tro, fel y gosododd eich teulu.",
            ),
            (Layer::Thing, _) => (
                "Your family decides which places this device may reach.",
                "Eich teulu sy'n penderfynu pa leoedd y caiff y ddyfais hon eu cyrraedd.",
            ),
            (Layer::SafeSearchDeny, _) => (
                "Your family switched safe search on, which this address does not have.",
                "Trodd eich teulu chwilio diogel ymlaen; nid yw ar gael yn y cyfeiriad hwn.",
            ),
            _ => (
                "Your family's filter blocks it.",
                "Mae hidlydd eich teulu yn ei rhwystro.",
            ),
        };
        match self {
            Self::English => english,
            Self::Welsh => welsh,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_household_s_language_goes_before_the_browser_s() {
        let choose = Language::choose;
        assert_eq!(
            choose(Some("cy-GB"), Some("en-GB,en;q=0.8")),
            Language::Welsh
        );
        assert_eq!(
            choose(None, Some("fr, cy;q=0.9, en;q=0.8")),
            Language::Welsh
        );
        assert_eq!(choose(Some("pl"), Some("cy")), Language::Welsh);
        assert_eq!(choose(Some("pl"), Some("de")), Language::English);
        assert_eq!(choose(None, None), Language::English);
    }
}
