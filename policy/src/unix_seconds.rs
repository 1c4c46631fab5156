//! An instant of the data path: whole seconds in one 32-bit integer.

use jiff::Timestamp;

/// Seconds since 1970-01-01T00:00:00Z, up to 2106. Earlier instants become the first, later ones
/// the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixSeconds(u32);

impl UnixSeconds {
    pub const FIRST: Self = Self(0);
    /// The last value; stands for an instant that never comes.
    pub const NEVER: Self = Self(u32::MAX);

    /// Converts seconds of a clock.
    #[must_use]
    pub fn from_unix(seconds: u64) -> Self {
        Self(
            u32::try_from(seconds)
                .unwrap_or(u32::MAX - 1)
                .min(u32::MAX - 1),
        )
    }

    /// The second that contains an instant.
    #[must_use]
    pub fn of(instant: Timestamp) -> Self {
        Self::from_unix(u64::try_from(instant.as_second()).unwrap_or(0))
    }

    /// The first whole second at or after an instant: something that lasts until the instant lasts
    /// until the clock shows this second.
    #[must_use]
    pub fn end_of(instant: Timestamp) -> Self {
        let is_whole = instant.subsec_nanosecond() == 0;
        Self::of(instant).plus(u32::from(!is_whole))
    }

    /// This instant plus some seconds.
    #[must_use]
    pub fn plus(self, seconds: u32) -> Self {
        Self::from_unix(u64::from(self.0) + u64::from(seconds))
    }

    /// The instant; `None` for [`Self::NEVER`].
    #[must_use]
    pub fn timestamp(self) -> Option<Timestamp> {
        if self == Self::NEVER {
            None
        } else {
            Timestamp::from_second(self.0.into()).ok()
        }
    }

    /// The seconds as a number.
    #[must_use]
    pub fn to_u32(self) -> u32 {
        self.0
    }

    pub(crate) fn to_bits(self) -> u32 {
        self.0
    }

    pub(crate) fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_until_a_part_of_a_second_lasts_until_its_end() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(
            UnixSeconds::of(at("1970-01-01T00:00:07.9Z")),
            UnixSeconds(7)
        );
        assert_eq!(
            UnixSeconds::end_of(at("1970-01-01T00:00:07.9Z")),
            UnixSeconds(8)
        );
        assert_eq!(
            UnixSeconds::end_of(at("1970-01-01T00:00:07Z")),
            UnixSeconds(7)
        );
        assert_eq!(
            UnixSeconds::of(at("1960-01-01T00:00:00Z")),
            UnixSeconds::FIRST
        );
        let far = UnixSeconds::of(at("2200-01-01T00:00:00Z"));
        assert!(
            far < UnixSeconds::NEVER
                && far.timestamp().is_some()
                && UnixSeconds::NEVER.timestamp().is_none()
        );
    }
}
