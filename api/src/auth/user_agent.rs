//! What a browser tells of itself, as a parent knows it: “Firefox”, “Android”.
//!
//! The header is text of the client, so only words of this file are kept of it. It is not trusted:
//! it tells sessions apart for people, and decides nothing. Libraries that read it bring tables of
//! thousands of patterns, for versions and makers that nothing here shows.

use axum::http::{HeaderMap, HeaderValue, header};
use policy_store::ToldBrowser;

/// Browsers by a mark in the header. Browsers also name those that they descend from, so the first
/// mark that is found counts.
const BROWSERS: [(&str, &str); 14] = [
    ("Edg/", "Edge"),
    ("EdgA/", "Edge"),
    ("EdgiOS/", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("DuckDuckGo/", "DuckDuckGo"),
    ("Ddg/", "DuckDuckGo"),
    ("Vivaldi/", "Vivaldi"),
    ("FxiOS/", "Firefox"),
    ("Firefox/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chromium/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
];

/// Systems, as [`BROWSERS`].
const SYSTEMS: [(&str, &str); 8] = [
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Macintosh", "Mac"),
    ("Linux", "Linux"),
    ("X11", "Linux"),
];

/// What the `User-Agent` of a request tells.
pub fn told(headers: &HeaderMap) -> ToldBrowser {
    let agent = headers.get(header::USER_AGENT);
    let agent = agent.map_or(&[][..], HeaderValue::as_bytes);
    let first = |words: &[(&str, &'static str)]| {
        let has = |mark: &str| {
            agent
                .windows(mark.len())
                .any(|part| part == mark.as_bytes())
        };
        let found = words.iter().find(|(mark, _)| has(mark));
        found.map(|(_, word)| *word)
    };
    ToldBrowser {
        browser: first(&BROWSERS),
        system: first(&SYSTEMS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(agent: &str) -> (Option<&'static str>, Option<&'static str>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, agent.parse().unwrap());
        let ToldBrowser { browser, system } = told(&headers);
        (browser, system)
    }

    #[test]
    fn usual_browsers_are_named_as_people_know_them() {
        let webkit = "AppleWebKit/537.36 (KHTML, like Gecko)";
        for (agent, browser, system) in [
            (
                "Mozilla/5.0 (Android 16; Mobile; rv:150.0) Gecko/150.0 Firefox/150.0",
                "Firefox",
                "Android",
            ),
            (
                &format!(
                    "Mozilla/5.0 (Linux; Android 10; K) {webkit} Chrome/150.0.0.0 Mobile Safari/537.36"
                ),
                "Chrome",
                "Android",
            ),
            (
                &format!(
                    "Mozilla/5.0 (Linux; Android 10; K) {webkit} SamsungBrowser/30.0 Chrome/130.0.0.0 Mobile Safari/537.36"
                ),
                "Samsung Internet",
                "Android",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.0 Mobile/15E148 Safari/604.1",
                "Safari",
                "iPhone",
            ),
            (
                "Mozilla/5.0 (iPad; CPU OS 19_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/150.0 Mobile/15E148 Safari/604.1",
                "Chrome",
                "iPad",
            ),
            (
                &format!(
                    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) {webkit} Chrome/150.0.0.0 Safari/537.36 Edg/150.0.0.0"
                ),
                "Edge",
                "Windows",
            ),
            (
                &format!(
                    "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {webkit} Chrome/150.0.0.0 Safari/537.36"
                ),
                "Chrome",
                "ChromeOS",
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.0 Safari/605.1.15",
                "Safari",
                "Mac",
            ),
        ] {
            assert_eq!(of(agent), (Some(browser), Some(system)), "{agent}");
        }
    }

    #[test]
    fn nothing_of_the_clients_own_text_is_kept() {
        assert_eq!(of("<script>alert(1)</script>"), (None, None));
        assert_eq!(of("Firefox"), (None, None));
        assert_eq!(
            of("<b>Firefox/1</b> Linux"),
            (Some("Firefox"), Some("Linux"))
        );
        assert_eq!(told(&HeaderMap::new()), ToldBrowser::default());
    }
}
