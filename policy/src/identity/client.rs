//! The identity of a client: its policy, how it was found, and how far an assertion is trusted.

use std::{net::IpAddr, sync::Arc};

use crate::{
    decide::EffectivePolicy,
    identity::network::Network,
    rules::{compiled::HouseholdRules, household::Mac},
    unix_seconds::UnixSeconds,
};

/// How a policy was found, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IdentitySource {
    /// The device, by its MAC address.
    Mac,
    /// The device, by its source address.
    Address,
    /// The household, by its network; the device is unknown.
    Network,
    /// No household: the operator's defaults apply.
    Unknown,
}

/// A problem with an asserted identity, or an unnamed device. Counted, never an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IdentityEvent {
    /// The peer may not assert identities, and its address belongs to no household.
    UntrustedPeer,
    /// No device, or more than one, has this MAC address.
    UnknownMac,
    /// The MAC address belongs to another device of the household than the source address. The
    /// rules of both apply.
    OtherDevice,
    /// No device has the source address, in a network of several addresses. Not a problem.
    UnknownAddress,
}

/// How far an identity that a peer asserts is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trust {
    /// It selects a device of the household that the peer's address proves.
    Household,
    /// The peer is in a trusted network: the identity is accepted outside of households as well.
    Network,
    /// The peer is trusted by its own address: it is a forwarder, and other devices' queries come
    /// from its address. That address therefore proves no device.
    Forwarder,
}

impl From<bool> for Trust {
    /// Converts: a peer of a trusted network, or any other peer.
    fn from(is_trusted: bool) -> Self {
        if is_trusted {
            Self::Network
        } else {
            Self::Household
        }
    }
}

/// A policy, and how it was found.
#[derive(Debug, Clone)]
pub struct Identity {
    pub policy: EffectivePolicy,
    pub source: IdentitySource,
    pub event: Option<IdentityEvent>,
}

impl Identity {
    /// Identifies a client inside a household that the address proves.
    pub(super) fn by_address(
        household: &Arc<HouseholdRules>,
        source: IpAddr,
        network: Network,
        now: UnixSeconds,
    ) -> Self {
        let device = household.device_by_address(source);
        let (source, event) = if device.is_some() {
            (IdentitySource::Address, None)
        } else {
            (IdentitySource::Network, Self::of_unnamed(network))
        };
        Self {
            policy: EffectivePolicy::of(household, device, now),
            source,
            event,
        }
    }

    /// The event of a client without a MAC address and without a device: the address of a whole line
    /// is no device's.
    #[inline]
    pub(super) fn of_unnamed(network: Network) -> Option<IdentityEvent> {
        (!network.is_address()).then_some(IdentityEvent::UnknownAddress)
    }

    /// As [`Self::by_address`], with an asserted MAC address.
    pub(super) fn asserted(
        household: &Arc<HouseholdRules>,
        source: IpAddr,
        mac: Mac,
        trust: Trust,
        now: UnixSeconds,
    ) -> Self {
        let by_mac = household.device_by_mac(mac);
        let by_address = if trust == Trust::Forwarder {
            None
        } else {
            household.device_by_address(source)
        };
        let policy = EffectivePolicy::of(household, by_mac, now);
        let event = by_mac.is_none().then_some(IdentityEvent::UnknownMac);
        match by_address {
            // An assertion never relaxes the rules: those of the proven device still apply.
            Some(device) if by_mac != Some(device) => Self {
                policy: EffectivePolicy::of(household, Some(device), now).under(policy),
                source: IdentitySource::Address,
                event: event.or(Some(IdentityEvent::OtherDevice)),
            },
            _ => Self {
                policy,
                source: if by_mac.is_some() {
                    IdentitySource::Mac
                } else {
                    IdentitySource::Network
                },
                event,
            },
        }
    }
}
