//! The block page: what blocked names lead to, where `dns.blocked_answer` is `landing`.
//!
//! ```text
//! Host -> name    client's address -> household, device
//!   explain: the verdict of the data path -> page: what, which category, whose choice
//!                                              ask (a known device) · report a mistake
//! ```
//!
//! The page shows what the rules of the client's own line decide, and nothing of any other home. It
//! has no script, sets no cookie, and asks for no password.

mod page;
mod words;

use std::{net::IpAddr, num::NonZeroU32, sync::Arc};

use axum::{
    Extension, Router,
    extract::{DefaultBodyLimit, Form, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, uri::Authority},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use control::{
    explain::{Sight, compose},
    households::{subscriber::Subscriber, write::read_with_rules},
};
use jiff::Timestamp;
use policy::{
    decide::Layer,
    name::Name,
    rules::household::{Id, IdError},
    text::{REFUSAL, Text},
};
use serde::Deserialize;

use self::{
    page::{ASK_PATH, Block, Pages, REPORT_PATH, STYLE_PATH},
    words::Language,
};
use crate::{
    Context,
    auth::limits::counted,
    client_address::{self, ClientAddress},
    panics,
    problem::Problem,
    report_intake::AddressLimiter,
    routes::{
        reports::{self, ReportBody},
        requests::{self, RequestBody},
    },
};

/// Pages that one address may read in a minute. Names of advertisers that pages embed do not count:
/// browsers do not ask for a page there.
const PAGES_PER_MINUTE: NonZeroU32 = NonZeroU32::new(120).expect("it is 120");
/// The longest form, in octets.
const FORM_OCTETS_MAX: usize = 4 << 10;
/// The record type by which a name is judged: A (RFC 1035 section 3.2.2).
const TYPE_A: u16 = 1;
/// How requests name the page as their author.
const ASKED_BY: &str = "block-page";
/// What the page may load: its style, and nothing else.
const POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// The block page of a node.
struct Landing {
    context: Arc<Context>,
    /// Where the parents' app is, for families whose devices the page does not know.
    app: Option<String>,
    /// How often an address may read the page.
    readers: AddressLimiter,
}

/// What a form says.
#[derive(Deserialize)]
struct Note {
    #[serde(default)]
    reason: String,
}

/// The visitor of a page: the line by its address, and what the device's browser says.
struct Visitor {
    /// The name in the address bar. `None` if it is an address or no name.
    name: Option<Name>,
    subscriber: Option<Subscriber>,
    language: Language,
}

/// The pages of a listener. `app` is the address of the parents' app.
pub fn router(context: Arc<Context>, app: Option<String>) -> Router {
    let landing = Arc::new(Landing {
        context,
        app,
        readers: AddressLimiter::new(PAGES_PER_MINUTE),
    });
    Router::new()
        .route(STYLE_PATH, get(style))
        .route(ASK_PATH, post(ask))
        .route(REPORT_PATH, post(report))
        .fallback(block)
        .layer(DefaultBodyLimit::max(FORM_OCTETS_MAX))
        .layer(middleware::from_fn(protected))
        .layer(middleware::from_fn(panics::caught))
        .with_state(landing)
}

/// The headers of each answer.
async fn protected(request: Request, next: Next) -> Response {
    let mut answer = next.run(request).await;
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // With no-referrer, a browser would not say where a form comes from.
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

async fn style() -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/css; charset=utf-8")],
        include_str!("page.css"),
    )
}

/// Says why the name is blocked. What is not a page, such as a picture or a script, gets no content.
async fn block(State(landing): State<Arc<Landing>>, request: Request) -> Response {
    let (parts, _body) = request.into_parts();
    if !matches!(parts.method, Method::GET | Method::HEAD) || !wants_page(&parts.headers) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let client = client_address::of_request(&parts);
    let visitor = match landing.visitor(client, &parts.headers).await {
        Ok(visitor) => visitor,
        Err(problem) => return landing.refused(&Visitor::unknown(&parts.headers), problem),
    };
    let pages = landing.pages(&visitor);
    match landing.judged(&visitor).await {
        _ if visitor.name.is_none() => (StatusCode::OK, pages.nothing()).into_response(),
        None => (StatusCode::OK, pages.not_blocked()).into_response(),
        Some(block) => {
            // RFC 7725: a legal obstacle.
            let status = match block.layer {
                Layer::Mandatory => StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS,
                _ => StatusCode::FORBIDDEN,
            };
            (status, pages.block(&block)).into_response()
        }
    }
}

/// Asks the parents for the name, on behalf of the device that the address proves.
async fn ask(
    State(landing): State<Arc<Landing>>,
    Extension(ClientAddress(client)): Extension<ClientAddress>,
    headers: HeaderMap,
    Form(note): Form<Note>,
) -> Response {
    landing.take(client, &headers, note, Purpose::Ask).await
}

