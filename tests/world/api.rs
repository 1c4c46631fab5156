//! A client of the REST API with a base URL and a key, and helpers for the most frequent requests.
//!
//! Helpers return the [`Answer`] whatever its status; `.ok()` fails the test with the server's
//! response unless the status is success.

use std::sync::Arc;

use reqwest::{Client, Method, Response, header::HeaderMap};
use serde_json::{Value, json};

use super::addresses::ListenAddresses;

/// The value of a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    Block,
    /// Allows, whatever the layers above state.
    Allow,
    /// Inherits the value of the layer above.
    Inherit,
}

/// An HTTP client with a key.
#[derive(Clone)]
pub struct Api {
    client: Client,
    doors: Arc<ListenAddresses>,
    key: String,
    headers: Vec<(String, String)>,
    /// Whether requests go to the public's listener, where the operator has another.
    is_public: bool,
}

/// A response of the API.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    /// The body as JSON; `null` if it is not JSON.
    pub json: Value,
    asked: String,
}

impl Api {
    /// With TLS, the client trusts certificates of `issuer` alone.
    pub(super) fn new(doors: Arc<ListenAddresses>, key: &str, issuer: Option<&str>) -> Self {
        let trusted = issuer.map(|pem| {
            reqwest::Certificate::from_pem(pem.as_bytes()).expect("an issuer of these tests")
        });
        // A proxy from the environment would send requests out of this machine.
        let client = Client::builder()
            .no_proxy()
            .tls_certs_only(trusted)
            .build()
            .expect("a client without a system's certificates needs nothing");
        Self {
            client,
            doors,
            key: key.to_owned(),
            headers: Vec::new(),
            is_public: false,
        }
    }

    /// The same API at the public's listener, where the operator has another.
    pub fn of_public(&self) -> Self {
        Self {
            is_public: true,
            ..self.clone()
        }
    }

    fn url(&self, path: &str) -> String {
        let base = if self.is_public {
            self.doors.api_url()
        } else {
            self.doors.operator_url()
        };
        format!("{base}{path}")
    }

    /// The same API with another key; an empty key sends no `Authorization`.
    pub fn with_key(&self, key: &str) -> Self {
        Self {
            key: key.to_owned(),
            ..self.clone()
        }
    }

    /// Adds a request header, such as `If-Match` or `Idempotency-Key`.
    pub fn with_header(&self, name: &str, value: &str) -> Self {
        let mut headers = self.headers.clone();
        headers.push((name.to_owned(), value.to_owned()));
        Self {
            headers,
            ..self.clone()
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path, None).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.request(Method::PUT, path, Some(body.to_string()))
            .await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.request(Method::POST, path, Some(body.to_string()))
            .await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.request(Method::DELETE, path, None).await
    }

    /// Sends any request with any body, with the JSON content type in any case. Fails the test
    /// without a response.
    pub async fn request(&self, method: Method, path: &str, body: Option<String>) -> Answer {
        let asked = format!("{method} {path}");
        self.attempt(method, path, body)
            .await
            .unwrap_or_else(|error| panic!("{asked}: {error:?}"))
    }

