//! The listeners of the block page and of the home test.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use api::{
    Context,
    client_address::TrustedProxies,
    home_test, landing,
    server::{self, ApiListener},
    tls,
};
use control::certificate::{CertificateFiles, ServerCertificate};
use resolver::listener::connections::LimitedConnections;
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use super::{
    api_listeners::{bind, connections},
    stdout::say,
};
use crate::config::Config;

/// Connections of each of these pages at a time.
const CONNECTIONS_MAX: usize = 1_000;

/// The sockets of one page.
struct Page {
    name: &'static str,
    http: Vec<TcpListener>,
    https: Vec<TcpListener>,
    certificate: Option<Arc<ServerCertificate>>,
}

/// The sockets of both pages.
pub struct WebSockets {
    landing: Page,
    home_test: Page,
}

impl Page {
    fn bind(
        name: &'static str,
        (http, https): (&[SocketAddr], &[SocketAddr]),
        certificate: Option<&CertificateFiles>,
    ) -> anyhow::Result<Self> {
        let bind = |addresses: &[SocketAddr]| {
            let bound = addresses.iter().map(|address| {
                bind(*address).with_context(|| format!("listening on {address} ({name})"))
            });
            bound.collect::<anyhow::Result<Vec<_>>>()
        };
        let read = |files| {
            ServerCertificate::read(files)
                .with_context(|| format!("the certificate of {name} cannot be used"))
        };
        Ok(Self {
            name,
            certificate: certificate.map(read).transpose()?.map(Arc::new),
            http: bind(http)?,
            https: bind(https)?,
        })
    }

    /// Serves on all sockets, each in a task.
    fn serve<Tls: Clone>(
        self,
        acceptor: Option<Tls>,
        listener: impl Fn(Option<Tls>) -> ApiListener,
        (listeners, ended): (&mut JoinSet<()>, &watch::Receiver<()>),
    ) -> anyhow::Result<()> {
        let plain = self.http.into_iter().map(|socket| (socket, None));
        let encrypted = self
            .https
            .into_iter()
            .map(|socket| (socket, acceptor.clone()));
        for (socket, tls) in plain.chain(encrypted) {
            let scheme = if tls.is_some() { "https" } else { "http" };
            let address = socket.local_addr()?;
            say(&format!("{} ready on {scheme}://{address}", self.name))?;
            listeners.spawn(server::serve(socket, listener(tls), ended.clone()));
        }
        Ok(())
    }
}

impl WebSockets {
    pub fn bind(config: &Config) -> anyhow::Result<Self> {
        let (landing, test) = (&config.landing, &config.home_test);
        Ok(Self {
            landing: Page::bind(
                "landing",
                (&landing.http, &landing.https),
                landing.certificate.as_ref(),
            )?,
            home_test: Page::bind(
                "home test",
                (&test.http, &test.https),
                test.certificate.as_ref(),
            )?,
        })
    }

    /// The certificates, each with the name that its alarms and metrics have.
    pub fn certificates(&self) -> Vec<(&'static str, Arc<ServerCertificate>)> {
        let of = |name, page: &Page| page.certificate.clone().map(|pair| (name, pair));
        [
            of("landing", &self.landing),
            of("home_test", &self.home_test),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// The ports of the home test, without and with TLS.
    pub fn home_test_ports(&self) -> (Option<u16>, Option<u16>) {
        let port = |sockets: &[TcpListener]| Some(sockets.first()?.local_addr().ok()?.port());
        (port(&self.home_test.http), port(&self.home_test.https))
    }

    /// Serves until `ended` changes, and then the requests under way.
    pub fn serve(
        self,
        config: &Config,
        context: &Arc<Context>,
        limited: &Arc<LimitedConnections>,
        ended: &watch::Receiver<()>,
    ) -> anyhow::Result<JoinHandle<()>> {
        let mut listeners = JoinSet::new();
        let pages = landing::router(Arc::clone(context), config.landing.app.clone());
        let test = home_test::router();
        for (page, router) in [(self.landing, pages), (self.home_test, test)] {
            let connections = connections(CONNECTIONS_MAX).noted_in(Arc::clone(limited));
            let listener = |tls| ApiListener {
                router: router.clone(),
                connections: connections.clone(),
                trusted_proxies: TrustedProxies::new(&config.api.trusted_proxies),
                proxy_from: config.api.proxy_from.clone(),
                tls,
            };
            let pair = page.certificate.clone();
            let acceptor = pair.map(|pair| tls::acceptor(pair as _));
            page.serve(acceptor, listener, (&mut listeners, ended))?;
        }
        Ok(tokio::spawn(async move {
            listeners.join_all().await;
        }))
    }
}
