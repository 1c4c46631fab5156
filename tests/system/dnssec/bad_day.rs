//! A registry breaks its signatures: what clients get meanwhile, who is told, and what heals it.

use hickory_proto::rr::RecordType;
use serde_json::json;

use super::*;

/// Names of the registry, each with a TTL of a second. The last one is not asked for before.
const NAMES: usize = 15;

/// The registry's zone, signed with these arguments.
pub(super) fn registry(arguments: &'static [&'static str]) -> Unsigned {
    let record = |number| format!("n{number}.registry.example. 1 IN A 192.0.2.{number}\n");
    Unsigned {
        name: "registry.example.",
        records: (0..NAMES).map(record).collect::<String>()
            + "*.wild.registry.example. 1 IN A 192.0.2.99\n",
        arguments,
    }
}

/// Signs the registry's zone again with its key, and publishes it.
fn publish(signed: &Signed, arguments: &'static [&'static str]) {
    let folder = signed.folder.path();
    let names = fs::read_dir(folder).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut keys = names.filter_map(|name| {
        let key = name.strip_suffix(".private")?;
        key.starts_with("Kregistry.example.")
            .then(|| key.to_owned())
    });
    let key = keys.next().expect("the registry's key");
    sign_with(folder, &registry(arguments), &key);
    signed.nsd.reload();
}

/// The answer with all codes of Extended DNS Errors.
async fn with_codes(client: &Client, number: usize) -> (String, bool, Vec<u16>) {
    let question = format!("n{number}.registry.example. A");
    let reply = client.reply(&question).await.expect("a reply");
    let errors = reply.extended_errors();
    let codes = errors.iter().map(|error| error.code).collect();
    let is_secure = reply.message.metadata.authentic_data;
    (reply.to_string(), is_secure, codes)
}

async fn eventually_seen(what: &str, client: &Client, number: usize, seen: (bool, &[u16])) {
    eventually(what, Duration::from_secs(60), async || {
        let (answer, is_secure, codes) = with_codes(client, number).await;
        answer == format!("192.0.2.{number}") && (is_secure, &codes[..]) == seen
    })
    .await;
}

/// The answer that a wildcard gives, and whether the proof that the name does not exist goes with it.
async fn of_wildcard(client: &Client) -> (String, Vec<u16>, bool) {
    let reply = client.reply("x.wild.registry.example. A").await;
    let reply = reply.expect("a reply");
    let errors = reply.extended_errors();
    let codes = errors.iter().map(|error| error.code).collect();
    let mut proofs = reply.message.authorities.iter();
    let has_proof = proofs.any(|record| record.record_type() == RecordType::NSEC);
    (reply.to_string(), codes, has_proof)
}

#[tokio::test]
async fn a_broken_registry_is_named_served_stale_and_healed_by_an_anchor() {
    let (signed, world) = signed_world("").await;
    let world = world.start().await;
    let home = world.client("127.0.7.9").with_dnssec();
    for number in 0..NAMES - 1 {
        eventually_seen("a secure answer", &home, number, (true, &[])).await;
    }
    let answer = "192.0.2.99".to_owned();
    assert_eq!(of_wildcard(&home).await, (answer.clone(), vec![], true));
    publish(&signed, &["-i", "20200101000000", "-e", "20200201000000"]);
    for number in 0..NAMES - 1 {
        eventually_seen("a stale answer", &home, number, (true, &[3, 7])).await;
    }
    eventually("a stale answer", Duration::from_secs(60), async || {
        of_wildcard(&home).await == (answer.clone(), vec![3, 7], true)
    })
    .await;
    let (answer, _, codes) = with_codes(&home, NAMES - 1).await;
    assert_eq!((answer.as_str(), &codes[..]), ("SERVFAIL", &[7][..]));
    let zone = [("zone", "registry.example")];
    eventually("the alarm", Duration::from_secs(60), async || {
        world.api.metric_of("ox_protect_bogus_alarm", &zone).await == 1.0
    })
    .await;
    let bogus = world.api.metric_of("ox_protect_bogus_total", &zone).await;
    assert!(bogus >= NAMES as f64, "{bogus}");
    let anchor = "/v1/negative-trust-anchors/registry.example";
    let until = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let body = json!({"until": until, "reason": "its signatures have expired"});
    world.api.put(anchor, body).await.ok();
    for number in 0..NAMES {
        let seen = with_codes(&home, number).await;
        assert_eq!(seen, (format!("192.0.2.{number}"), false, vec![33]));
    }
    publish(&signed, &[]);
    world.api.delete(anchor).await.ok();
    for number in 0..NAMES {
        eventually_seen("a secure answer", &home, number, (true, &[])).await;
    }
}
