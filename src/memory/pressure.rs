//! When caches shrink and grow: a decision once a second, from what is used and what may be used.

use std::time::Duration;

/// Caches shrink while more than this is used, and grow again after [`CALM`] below the other, in
/// percent. Between them nothing changes.
const SHORT_PERCENT: u64 = 95;
const CALM_PERCENT: u64 = 85;
/// Parts of what the caches had, in eighths, one for each step.
const STEPS: [u64; 5] = [8, 6, 4, 2, 1];
/// An allocator seldom returns what caches free, but uses it again. So the next step needs a use
/// that has grown by this part of the limit since the last one, or this time.
const GROWN_DIVISOR: u64 = 64;
const STEP_AGAIN: Duration = Duration::from_secs(10);
/// How long memory must be free before caches grow by one step.
const CALM: Duration = Duration::from_secs(60);
/// How long memory is short before the operator is alarmed.
const LASTING: Duration = Duration::from_secs(60);

/// The state between two decisions.
#[derive(Debug, Default)]
pub struct Pressure {
    step: usize,
    /// What was used at the last step, and when that was.
    stepped: Option<(u64, Duration)>,
    short_since: Option<Duration>,
    calm_since: Option<Duration>,
    is_alarmed: bool,
}

/// What happens now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PressureChange {
    Shrink,
    Grow,
    /// Memory has been short for a minute. Once, until it is calm.
    Alarm,
    /// Memory is enough again after an alarm.
    AllClear,
}

impl Pressure {
    /// The part of what the caches had, in eighths.
    pub fn eighths(&self) -> u64 {
        STEPS[self.step]
    }

    /// Decides by what is used of a limit, in octets, at this time since the start.
    pub fn observe(&mut self, used: u64, limit: u64, now: Duration) -> Option<PressureChange> {
        if used.saturating_mul(100) > limit.saturating_mul(SHORT_PERCENT) {
            self.calm_since = None;
            return self.short(used, limit, now);
        }
        self.short_since = None;
        if used.saturating_mul(100) >= limit.saturating_mul(CALM_PERCENT) {
            self.calm_since = None;
            return None;
        }
        let since = *self.calm_since.get_or_insert(now);
        if now < since + CALM {
            return None;
        }
        if std::mem::take(&mut self.is_alarmed) {
            return Some(PressureChange::AllClear);
        }
        if self.step == 0 {
            return None;
        }
        self.calm_since = Some(now);
        self.step -= 1;
        Some(PressureChange::Grow)
    }

    fn short(&mut self, used: u64, limit: u64, now: Duration) -> Option<PressureChange> {
        let since = *self.short_since.get_or_insert(now);
        let is_due = self.stepped.is_none_or(|(before, at)| {
            used >= before + limit / GROWN_DIVISOR || now >= at + STEP_AGAIN || self.step == 0
        });
        if is_due && self.step + 1 < STEPS.len() {
            self.step += 1;
            self.stepped = Some((used, now));
            return Some(PressureChange::Shrink);
        }
        if now >= since + LASTING && !self.is_alarmed {
            self.is_alarmed = true;
            return Some(PressureChange::Alarm);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{PressureChange::*, *};

    /// What happens when so much of 1,000 is used in each second.
    fn played(used: impl IntoIterator<Item = u64>) -> Vec<(u64, PressureChange)> {
        let mut pressure = Pressure::default();
        let seconds = used.into_iter().zip(0..);
        seconds
            .filter_map(|(used, second)| {
                let change = pressure.observe(used, 1_000, Duration::from_secs(second));
                change.map(|change| (second, change))
            })
            .collect()
    }

    #[test]
    fn caches_shrink_by_steps_while_memory_grows_or_stays_short() {
        assert_eq!(played([950; 100]), [], "not above the limit");
        assert_eq!(
            played([951, 951, 960, 965, 980]),
            [(0, Shrink), (4, Shrink)]
        );
        assert_eq!(
            played([960; 100]),
            [
                (0, Shrink),
                (10, Shrink),
                (20, Shrink),
                (30, Shrink),
                (60, Alarm)
            ],
            "down to an eighth, and one alarm"
        );
    }

    #[test]
    fn caches_grow_by_a_step_a_minute_when_memory_is_free() {
        let short_then = |used| [960].into_iter().chain([990]).chain([used; 300]);
        assert_eq!(
            played(short_then(849)),
            [(0, Shrink), (1, Shrink), (62, Grow), (122, Grow)]
        );
        assert_eq!(played(short_then(900)), [(0, Shrink), (1, Shrink)]);
        let again = [960].into_iter().chain([800; 62]).chain([960]);
        assert_eq!(
            played(again),
            [(0, Shrink), (61, Grow), (63, Shrink)],
            "short again"
        );
    }

    #[test]
    fn an_alarm_ends_when_memory_is_free() {
        let alarmed = [960; 100].into_iter().chain([100; 400]);
        let changes = played(alarmed);
        let ends: Vec<_> = changes
            .iter()
            .filter(|(_, change)| *change == AllClear)
            .collect();
        assert_eq!(ends, [&(160, AllClear)]);
        assert_eq!(changes.last(), Some(&(341, Grow)));
    }
}
