//! Counters and rings of one thread.

use policy::{
    decide::EffectivePolicy,
    identity::directory::Directory,
    name::Name,
    rules::{
        compiled::HouseholdRules,
        household::{Attributed, HistorySettings, Household},
        operator::OperatorDefaults,
    },
    unix_seconds::UnixSeconds,
};

use super::*;

fn record(metrics: &mut WorkerMetrics, policy: &EffectivePolicy, name: &Name, verdict: Verdict) {
    metrics.record(&QueryEvent {
        policy,
        name: name.borrow(),
        at: UnixSeconds::FIRST,
        outcome: QueryOutcome::Judged {
            verdict,
            lists_stamp: 7,
        },
    });
}

#[test]
fn a_full_ring_drops_and_counts_and_loses_no_count() {
    let (mut metrics, mut source) = pair(0);
    let policy = Directory::new(OperatorDefaults::default()).unknown_line();
    let name = Name::parse("bet.example").unwrap();
    let taxonomy = Taxonomy::shipped();
    let categories = taxonomy.find("gambling").into_iter().collect();
    let verdict = Verdict {
        categories,
        ..Verdict::of_layer(Layer::Category)
    };
    for _ in 0..BLOCK_RING_SLOTS + 7 {
        record(&mut metrics, &policy, &name, verdict);
    }
    let count = |place: usize| source.counters.get(place);
    assert_eq!(count(Count::EventDropped as usize), 7);
    assert_eq!(
        count(Count::Verdicts as usize + Layer::Category as usize),
        BLOCK_RING_SLOTS as u64 + 7
    );
    assert_eq!(
        source.blocks.pop(),
        Ok(BlockEvent {
            categories,
            lists_stamp: 7,
            feed: NO_FEED
        })
    );
    assert!(
        source.activity.pop().is_err(),
        "no household keeps a history"
    );
}

#[test]
fn a_household_with_a_history_gets_all_queries_but_orders() {
    let (mut metrics, mut source) = pair(0);
    let mut household = Household::new("home".parse().unwrap());
    let history = HistorySettings {
        days: 7,
        names: true,
        unknown_devices: true,
    };
    household.history = Some(Attributed {
        value: history,
        set_by: "key:1".into(),
        set_at: jiff::Timestamp::UNIX_EPOCH,
    });
    let compile = |household: &Household| {
        Arc::new(HouseholdRules::compile(
            household,
            &Taxonomy::shipped(),
            OperatorDefaults::default(),
            jiff::Timestamp::UNIX_EPOCH,
        ))
    };
    let policy = EffectivePolicy::of(&compile(&household), None, UnixSeconds::FIRST);
    let name = Name::parse("bet.example").unwrap();
    for layer in Layer::ALL {
        record(&mut metrics, &policy, &name, Verdict::of_layer(layer));
    }
    let layers: Vec<Layer> = std::iter::from_fn(|| source.activity.pop().ok())
        .map(|event| event.layer)
        .collect();
    assert_eq!(layers, Layer::ALL[1..], "an order is in no history");
    household.history.as_mut().unwrap().value.unknown_devices = false;
    let policy = EffectivePolicy::of(&compile(&household), None, UnixSeconds::FIRST);
    record(
        &mut metrics,
        &policy,
        &name,
        Verdict::of_layer(Layer::Default),
    );
    assert!(
        source.activity.pop().is_err(),
        "queries of unknown devices are not kept"
    );
}
