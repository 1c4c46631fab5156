//! The sockets that a node listens on, of DNS and of the API.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use resolver::{
    engine::Engine,
    listener::{self, WorkerSettings},
};

use super::{api_listeners::ApiSockets, stdout::say, web_listeners::WebSockets};
use crate::config::Checked;

/// The sockets of a node. All are bound before one is served, so that a port in use is reported
/// before the node says that anything is ready.
pub struct Sockets {
    api: ApiSockets,
    web: WebSockets,
    dns: Vec<listener::BoundListener>,
    workers: usize,
}

impl Sockets {
    pub fn bind(checked: &Checked) -> anyhow::Result<Self> {
        let api = ApiSockets::bind(&checked.config.api)?;
        let web = WebSockets::bind(&checked.config)?;
        let workers = workers(checked);
        let addresses = checked.config.dns.listen.iter();
        let dns = addresses
            .map(|address| listener::bind(*address, workers))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            api,
            web,
            dns,
            workers,
        })
    }

    /// Starts the workers. Returns the sockets of HTTP.
    pub fn serve_dns(
        self,
        checked: &Checked,
        engine: &Arc<Engine>,
    ) -> anyhow::Result<(ApiSockets, WebSockets)> {
        let addresses: Vec<SocketAddr> = self.dns.iter().map(|bound| bound.address).collect();
        let dns = &checked.config.dns;
        let workers = WorkerSettings {
            count: self.workers,
            pinned: dns.pin_workers,
            batch: dns.batch,
        };
        listener::serve(self.dns, engine, workers).context("starting the workers")?;
        for address in addresses {
            say(&format!("dns ready on {address}"))?;
        }
        Ok((self.api, self.web))
    }
}

/// The threads that answer over UDP.
pub fn workers(checked: &Checked) -> usize {
    match checked.config.dns.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    }
}