/// Takes a report that the name is blocked by mistake.
async fn report(
    State(landing): State<Arc<Landing>>,
    Extension(ClientAddress(client)): Extension<ClientAddress>,
    headers: HeaderMap,
    Form(note): Form<Note>,
) -> Response {
    landing.take(client, &headers, note, Purpose::Report).await
}

/// What a form is for.
#[derive(Clone, Copy)]
enum Purpose {
    Ask,
    Report,
}

impl Landing {
    /// The line at an address, and its household's language.
    async fn visitor(&self, client: IpAddr, headers: &HeaderMap) -> Result<Visitor, Problem> {
        self.readers.admit(counted(client))?;
        let control = &self.context.control;
        let subscriber = match control.directory.household_of(client) {
            None => None,
            Some(rules) => {
                let id = rules.id().parse().map_err(|error: IdError| {
                    Problem::value("household", "identifier", error.to_string())
                })?;
                let (household, rules) = read_with_rules(control, &id).await?;
                Some(Subscriber {
                    device: rules.device_by_address(client),
                    household: household.into(),
                    rules,
                    at: Timestamp::now(),
                })
            }
        };
        let locale = subscriber
            .as_ref()
            .and_then(|subscriber| subscriber.household.locale.as_deref());
        Ok(Visitor {
            name: host_name(headers),
            language: Language::choose(locale, accepted_languages(headers)),
            subscriber,
        })
    }

    fn pages<'v>(&'v self, visitor: &'v Visitor) -> Pages<'v> {
        Pages {
            words: visitor.language.words(),
            name: visitor.name.as_ref(),
            asks_here: visitor.device().is_some(),
            app: self.app.as_deref(),
            product: self.context.product_name.as_str(),
        }
    }

    /// What blocks the name for the visitor. `None` if nothing does.
    async fn judged(&self, visitor: &Visitor) -> Option<Block> {
        let control = &self.context.control;
        let name = visitor.name.clone()?;
        let subscriber = visitor.subscriber.as_ref();
        let asker = subscriber.map_or_else(
            || control.directory.unknown_line(),
            |subscriber| subscriber.asker(),
        );
        let household = subscriber.map(|subscriber| &subscriber.household.id);
        let explained = control
            .explainer
            .explain(asker, household, name, TYPE_A, None)
            .await;
        let verdict = explained.verdict;
        let told = compose(
            &explained,
            TYPE_A,
            subscriber,
            &control.taxonomy,
            Sight::Family,
        );
        verdict.is_block().then(|| Block {
            layer: verdict.layer,
            category: visitor
                .language
                .titles(&control.taxonomy, verdict.categories),
            whose: visitor
                .language
                .whose(verdict.layer, told.level(), visitor.device().is_some()),
        })
    }

    /// Takes a form: asks, or reports.
    async fn take(
        &self,
        client: IpAddr,
        headers: &HeaderMap,
        note: Note,
        purpose: Purpose,
    ) -> Response {
        let visitor = match self.visitor(client, headers).await {
            Ok(visitor) => visitor,
            Err(problem) => return self.refused(&Visitor::unknown(headers), problem),
        };
        let pages = self.pages(&visitor);
        if !is_of_this_page(headers) {
            return self.refused(&visitor, another_site());
        }
        let done = match purpose {
            Purpose::Ask => self.ask(&visitor, note).await.map(|()| pages.asked()),
            Purpose::Report => self
                .report(client, &visitor, note)
                .await
                .map(|id| pages.reported(&id)),
        };
        match done {
            Ok(page) => page.into_response(),
            Err(problem) => self.refused(&visitor, problem),
        }
    }

    /// A page with the reason of a refusal, in the visitor's language.
    fn refused(&self, visitor: &Visitor, problem: Problem) -> Response {
        let why = visitor.language.refusal(problem.code());
        let page = self.pages(visitor).failed(why);
        let mut answer = (problem.status(), page).into_response();
        let (said, _) = problem.into_response().into_parts();
        if let Some(wait) = said.headers.get(header::RETRY_AFTER) {
            let wait = wait.clone();
            answer.headers_mut().insert(header::RETRY_AFTER, wait);
        }
        answer.extensions_mut().extend(said.extensions);
        answer
    }

    async fn ask(&self, visitor: &Visitor, note: Note) -> Result<(), Problem> {
        let (household, device) = visitor.device().ok_or_else(|| {
            Problem::not_found("unknown_device", "this page does not know the device")
        })?;
        let body = RequestBody::for_name(visitor.named()?, note.text()?);
        let asked_by = ASKED_BY.to_owned();
        requests::ask(&self.context, household, device, body, asked_by)
            .await
            .map(drop)
    }

    /// Returns the ticket's identifier.
    async fn report(
        &self,
        client: IpAddr,
        visitor: &Visitor,
        note: Note,
    ) -> Result<String, Problem> {
        self.context.reports.admit(counted(client))?;
        let body = ReportBody::about(visitor.named()?, note.text()?);
        reports::take(&self.context, body)
            .await
            .map(|ticket| ticket.id)
    }
}

