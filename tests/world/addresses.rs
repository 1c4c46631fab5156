//! The addresses of the daemon. It listens on port 0, so each start has new ports; existing DNS and
//! API clients use the current ones.

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

/// The addresses of the daemon's last ready lines.
#[derive(Debug, Default)]
pub struct ListenAddresses(Mutex<Found>);

#[derive(Clone, Debug, Default)]
struct Found {
    dns: Vec<SocketAddr>,
    api: Option<Url>,
    operator: Option<Url>,
}

/// Scheme and address of a listener for HTTP.
#[derive(Clone, Debug)]
pub(super) struct Url(String, SocketAddr);

impl Url {
    /// Reads `http://127.0.0.1:8080`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_end_matches('/');
        let (scheme, address) = text.split_once("://")?;
        Some(Self(scheme.to_owned(), address.parse().ok()?))
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", self.0, self.1)
    }
}

impl ListenAddresses {
    /// The first DNS address, for UDP and TCP.
    pub fn dns(&self) -> SocketAddr {
        *self
            .all_dns()
            .first()
            .expect("the daemon has said where it listens for DNS")
    }

    /// All DNS addresses, in the order of the ready lines.
    pub fn all_dns(&self) -> Vec<SocketAddr> {
        self.found().dns
    }

    /// The API's address.
    pub fn api(&self) -> SocketAddr {
        self.public().1
    }

    /// Scheme and address of the API, without a slash at the end.
    pub fn api_url(&self) -> String {
        self.public().to_string()
    }

    /// The same of the operator's listener. Without one, the API's.
    pub fn operator_url(&self) -> String {
        let operator = self.found().operator;
        operator.unwrap_or_else(|| self.public()).to_string()
    }

    fn public(&self) -> Url {
        self.found()
            .api
            .expect("the daemon has said where it listens for HTTP")
    }

    /// Stores the addresses of a new start.
    pub(super) fn moved(&self, dns: Vec<SocketAddr>, api: Url, operator: Option<Url>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Found {
            dns,
            api: Some(api),
            operator,
        };
    }

    fn found(&self) -> Found {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
