//! What an unnamed device may be: by the maker of its MAC address, and by the names that it asks
//! for.

use policy::{name::Name, rules::household::Mac};
use policy_store::DeviceGuess;

use super::{
    mac_register::MacRegister,
    makers::{Maker, Makers},
};

/// Names that are kept as evidence of one device.
pub(super) const CLUES_MAX: usize = 8;
/// Names of one maker that the evidence shows.
const SHOWN_MAX: usize = 3;

/// A name that a device asked for, and the maker whose devices do so.
pub(super) type Clue = (&'static Maker, Name);

/// Adds a name to the clues, if it is one. Returns whether it was added.
pub(super) fn note(clues: &mut Vec<Clue>, name: Name) -> bool {
    let is_known = clues.iter().any(|(_, known)| *known == name);
    if is_known || clues.len() >= CLUES_MAX {
        return false;
    }
    let maker = Makers::shipped().by_name(name.borrow());
    clues.extend(maker.map(|maker| (maker, name)));
    maker.is_some()
}

/// The best guess; `None` if nothing tells.
pub(super) fn guess(
    register: &MacRegister,
    mac: Option<Mac>,
    clues: &[Clue],
) -> Option<DeviceGuess> {
    let registered = mac.and_then(|mac| register.maker(mac));
    let known = registered.and_then(|name| Makers::shipped().by_registered(name));
    // Apps of other makers' devices run on a phone: the maker of the interface goes first.
    let of_known = |clue: &&Clue| known.is_some_and(|known| known.name == clue.0.name);
    let by_name = match clues.iter().find(of_known) {
        Some(clue) => Some(clue.0),
        None if known.is_some() => known,
        None if registered.is_some() => None,
        None => most_frequent(clues),
    };
    let mut evidence = Vec::new();
    if let Some(registered) = registered {
        evidence.push(format!("its MAC address is registered to {registered}"));
    }
    if let Some(maker) = by_name.or_else(|| most_frequent(clues)) {
        let asked = clues.iter().filter(|(other, _)| *other == maker);
        let asked: Vec<String> = asked
            .take(SHOWN_MAX)
            .map(|(_, name)| name.to_string())
            .collect();
        if !asked.is_empty() {
            evidence.push(format!(
                "it asked for {}, as devices of {} do ({})",
                asked.join(", "),
                maker.name,
                maker.kind
            ));
        }
    }
    let maker = by_name.map(|maker| maker.name.clone());
    (!evidence.is_empty()).then(|| DeviceGuess {
        maker: maker.or_else(|| registered.map(str::to_owned)),
        kind: by_name.map(|maker| maker.kind.clone()),
        evidence,
    })
}

/// A guess with what a DHCP name tells, which any device may give: it adds evidence, and fills in
/// what nothing better tells.
pub(super) fn with_dhcp_name(
    guess: Option<DeviceGuess>,
    dhcp_name: Option<&str>,
) -> Option<DeviceGuess> {
    let Some(name) = dhcp_name else { return guess };
    let maker = Makers::shipped().by_dhcp_name(name);
    let mut guess = guess.unwrap_or_default();
    if guess.maker.is_none() && guess.kind.is_none() {
        guess.maker = maker.map(|maker| maker.name.clone());
        guess.kind = maker.map(|maker| maker.kind.clone());
    }
    guess
        .evidence
        .push(format!("its name at the router is “{name}”"));
    Some(guess)
}

/// The maker of most clues; of several the first.
pub(super) fn most_frequent(clues: &[Clue]) -> Option<&'static Maker> {
    let count = |maker: &Maker| clues.iter().filter(|(other, _)| *other == maker).count();
    let mut best: Option<&'static Maker> = None;
    for (maker, _) in clues {
        if best.is_none_or(|best| count(maker) > count(best)) {
            best = Some(maker);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register() -> MacRegister {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("oui.json");
        let text =
            r#"{"00005E":"Sonos, Inc.","00005F":"Unheard Of Ltd","000060":"Samsung Electronics"}"#;
        std::fs::write(&path, text).unwrap();
        MacRegister::read(&[path]).unwrap()
    }

    fn guessed(mac: Option<&str>, names: &[&str]) -> Option<[Option<String>; 2]> {
        let mut clues = Vec::new();
        for name in names {
            note(&mut clues, Name::parse(name).unwrap());
        }
        let mac = mac.map(|mac| mac.parse().unwrap());
        guess(&register(), mac, &clues).map(|guess| [guess.maker, guess.kind])
    }

    fn is(maker: &str, kind: &str) -> Option<[Option<String>; 2]> {
        let word = |word: &str| (!word.is_empty()).then(|| word.to_owned());
        Some([word(maker), word(kind)])
    }

    #[test]
    fn the_interface_goes_before_the_names_and_nothing_is_no_guess() {
        let ring = ["fw.ring.com", "www.example", "es.ring.com"];
        assert_eq!(guessed(None, &["www.example"]), None);
        assert_eq!(guessed(None, &ring), is("Ring", "doorbell or camera"));
        let sonos = Some("00:00:5e:00:53:01");
        assert_eq!(guessed(sonos, &[]), is("Sonos", "speaker"));
        assert_eq!(guessed(sonos, &ring), is("Sonos", "speaker"));
        let unheard = Some("00:00:5f:00:53:01");
        assert_eq!(guessed(unheard, &ring), is("Unheard Of Ltd", ""));
        let random = Some("02:00:5e:00:53:01");
        assert_eq!(guessed(random, &ring), is("Ring", "doorbell or camera"));
        let samsung = Some("00:00:60:00:53:01");
        let names = ["fw.ring.com", "cdn.samsungotn.net"];
        assert_eq!(guessed(samsung, &names), is("Samsung", "television"));
    }

    #[test]
    fn a_dhcp_name_is_evidence_and_never_outdoes_what_was_seen() {
        let told = |guess, name| with_dhcp_name(guess, Some(name)).unwrap();
        let alone = told(None, "Ellas-iPhone");
        assert_eq!(alone.maker.as_deref(), Some("Apple"));
        assert_eq!(alone.evidence, ["its name at the router is “Ellas-iPhone”"]);
        let unheard = told(None, "<b>kitchen</b>");
        assert_eq!((&unheard.maker, &unheard.kind), (&None, &None));
        assert_eq!(unheard.evidence.len(), 1);
        let mut clues = Vec::new();
        note(&mut clues, Name::parse("fw.ring.com").unwrap());
        let seen = guess(&register(), None, &clues);
        let both = told(seen, "iPhone");
        assert_eq!(both.maker.as_deref(), Some("Ring"));
        assert_eq!(both.evidence.len(), 2);
        assert_eq!(with_dhcp_name(None, None), None);
    }

    #[test]
    fn the_evidence_names_what_tells() {
        let mut clues = Vec::new();
        for name in ["a.ring.com", "a.ring.com", "b.ring.com", "www.example"] {
            note(&mut clues, Name::parse(name).unwrap());
        }
        let guess = guess(&register(), None, &clues).unwrap();
        let text =
            "it asked for a.ring.com, b.ring.com, as devices of Ring do (doorbell or camera)";
        assert_eq!(guess.evidence, [text]);
        for number in 0..20 {
            note(
                &mut clues,
                Name::parse(&format!("n{number}.ring.com")).unwrap(),
            );
        }
        assert_eq!(clues.len(), CLUES_MAX);
    }
}
