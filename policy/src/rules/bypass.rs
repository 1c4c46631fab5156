//! Bypass prevention: negative answers that keep software from going around the filter.

/// Which names are answered negatively where filtering is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BypassPrevention {
    /// Canary names such as `use-application-dns.net`: software that gets NXDOMAIN for one keeps
    /// the network's resolver.
    pub canary: bool,
    /// Names of private relays: a device that gets NXDOMAIN for one does not use its relay in this
    /// network.
    pub relay: bool,
}
