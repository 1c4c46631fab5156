//! A second opinion: hickory-resolver's recursor on the simulated Internet.
//!
//! Its results for correct zones are reliable. It gives up when the first server refuses or is
//! silent, and does not support DNAME; a test that uses it states the differences that it expects,
//! and why.

use std::{net::IpAddr, time::Instant};

use hickory_proto::{
    op::Query,
    rr::{Name, RecordType},
};
use hickory_resolver::{
    ConnectionProvider, PoolContext,
    config::ConnectionConfig,
    net::{NetError, runtime::TokioRuntimeProvider},
    recursor::{Recursor, RecursorError, RecursorOptions},
};

use super::internet::Internet;

/// Depth of delegations and of name-server lookups: each label is a step for this recursor.
const DEPTH_MAX: u8 = 64;

/// Hickory's recursor.
pub struct Oracle(Recursor<AuthorityPort>);

impl Oracle {
    /// A recursor on this Internet.
    pub fn new(internet: &Internet) -> Self {
        let roots: Vec<IpAddr> = internet
            .servers_of(".")
            .iter()
            .map(|server| server.address().ip())
            .collect();
        let options = RecursorOptions {
            recursion_limit: DEPTH_MAX,
            ns_recursion_limit: DEPTH_MAX,
            // Its default excludes the loopback network, which this Internet uses.
            deny_server: vec!["::/0".parse().expect("a network")],
            ..RecursorOptions::default()
        };
        let provider = AuthorityPort {
            inner: TokioRuntimeProvider::new(),
            port: internet.port(),
        };
        Self(Recursor::with_options(&roots, options, provider).expect("the root has an address"))
    }

    /// Its answer, in the notation of a [`Reply`](super::Reply).
    pub async fn ask(&self, name: &Name, kind: RecordType) -> String {
        match self
            .0
            .resolve(Query::query(name.clone(), kind), Instant::now(), false)
            .await
        {
            Ok(message) => {
                let of_the_type = message
                    .answers
                    .iter()
                    .filter(|record| record.record_type() == kind);
                let mut data: Vec<String> =
                    of_the_type.map(|record| record.data.to_string()).collect();
                data.sort();
                if data.is_empty() {
                    "NODATA".to_owned()
                } else {
                    data.join(", ")
                }
            }
            Err(RecursorError::Negative(negative)) if negative.is_nx_domain() => {
                "NXDOMAIN".to_owned()
            }
            Err(RecursorError::Negative(_)) => "NODATA".to_owned(),
            Err(error) => format!("failed: {error}"),
        }
    }
}

/// Tokio's sockets, with every server at one port. The recursor itself supports only port 53.
#[derive(Clone)]
struct AuthorityPort {
    inner: TokioRuntimeProvider,
    port: u16,
}

impl ConnectionProvider for AuthorityPort {
    type Conn = <TokioRuntimeProvider as ConnectionProvider>::Conn;
    type FutureConn = <TokioRuntimeProvider as ConnectionProvider>::FutureConn;
    type RuntimeProvider = TokioRuntimeProvider;

    fn new_connection(
        &self,
        ip: IpAddr,
        config: &ConnectionConfig,
        context: &PoolContext,
    ) -> Result<Self::FutureConn, NetError> {
        let mut config = config.clone();
        config.port = self.port;
        self.inner.new_connection(ip, &config, context)
    }

    fn runtime_provider(&self) -> &TokioRuntimeProvider {
        &self.inner
    }
}
