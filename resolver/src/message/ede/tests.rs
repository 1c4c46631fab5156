//! Extra texts of each form, and what they leave out.

use policy::{
    decide::Action,
    lists::mandates::{ActiveMandates, MandateDocument},
};

use super::*;

fn words(uris: &[&str], organization: &str) -> EdeWords {
    let uris = uris.iter().map(|uri| (*uri).to_owned()).collect();
    EdeWords::new(
        Arc::new(Taxonomy::shipped()),
        &BlockContact {
            uris,
            organization: organization.to_owned(),
            ..BlockContact::default()
        },
    )
}

fn text(reason: Reason<'_>, form: TextForm) -> String {
    let mut text = String::new();
    reason.write(form, |piece| text.push_str(piece));
    assert_eq!(reason.octets(form), text.len());
    text
}

fn blocked(layer: Layer, slugs: &[&str]) -> Verdict {
    let taxonomy = Taxonomy::shipped();
    Verdict {
        categories: slugs
            .iter()
            .map(|slug| taxonomy.find(slug).unwrap())
            .collect(),
        ..Verdict::of_layer(layer)
    }
}

#[test]
fn a_reason_is_written_as_words_or_as_short_json() {
    let plain = words(&[], "");
    let whole = words(
        &["mailto:help@isp.example", "https://isp.example/\"blocked\""],
        "Ada's ISP\t\\",
    );
    let choice = blocked(Layer::Category, &["gambling", "violence"]);
    for (reason, form, expected) in [
        (
            Reason::Blocked(choice, None, &plain),
            TextForm::Plain,
            "violence, gambling",
        ),
        (
            Reason::Blocked(choice, None, &plain),
            TextForm::FullJson,
            r#"{"j":"Violence, Gambling","l":"en"}"#,
        ),
        (
            Reason::Blocked(choice, None, &plain),
            TextForm::ShortJson,
            "",
        ),
        (
            Reason::Blocked(choice, None, &plain),
            TextForm::CodeOnly,
            "",
        ),
        (
            Reason::Blocked(blocked(Layer::Security, &["phishing"]), None, &whole),
            TextForm::FullJson,
            r#"{"c":["mailto:help@isp.example","https://isp.example/\"blocked\""],"j":"Phishing","s":2,"o":"Ada's ISP\u0009\\","l":"en"}"#,
        ),
        (
            Reason::Blocked(blocked(Layer::Security, &["hacking"]), None, &whole),
            TextForm::ShortJson,
            r#"{"c":["mailto:help@isp.example","https://isp.example/\"blocked\""],"s":6}"#,
        ),
        (
            Reason::Blocked(blocked(Layer::DeviceDeny, &[]), None, &plain),
            TextForm::Plain,
            "own list",
        ),
        (
            Reason::Blocked(blocked(Layer::HouseholdDeny, &[]), None, &plain),
            TextForm::FullJson,
            r#"{"j":"own list","l":"en"}"#,
        ),
        (
            Reason::Code(EdeCode::NO_REACHABLE_AUTHORITY),
            TextForm::FullJson,
            "",
        ),
        (Reason::Stale(Rcode::NoError, None), TextForm::Plain, ""),
    ] {
        assert_eq!(text(reason, form), expected);
    }
}

#[test]
fn a_confidential_order_reads_like_a_public_one_in_every_form() {
    let whole = words(&["mailto:help@isp.example"], "ISP");
    let mandate = |confidential| {
        let name = Some("a.example".into());
        let basis = "court-order".into();
        let reference = Some("CO/1".into());
        Mandate::read(
            "a".parse().unwrap(),
            MandateDocument {
                name,
                basis,
                reference,
                confidential,
                ..MandateDocument::default()
            },
        )
        .unwrap()
    };
    let set = ActiveMandates::of(vec![Arc::new(mandate(false))]);
    let name = policy::name::Name::parse("a.example").unwrap();
    let verdict = Verdict {
        action: Action::Mandate(set.find(name.borrow()).unwrap()),
        ..Verdict::of_layer(Layer::Mandatory)
    };
    for mandate in [mandate(false), mandate(true)] {
        let reason = Reason::Blocked(verdict, Some(&mandate), &whole);
        assert_eq!(text(reason, TextForm::Plain), "court-order");
        assert_eq!(
            text(reason, TextForm::FullJson),
            r#"{"c":["mailto:help@isp.example"],"j":"a court's order","o":"ISP","l":"en"}"#
        );
        assert_eq!(
            text(reason, TextForm::ShortJson),
            r#"{"c":["mailto:help@isp.example"]}"#
        );
        assert_eq!(
            (text(reason, TextForm::CodeOnly), reason.code()),
            (String::new(), EdeCode::CENSORED)
        );
    }
    // An order in a feed has no known basis.
    for form in [
        TextForm::Plain,
        TextForm::FullJson,
        TextForm::ShortJson,
        TextForm::CodeOnly,
    ] {
        let of_feed = Reason::Blocked(verdict, None, &whole);
        assert_eq!(
            (text(of_feed, form), of_feed.code()),
            (String::new(), EdeCode::CENSORED)
        );
    }
}
