//! The household and the device that a question is about, with all that is set for them.

use std::sync::Arc;

use jiff::Timestamp;
use policy::{
    decide::EffectivePolicy,
    rules::{
        compiled::HouseholdRules,
        household::{Device, Household, Id, Settings},
    },
    unix_seconds::UnixSeconds,
};

/// A household, and one of its devices, at an instant.
pub struct Subscriber {
    /// The household's document.
    pub household: Arc<Household>,
    /// The rules compiled from the same version of the document.
    pub rules: Arc<HouseholdRules>,
    /// The device's index in the rules. `None` if no device is named.
    pub device: Option<u16>,
    pub at: Timestamp,
}

impl Subscriber {
    /// The rules in force for this device, as the data path takes them.
    #[must_use]
    pub fn asker(&self) -> EffectivePolicy {
        EffectivePolicy::of(&self.rules, self.device, UnixSeconds::of(self.at))
    }

    /// The settings that apply, the nearest level first, each with the word for its level.
    #[must_use]
    pub fn levels(&self) -> Vec<(&'static str, &Settings)> {
        let device = self.device().map(|(_, device)| device);
        let person = self.household.person_of(device);
        let levels = [
            device.map(|device| ("device", &device.settings)),
            person.map(|person| ("person", &person.settings)),
            Some(("household", &self.household.settings)),
        ];
        levels.into_iter().flatten().collect()
    }

    /// The device and its identifier, if one is named.
    #[must_use]
    pub fn device(&self) -> Option<(&Id, &Device)> {
        self.household
            .devices
            .get_key_value(self.rules.device_id(self.device?)?)
    }
}
