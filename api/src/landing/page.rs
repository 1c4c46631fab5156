//! The HTML of the block page. Texts from outside are escaped by `maud`, and a name is shown as
//! A-labels, so that no letter can pass for another one.

use axum::response::Html;
use maud::{DOCTYPE, Markup, html};
use policy::{decide::Layer, name::Name};

use super::words::Words;

/// The paths of the page's own parts. A blocked site cannot have them: they are ours at its name.
pub(super) const STYLE_PATH: &str = "/.well-known/ox-protect/page.css";
pub(super) const ASK_PATH: &str = "/.well-known/ox-protect/ask";
pub(super) const REPORT_PATH: &str = "/.well-known/ox-protect/report";

/// Why a name is blocked, in words.
pub(super) struct Block {
    pub layer: Layer,
    /// The categories for which it is blocked; empty if none is the reason.
    pub category: String,
    /// Whose choice it is, or that it is an order.
    pub whose: &'static str,
}

/// The pages for one visitor.
pub(super) struct Pages<'v> {
    pub words: &'static Words,
    pub name: Option<&'v Name>,
    /// Whether the page knows the device, so that its form can ask.
    pub asks_here: bool,
    /// The address of the parents' app.
    pub app: Option<&'v str>,
    /// The name of the product.
    pub product: &'v str,
}

impl Pages<'_> {
    /// Why the name is blocked, and what can be done.
    pub(super) fn block(&self, block: &Block) -> Html<String> {
        let words = self.words;
        let is_familys = !matches!(block.layer, Layer::Mandatory | Layer::Security);
        self.page(
            words.blocked,
            html! {
                dl {
                    dt { (words.site) } dd { bdi { (self.shown()) } }
                    @if !block.category.is_empty() {
                        dt { (words.category) } dd { (block.category) }
                    }
                    dt { (words.why) } dd { (block.whose) }
                }
                @if is_familys { (self.ask()) }
                (self.report(block))
                p.small { (words.no_password) }
            },
        )
    }

    /// Nothing blocks the name for the household.
    pub(super) fn not_blocked(&self) -> Html<String> {
        let words = self.words;
        self.page(
            words.not_blocked,
            html! {
                dl { dt { (words.site) } dd { bdi { (self.shown()) } } }
                p { (words.not_blocked_text) }
                (self.ask())
            },
        )
    }

    /// The page was opened by its address.
    pub(super) fn nothing(&self) -> Html<String> {
        let words = self.words;
        self.page(words.nothing, html! { p { (words.nothing_text) } })
    }

    pub(super) fn asked(&self) -> Html<String> {
        let words = self.words;
        self.page(
            words.asked,
            html! { p role="status" { (words.asked_text) } (self.back()) },
        )
    }

    pub(super) fn reported(&self, ticket: &str) -> Html<String> {
        let words = self.words;
        self.page(
            words.reported,
            html! { p role="status" { (words.reported_text) " " code { (ticket) } } (self.back()) },
        )
    }

    pub(super) fn failed(&self, why: &str) -> Html<String> {
        let words = self.words;
        self.page(
            words.failed,
            html! { p role="alert" { (why) } (self.back()) },
        )
    }

    fn shown(&self) -> String {
        self.name.map(Name::to_string).unwrap_or_default()
    }

    /// Asks here if the page knows the device, else in the app.
    fn ask(&self) -> Markup {
        let words = self.words;
        html! {
            @if self.asks_here {
                form method="post" action=(ASK_PATH) {
                    h2 { (words.ask) }
                    p { (words.ask_text) }
                    label for="why" { (words.reason) }
                    input #why name="reason" maxlength="200" autocomplete="off";
                    button { (words.send) }
                }
            } @else if let Some(app) = self.app {
                p { a.button href={ (app) "#/ask/" (self.shown()) } { (words.ask_in_app) } }
            }
        }
    }

    /// Reports a mistake of the provider. Of an order, and of what a family blocks itself, no category
    /// can be wrong.
    fn report(&self, block: &Block) -> Markup {
        let words = self.words;
        let text = match block.layer {
            Layer::Mandatory => words.report_order,
            _ if block.category.is_empty() => words.report_mistake,
            _ => words.report_text,
        };
        html! {
            details {
                summary { (words.report) }
                form method="post" action=(REPORT_PATH) {
                    p { (text) }
                    label for="mistake" { (words.reason) }
                    input #mistake name="reason" maxlength="500" autocomplete="off";
                    button { (words.send) }
                }
            }
        }
    }

    fn back(&self) -> Markup {
        html! { p { a href="/" { (self.words.back) } } }
    }

    fn page(&self, title: &str, content: Markup) -> Html<String> {
        let page = html! {
            (DOCTYPE)
            html lang=(self.words.tag) {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (title) " – " (self.product) }
                    link rel="stylesheet" href=(STYLE_PATH);
                }
                body { main { p.brand { (self.product) } h1 { (title) } (content) } }
            }
        };
        Html(page.into_string())
    }
}
