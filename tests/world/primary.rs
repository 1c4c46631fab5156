//! Real primaries of policy zones, BIND and Knot DNS, shared with the loader's own tests.

#[path = "../../blocklist-loader/tests/primaries/server.rs"]
mod server;
#[path = "../../blocklist-loader/tests/primaries/waiting.rs"]
mod waiting;
#[path = "../../blocklist-loader/tests/primaries/zone.rs"]
mod zone;

pub use server::{KEY, Kind, Primary, SECRET};
pub use zone::{ZONE, Zone, row};