impl Visitor {
    /// A visitor whose line was not read.
    fn unknown(headers: &HeaderMap) -> Self {
        Self {
            name: host_name(headers),
            subscriber: None,
            language: Language::choose(None, accepted_languages(headers)),
        }
    }

    /// The device that the address proves, and its household.
    fn device(&self) -> Option<(&Id, &Id)> {
        let subscriber = self.subscriber.as_ref()?;
        let (device, _) = subscriber.device()?;
        Some((&subscriber.household.id, device))
    }

    fn named(&self) -> Result<String, Problem> {
        let name = self.name.as_ref().map(Name::to_string);
        name.ok_or_else(|| Problem::value("name", "name", "the page was opened without a name"))
    }
}

impl Note {
    /// The text of the form. `None` if it was left empty.
    fn text(self) -> Result<Option<Text>, Problem> {
        // A browser ends the lines of a form with CR LF; the text is one line.
        let line = self.reason.split_whitespace().collect::<Vec<_>>().join(" ");
        let text: Text = line
            .parse()
            .map_err(|_| Problem::value("reason", "text", REFUSAL))?;
        Ok(Some(text).filter(|text| !text.is_blank()))
    }
}

/// The languages that a browser says it takes.
fn accepted_languages(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::ACCEPT_LANGUAGE)?.to_str().ok()
}

/// The name in the address bar. `None` if it is an address or cannot be a name.
fn host_name(headers: &HeaderMap) -> Option<Name> {
    let host: Authority = headers.get(header::HOST)?.to_str().ok()?.parse().ok()?;
    let host = host.host().trim_matches(['[', ']']);
    match host.parse::<IpAddr>() {
        Ok(_) => None,
        Err(_) => Name::parse(host)
            .ok()
            .filter(|name| !name.borrow().is_root()),
    }
}

/// Whether a browser asks for a page to show, and not for a part of one.
fn wants_page(headers: &HeaderMap) -> bool {
    let said = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let is_document = said(HeaderName::from_static("sec-fetch-dest"))
        .is_none_or(|destination| matches!(destination, "document" | "iframe" | "frame"));
    let takes_html = said(header::ACCEPT)
        .is_none_or(|accepted| accepted.contains("text/html") || accepted.trim() == "*/*");
    is_document && takes_html
}

/// 403 for a form that another site's page sends.
fn another_site() -> Problem {
    let detail = "the form was not sent from the block page";
    Problem::new(StatusCode::FORBIDDEN, "csrf", detail)
}

/// Whether a form was sent from the block page, as far as the browser says: another site's page must
/// not ask in a child's name.
fn is_of_this_page(headers: &HeaderMap) -> bool {
    let said = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    if let Some(site) = said(HeaderName::from_static("sec-fetch-site")) {
        return site == "same-origin";
    }
    let (Some(origin), Some(host)) = (said(header::ORIGIN), said(header::HOST)) else {
        return false;
    };
    let of_origin = origin.split_once("://").map(|(_, authority)| authority);
    of_origin.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers<const N: usize>(pairs: [(&'static str, &'static str); N]) -> HeaderMap {
        let pairs = pairs.map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        pairs.into_iter().collect()
    }

    #[test]
    fn parts_of_pages_are_told_from_pages() {
        let of_browser = "text/html,application/xhtml+xml,*/*;q=0.8";
        assert!(wants_page(&headers([("accept", of_browser)])));
        assert!(wants_page(&headers([("accept", "*/*")])));
        assert!(wants_page(&headers([])));
        assert!(!wants_page(&headers([("accept", "image/avif,*/*;q=0.8")])));
        let script = [("accept", "*/*"), ("sec-fetch-dest", "script")];
        assert!(!wants_page(&headers(script)));
    }

    #[test]
    fn a_form_of_another_site_is_told_from_ours() {
        let host = ("host", "casino.example");
        let ours = ("origin", "http://casino.example");
        assert!(is_of_this_page(&headers([host, ours])));
        assert!(is_of_this_page(&headers([
            host,
            ("sec-fetch-site", "same-origin")
        ])));
        for other in [
            "http://evil.example",
            "null",
            "http://casino.example.evil.example",
        ] {
            assert!(
                !is_of_this_page(&headers([host, ("origin", other)])),
                "{other}"
            );
        }
        for site in ["cross-site", "same-site", "none"] {
            let sent = [host, ours, ("sec-fetch-site", site)];
            assert!(!is_of_this_page(&headers(sent)), "{site}");
        }
        // A client that says nothing is no browser of today.
        assert!(!is_of_this_page(&headers([host])));
    }

    #[test]
    fn only_names_are_looked_up() {
        let named = |host| host_name(&headers([("host", host)])).map(|name| name.to_string());
        assert_eq!(
            named("WWW.Casino.Example:8081").as_deref(),
            Some("www.casino.example")
        );
        assert_eq!(named("192.0.2.1:80"), None);
        assert_eq!(named("[2001:db8::1]"), None);
        assert_eq!(named("a..b"), None);
    }
}
