//! Whose connection a request came on: one whose client shows a credential in force gives way to
//! others later than a stranger's.

use std::sync::{Arc, Weak};

use axum::http::Extensions;
use control::Connection;

/// The connection of a request, in the request's extensions. A connection that the client closes
/// leaves its place, whatever runs for it.
#[derive(Clone)]
pub struct RequestConnection(Weak<Connection>);

impl RequestConnection {
    pub fn new(connection: &Arc<Connection>) -> Self {
        Self(Arc::downgrade(connection))
    }

    pub fn of(extensions: &Extensions) -> Option<Self> {
        extensions.get::<Self>().cloned()
    }

    /// Says that the client has shown a credential: a household's, or one of no household.
    pub fn recognise(&self, household: Option<&str>) {
        if let Some(connection) = self.0.upgrade() {
            connection.recognise(household);
        }
    }
}
