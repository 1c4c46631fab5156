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
    pub report_mistake: &'static str,
    pub report_order: &'static str,
    pub reported: &'static str,
    pub reported_text: &'static str,
    pub failed: &'static str,
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
    report_mistake: "If you think that this is a mistake of your provider, say so. Your provider reads each report.",
    report_order: "If you think that the order is not about this site, say so. Your provider reads each report.",
    reported: "Thank you. Your provider reads each report.",
    reported_text: "The number of your report:",
    failed: "That did not work",
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
    report_mistake: "Os ydych yn meddwl mai camgymeriad eich darparwr yw hyn, dywedwch. Mae eich darparwr yn darllen pob adroddiad.",
    report_order: "Os ydych yn meddwl nad yw'r gorchymyn yn ymwneud â'r wefan hon, dywedwch. Mae eich darparwr yn darllen pob adroddiad.",
    reported: "Diolch. Mae eich darparwr yn darllen pob adroddiad.",
    reported_text: "Rhif eich adroddiad:",
    failed: "Ni weithiodd hynny",
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

    /// Why the page refuses what a form asks, by the code of the problem. The problem's own detail is
    /// English, and for programs.
    pub(super) fn refusal(self, code: &str) -> &'static str {
        let (english, welsh) = match code {
            "csrf" => (
                "This form can only be sent from the block page itself.",
                "Dim ond o'r dudalen rwystro ei hun y gellir anfon y ffurflen hon.",
            ),
            "rate" => (
                "Please wait a minute and try again.",
                "Arhoswch funud a rhowch gynnig arall arni.",
            ),
            "requests_limit" => (
                "Too many questions wait for an answer, or this device has asked too often today. \
                 Talk to your parents, or ask again tomorrow.",
                "Mae gormod o gwestiynau'n aros am ateb, neu mae'r ddyfais hon wedi gofyn yn rhy aml \
                 heddiw. Siaradwch â'ch rhieni, neu gofynnwch eto yfory.",
            ),
            "reports_limit" => (
                "Your provider has too many reports at the moment. Please try again tomorrow.",
                "Mae gan eich darparwr ormod o adroddiadau ar hyn o bryd. Rhowch gynnig arall arni yfory.",
            ),
            "not_blocked" => (
                "This site is not blocked for this device. Try to open it again in half a minute.",
                "Nid yw'r wefan hon wedi'i rhwystro ar gyfer y ddyfais hon. Ceisiwch ei hagor eto mewn \
                 hanner munud.",
            ),
            "mandatory" => (
                "An order obliges your provider to block this site. Your family cannot lift it.",
                "Mae gorchymyn yn gorfodi eich darparwr i rwystro'r wefan hon. Ni all eich teulu ei chodi.",
            ),
            "safe_search" => (
                "Safe search blocks this site. Your parents can change safe search, but not by a question.",
                "Chwilio diogel sy'n rhwystro'r wefan hon. Gall eich rhieni newid chwilio diogel, ond nid \
                 drwy gwestiwn.",
            ),
            "public_suffix" | "name" => (
                "This page can only ask for the name of one site.",
                "Dim ond am enw un wefan y gall y dudalen hon ofyn.",
            ),
            "text" => (
                "The text has characters that cannot be sent. Please use plain letters.",
                "Mae nodau na ellir eu hanfon yn y testun. Defnyddiwch lythrennau plaen.",
            ),
            "limit" => (
                "The text is too long. Please write less.",
                "Mae'r testun yn rhy hir. Ysgrifennwch lai.",
            ),
            "unknown_device" | "unknown_household" => (
                "This page does not know this device. Ask in the family's app.",
                "Nid yw'r dudalen hon yn adnabod y ddyfais hon. Gofynnwch yn ap y teulu.",
            ),
            _ => (
                "Your provider could not take it. Please try again later.",
                "Ni allai eich darparwr ei dderbyn. Rhowch gynnig arall arni yn nes ymlaen.",
            ),
        };
        match self {
            Self::English => english,
            Self::Welsh => welsh,
        }
    }

    /// Whose choice the block is, by the layer that decided and the level where the setting is. A
    /// device without a name has the rules of those that have none, and no person.
    pub(super) fn whose(self, layer: Layer, level: Option<&str>, is_named: bool) -> &'static str {
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
            (Layer::PersonDeny, _) | (Layer::Category, Some("person")) if !is_named => (
                "Your family blocked it for devices that it has not named.",
                "Eich teulu a'i rhwystrodd ar gyfer dyfeisiau nad yw wedi'u henwi.",
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
    fn each_refusal_is_said_in_the_page_s_language() {
        let codes = [
            "csrf",
            "rate",
            "requests_limit",
            "reports_limit",
            "not_blocked",
            "mandatory",
            "safe_search",
            "public_suffix",
            "text",
            "limit",
            "unknown_device",
            "store_failed",
        ];
        let said = |language: Language| codes.map(|code| language.refusal(code));
        let (english, welsh) = (said(Language::English), said(Language::Welsh));
        let mut all: Vec<_> = english.into_iter().chain(welsh).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 2 * codes.len(), "{all:#?}");
        // A limit of a day is not over in a minute.
        assert!(english[1].contains("minute") && !english[2].contains("minute"));
        assert!(english[2].contains("tomorrow"));
    }

    #[test]
    fn a_device_without_a_name_has_no_person() {
        let whose = |layer, level, is_named| Language::English.whose(layer, level, is_named);
        for (layer, level) in [(Layer::PersonDeny, None), (Layer::Category, Some("person"))] {
            assert!(whose(layer, level, true).contains("the person who uses this device"));
            let unnamed = whose(layer, level, false);
            assert_eq!(
                unnamed,
                "Your family blocked it for devices that it has not named."
            );
        }
        let home = |is_named| whose(Layer::HouseholdDeny, None, is_named);
        assert_eq!(home(true), home(false));
    }

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
