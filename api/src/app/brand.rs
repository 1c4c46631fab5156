//! The product's name in the files that show it before the app runs: the page's title, the manifest
//! of the installed app, and the worker that shows notices.
//!
//! `make app` writes the default name into these files. With another one they are rewritten as they
//! are served; the app takes the name from the title of its page.

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use control::product_name::{DEFAULT, ProductName};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::conditional::holds;

/// The page.
pub(super) const PAGE: &str = "/index.html";
const MANIFEST: &str = "/manifest.webmanifest";
const WORKER: &str = "/sw.js";
/// The files with the name.
const NAMED: [&str; 3] = [PAGE, MANIFEST, WORKER];
/// The longest of these files, in octets.
const FILE_OCTETS_MAX: usize = 64 << 10;
/// Octets of a hash in an entity tag.
const TAG_OCTETS: usize = 12;

/// A request for a file that is rewritten.
pub(super) struct NamedFile<'n> {
    name: &'n ProductName,
    path: String,
    /// The entity tags that the browser has.
    known: Option<HeaderValue>,
}

impl<'n> NamedFile<'n> {
    /// `None` if the file is served as it is. Otherwise the request becomes one for the whole file.
    pub(super) fn of(name: &'n ProductName, path: &str, parts: &mut Parts) -> Option<Self> {
        if name.is_default() || !NAMED.contains(&path) {
            return None;
        }
        parts.method = axum::http::Method::GET;
        let headers = std::mem::take(&mut parts.headers);
        Some(Self {
            name,
            path: path.to_owned(),
            known: headers.get(header::IF_NONE_MATCH).cloned(),
        })
    }

    /// The answer with the name in place of the default one.
    pub(super) async fn rewrite(self, answer: Response) -> Response {
        let (mut parts, body) = answer.into_parts();
        let octets = to_bytes(body, FILE_OCTETS_MAX).await.unwrap_or_default();
        let text = self.named(&String::from_utf8_lossy(&octets));
        let hash = Sha256::digest(&text);
        let hash = hash[..TAG_OCTETS]
            .iter()
            .map(|octet| format!("{octet:02x}"));
        let tag = format!("\"{}\"", hash.collect::<String>());
        parts.headers.remove(header::CONTENT_LENGTH);
        let value = HeaderValue::from_str(&tag).expect("digits and quotes");
        parts.headers.insert(header::ETAG, value);
        let known = self.known.as_ref().and_then(|known| known.to_str().ok());
        match known.is_some_and(|known| holds(known, &tag)) {
            true => not_modified(parts.headers),
            false => Response::from_parts(parts, Body::from(text)),
        }
    }

    fn named(&self, text: &str) -> String {
        let name = self.name.as_str();
        match self.path.as_str() {
            MANIFEST => manifest(text, name),
            WORKER => text.replace(DEFAULT, &in_script(name)),
            _ => text.replace(DEFAULT, &in_html(name)),
        }
    }
}

fn not_modified(mut headers: HeaderMap) -> Response {
    headers.remove(header::CONTENT_TYPE);
    (StatusCode::NOT_MODIFIED, headers).into_response()
}

/// The text of an element.
fn in_html(name: &str) -> String {
    maud::html! { (name) }.into_string()
}

/// The inside of a literal, in single or double quotes.
fn in_script(name: &str) -> String {
    let quoted = Value::from(name).to_string();
    let inside = &quoted[1..quoted.len() - 1];
    inside.replace('\'', "\\u0027")
}

/// The manifest with the name, also as the short one below an icon.
fn manifest(text: &str, name: &str) -> String {
    let Ok(Value::Object(mut members)) = serde_json::from_str(text) else {
        return text.to_owned();
    };
    for field in ["name", "short_name"] {
        members.insert(field.to_owned(), name.into());
    }
    Value::Object(members).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_text_in_each_kind_of_file() {
        let name = r#"</title>"\'<b>"#;
        assert_eq!(in_html(name), "&lt;/title&gt;&quot;\\'&lt;b&gt;");
        assert_eq!(in_script(name), r#"</title>\"\\\u0027<b>"#);
        assert_eq!(in_script("\"\""), r#"\"\""#);
        let manifest: Value =
            serde_json::from_str(&manifest(r#"{"name":"OX Protect","id":"/app/"}"#, name)).unwrap();
        assert_eq!(
            manifest,
            serde_json::json!({ "name": name, "short_name": name, "id": "/app/" })
        );
        assert_eq!(super::manifest("no JSON", name), "no JSON");
    }
}
