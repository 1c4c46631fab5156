//! Where the daemon can be reached. It listens on port 0, so that each start has new doors; lines
//! and API clients that were made before go on to find them.

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

/// The addresses of the daemon's last ready lines.
#[derive(Debug, Default)]
pub struct Doors(Mutex<Found>);

#[derive(Clone, Debug, Default)]
struct Found {
    dns: Vec<SocketAddr>,
    api: Option<SocketAddr>,
}

impl Doors {
    /// The first DNS address, UDP and TCP.
    pub fn dns(&self) -> SocketAddr {
        *self
            .all_dns()
            .first()
            .expect("the daemon has said where it listens for DNS")
    }

    /// Every DNS address, in the order of the ready lines.
    pub fn all_dns(&self) -> Vec<SocketAddr> {
        self.found().dns
    }

    /// The API's address.
    pub fn api(&self) -> SocketAddr {
        self.found()
            .api
            .expect("the daemon has said where it listens for HTTP")
    }

    /// Takes over what a start found.
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
