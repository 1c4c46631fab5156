//! A worker's part of the query sample: it counts down to one query of N and sends that name.

use policy::name::{NAME_OCTETS_MAX, NameRef};
use rtrb::{Consumer, Producer, RingBuffer};

/// Slots of a worker's ring: 0.1 s of a million queries/s, one of 64 sampled.
const RING_SLOTS: usize = 1 << 11;

/// A name with its octets inline, so that a worker sends it without allocating.
pub struct InlineName {
    octets: [u8; NAME_OCTETS_MAX],
    length: u8,
}

impl InlineName {
    pub(crate) fn new(name: NameRef<'_>) -> Self {
        let wire = name.wire();
        let mut octets = [0; NAME_OCTETS_MAX];
        octets[..wire.len()].copy_from_slice(wire);
        Self {
            octets,
            length: u8::try_from(wire.len()).expect("a name has at most 255 octets"),
        }
    }

    #[must_use]
    pub fn borrow(&self) -> NameRef<'_> {
        NameRef::from_wire(&self.octets[..usize::from(self.length)]).expect("written from a name")
    }
}

/// The countdown and the ring of one worker.
pub struct NameSampler {
    left: u32,
    every: u32,
    ring: Producer<InlineName>,
}

impl NameSampler {
    /// A sampler that takes one of `every` names; 0 turns it off.
    #[must_use]
    pub fn one_of(every: u32) -> (Self, Consumer<InlineName>) {
        let (producer, consumer) = RingBuffer::new(if every == 0 { 1 } else { RING_SLOTS });
        (
            Self {
                left: every,
                every,
                ring: producer,
            },
            consumer,
        )
    }

    /// Counts a queried name.
    #[inline]
    pub fn count(&mut self, name: NameRef<'_>) {
        // With `every` = 0 the countdown wraps, and samples one of 2^32 names into a ring of one
        // slot.
        self.left = self.left.wrapping_sub(1);
        if self.left == 0 {
            self.sample(name);
        }
    }

    #[cold]
    #[inline(never)]
    fn sample(&mut self, name: NameRef<'_>) {
        self.left = self.every;
        // A full ring drops names evenly, so that the sample stays fair.
        let _ = self.ring.push(InlineName::new(name));
    }
}

#[cfg(test)]
mod tests {
    use policy::name::Name;

    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn one_of_n_queries_is_sampled_and_a_full_ring_drops_the_rest() {
        let (mut sampler, mut names) = NameSampler::one_of(64);
        for number in 0..640 {
            sampler.count(name(&format!("n{number}.example")).borrow());
        }
        let taken: Vec<String> = std::iter::from_fn(|| names.pop().ok())
            .map(|name| name.borrow().to_string())
            .collect();
        assert_eq!(
            (taken.len(), taken[0].as_str(), taken[9].as_str()),
            (10, "n63.example", "n639.example")
        );
        (0..64 * (RING_SLOTS + 9)).for_each(|_| sampler.count(name("a.example").borrow()));
        assert_eq!(std::iter::from_fn(|| names.pop().ok()).count(), RING_SLOTS);

        let (mut never, mut none) = NameSampler::one_of(0);
        (0..10_000).for_each(|_| never.count(name("a.example").borrow()));
        assert!(none.pop().is_err());
    }
}
