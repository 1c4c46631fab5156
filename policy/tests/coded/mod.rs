//! Masks that identify their owner: a number in the lower half, its complement in the upper half. A
//! mask that was combined from two writes, or that belongs to another household, is detected.

use std::collections::BTreeMap;

use jiff::Timestamp;
use policy::{
    category::{CategoryId, CategorySet, Taxonomy},
    rules::household::{Attributed, Device, DeviceIdentifier, Settings, Switch, SwitchState},
};

/// The content of a mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// The household.
    pub household: u16,
    /// The device plus one; 0 for an unnamed device.
    pub device: u8,
    /// The version of the household.
    pub version: u32,
}

/// A taxonomy of 128 categories: every bit of a mask can be switched.
pub fn taxonomy() -> Taxonomy {
    let document = (0..128)
        .map(|bit| format!("[[category]]\nslug = \"c{bit:03}\"\ntitle = \"\"\ngroup = \"\"\n"));
    Taxonomy::parse(&document.collect::<String>()).unwrap()
}

impl Code {
    /// Switches for all 128 bits.
    pub fn switches(self) -> BTreeMap<String, Attributed<Switch>> {
        let number = u64::from(self.household) << 40
            | u64::from(self.device) << 32
            | u64::from(self.version);
        let bits = u128::from(!number) << 64 | u128::from(number);
        let state = |bit: u32| {
            if bits >> bit & 1 == 1 {
                SwitchState::Block
            } else {
                SwitchState::Allow
            }
        };
        let set = |bit| Attributed {
            value: Switch { state: state(bit) },
            set_by: String::new(),
            set_at: Timestamp::UNIX_EPOCH,
        };
        (0..128)
            .map(|bit| (format!("c{bit:03}"), set(bit)))
            .collect()
    }

    /// Reads a mask; `None` for the empty one of unknown clients.
    pub fn read(mask: CategorySet) -> Option<Self> {
        let bits = mask
            .iter()
            .map(CategoryId::index)
            .fold(0_u128, |bits, bit| bits | 1 << bit);
        let number = bits as u64;
        let complement = (bits >> 64) as u64;
        assert!(
            mask.is_empty() || number == !complement,
            "a torn mask: {bits:x}"
        );
        (!mask.is_empty()).then_some(Self {
            household: (number >> 40) as u16,
            device: (number >> 32) as u8,
            version: number as u32,
        })
    }
}

/// A device with this code.
pub fn device(code: Code, identifiers: Vec<DeviceIdentifier>) -> Device {
    Device {
        name: String::new(),
        kind: None,
        person: None,
        identifiers,
        log: true,
        thing: None,
        settings: Settings {
            categories: code.switches(),
            ..Settings::default()
        },
    }
}
