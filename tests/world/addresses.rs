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
    api: Option<SocketAddr>,
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
        self.found()
            .api
            .expect("the daemon has said where it listens for HTTP")
    }

    /// Stores the addresses of a new start.
    pub(super) fn moved(&self, dns: Vec<SocketAddr>, api: SocketAddr) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Found {
            dns,
            api: Some(api),
        };
    }

    fn found(&self) -> Found {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