    /// The same for tests in which the daemon may die during the request.
    pub async fn attempt(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<Answer, reqwest::Error> {
        let asked = format!("{method} {path}");
        let mut request = self.client.request(method, self.url(path));
        if !self.key.is_empty() {
            request = request.bearer_auth(&self.key);
        }
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let text = response.text().await?;
        let json = serde_json::from_str(&text).unwrap_or_default();
        Ok(Answer {
            status,
            headers,
            text,
            json,
            asked,
        })
    }

    /// GET of an endless response.
    pub(super) async fn stream(&self, path: &str) -> Response {
        let asked = self
            .client
            .get(self.url(path))
            .bearer_auth(&self.key)
            .send()
            .await;
        asked
            .and_then(Response::error_for_status)
            .unwrap_or_else(|error| panic!("{path}: {error:?}"))
    }

    /// A counter or gauge whose labels include exactly these; 0 if it does not exist yet.
    pub async fn metric_of(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let page = self.get("/metrics").await.ok().text;
        let has = |line: &str| {
            labels
                .iter()
                .all(|(label, value)| line.contains(&format!("{label}=\"{value}\"")))
        };
        let samples = page
            .lines()
            .filter(|line| line.split(['{', ' ']).next() == Some(name) && has(line));
        samples
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Creates or changes a household.
    pub async fn household(&self, id: &str, body: Value) -> Answer {
        self.put(&household_path(id), body).await
    }

    /// Gives a household a network, such as `127.0.7.0/24`.
    pub async fn network(&self, household: &str, cidr: &str) -> Answer {
        let path = format!("{}/networks/{}", household_path(household), encoded(cidr));
        self.request(Method::PUT, &path, None).await
    }

    /// Creates or changes a device.
    pub async fn device(&self, household: &str, device: &str, body: Value) -> Answer {
        self.put(&device_path(household, device), body).await
    }

    /// Sets a category for a household.
    pub async fn toggle(&self, household: &str, slug: &str, switch: Switch) -> Answer {
        self.set(
            &format!("{}/categories/{}", household_path(household), encoded(slug)),
            switch,
            json!({}),
        )
        .await
    }

    /// Sets a category for a device.
    pub async fn toggle_device(
        &self,
        household: &str,
        device: &str,
        slug: &str,
        switch: Switch,
    ) -> Answer {
        let path = format!(
            "{}/categories/{}",
            device_path(household, device),
            encoded(slug)
        );
        self.set(&path, switch, json!({})).await
    }

    /// Puts a name on a household's own list, with scope `exact` or `subtree`.
    pub async fn own_name(
        &self,
        household: &str,
        domain: &str,
        scope: &str,
        switch: Switch,
    ) -> Answer {
        let path = format!("{}/names/{}", household_path(household), encoded(domain));
        self.set(&path, switch, json!({ "scope": scope })).await
    }

    /// Puts a name on a device's own list.
    pub async fn own_name_of_device(
        &self,
        household: &str,
        device: &str,
        domain: &str,
        scope: &str,
        switch: Switch,
    ) -> Answer {
        let path = format!(
            "{}/names/{}",
            device_path(household, device),
            encoded(domain)
        );
        self.set(&path, switch, json!({ "scope": scope })).await
    }

    /// Creates or changes a mandate.
    pub async fn mandate(&self, id: &str, body: Value) -> Answer {
        self.put(&format!("/v1/mandates/{}", encoded(id)), body)
            .await
    }

    /// Explains the answer to a name in a household.
    pub async fn explain(&self, name: &str, household: &str) -> Answer {
        self.get(&format!(
            "/v1/explain?name={}&household={}",
            encoded(name),
            encoded(household)
        ))
        .await
    }

    /// The sum of a metric over all labels, from `/metrics`; 0 if it does not exist yet.
    pub async fn metric(&self, name: &str) -> f64 {
        let page = self.get("/metrics").await.ok().text;
        let samples = page
            .lines()
            .filter(|line| line.split(['{', ' ']).next() == Some(name));
        samples
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    async fn set(&self, path: &str, switch: Switch, mut body: Value) -> Answer {
        body["state"] = match switch {
            Switch::Block => json!("block"),
            Switch::Allow => json!("allow"),
            Switch::Inherit => return self.delete(path).await,
        };
        self.put(path, body).await
    }
}

impl Answer {
    /// The response, if its status is success.
    pub fn ok(self) -> Self {
        assert!(
            (200..300).contains(&self.status),
            "{} -> {} {}",
            self.asked,
            self.status,
            self.text
        );
        self
    }

    /// The household's version after a write.
    pub fn version(&self) -> u64 {
        self.json["version"]
            .as_u64()
            .unwrap_or_else(|| panic!("{}: no version in {}", self.asked, self.text))
    }

    /// The stable `code` of a problem.
    pub fn problem(&self) -> &str {
        self.json["code"].as_str().unwrap_or_default()
    }

    /// A response header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

fn household_path(id: &str) -> String {
    format!("/v1/households/{}", encoded(id))
}

fn device_path(household: &str, device: &str) -> String {
    format!("{}/devices/{}", household_path(household), encoded(device))
}

/// Percent-encodes one path segment: everything but the unreserved characters of RFC 3986, so that
/// the slash of a CIDR becomes `%2F`.
pub fn encoded(segment: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    segment.bytes().map(one).collect()
}
