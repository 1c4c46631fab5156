//! Servers that do not support EDNS or its options, replies that are cut off, and cookies.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use hickory_proto::{
    op::{Edns, Message, ResponseCode},
    rr::{RecordType, rdata::opt::EdnsOption},
};
use tokio::time::sleep;

use super::{odd_servers::*, script::*};

#[tokio::test(start_paused = true)]
async fn a_reply_that_is_cut_off_is_queried_again_without_edns() {
    type Damage = (&'static str, fn(&Message) -> Play);
    let damages: [Damage; 7] = [
        ("counts a record that is not there", |truth| {
            altered(&without_opt(truth.clone()), |octets| octets[11] = 1)
        }),
        ("counts too many additional records", |truth| {
            altered(truth, |octets| octets[11] = 3)
        }),
        ("counts too many answers", |truth| {
            altered(&without_opt(truth.clone()), |octets| octets[7] = 9)
        }),
        ("counts authorities that are not there", |truth| {
            altered(&without_opt(truth.clone()), |octets| octets[9] = 1)
        }),
        ("ends within the answer", |truth| {
            altered(&without_opt(truth.clone()), |octets| {
                octets.truncate(octets.len() - 2)
            })
        }),
        ("ends within the OPT", |truth| {
            altered(truth, |octets| octets.truncate(octets.len() - 3))
        }),
        ("has an OPT that reaches past its end", |truth| {
            altered(truth, |octets| *octets.last_mut().unwrap() = 200)
        }),
    ];
    for (what, damage) in damages {
        let world = world(6, move |sent, _, truth| {
            if sent.edns {
                damage(&truth)
            } else {
                say(truth)
            }
        });
        found_and_remembered(what, world, |sent| !sent.edns).await;
    }
}

#[tokio::test(start_paused = true)]
async fn trailing_octets_and_odd_opt_records_are_accepted() {
    const OPT: [u8; 11] = [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0];
    type Odd = (&'static str, fn(&Message) -> Play);
    let odd: [Odd; 5] = [
        ("octets behind the message", |truth| {
            altered(truth, |octets| octets.extend(b"garbage"))
        }),
        ("two OPT records", |truth| {
            altered(truth, |octets| {
                octets.extend(OPT);
                octets[11] += 1;
            })
        }),
        ("an option that is longer than its list", |truth| {
            altered(&without_opt(truth.clone()), |octets| {
                octets.extend(&OPT[..10]);
                octets.extend([4, 0, 10, 0, 9]);
                octets[11] += 1;
            })
        }),
        ("half an option", |truth| {
            altered(&without_opt(truth.clone()), |octets| {
                octets.extend(&OPT[..10]);
                octets.extend([1, 0]);
                octets[11] += 1;
            })
        }),
        ("an OPT with a name", |truth| {
            altered(&without_opt(truth.clone()), |octets| {
                octets.extend([1, b'x']);
                octets.extend(OPT);
                octets[11] += 1;
            })
        }),
    ];
    for (what, odd) in odd {
        let world = world(7, move |sent, _, truth| {
            if sent.edns {
                odd(&truth)
            } else {
                Play::Silence
            }
        });
        found_and_remembered(what, world, |sent| sent.edns && sent.options).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_without_its_last_records_serves_without_edns() {
    let world = world(8, |_, _, truth| {
        altered(&without_opt(truth), |octets| octets[11] = 5)
    });
    found_and_remembered("counts too many, always", world, |sent| !sent.tcp).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_fails_with_options_is_queried_without_them() {
    type Wrong = (&'static str, fn(&Message) -> Play);
    let wrong: [Wrong; 7] = [
        ("fails", |truth| say(denial(truth, ResponseCode::ServFail))),
        ("refuses", |truth| say(denial(truth, ResponseCode::Refused))),
        ("fails without OPT", |truth| {
            say(without_opt(denial(truth, ResponseCode::ServFail)))
        }),
        ("does not understand", |truth| {
            say(denial(truth, ResponseCode::FormErr))
        }),
        ("takes it for another version", |truth| {
            say(denial(truth, ResponseCode::BADVERS))
        }),
        ("cannot do that", |truth| {
            say(denial(truth, ResponseCode::NotImp))
        }),
        ("is silent", |_| Play::Silence),
    ];
    for (what, play) in wrong {
        let world = world(9, move |sent, _, truth| {
            if sent.options {
                play(&truth)
            } else {
                say(truth)
            }
        });
        found_and_remembered(what, world, |sent| sent.edns && !sent.options).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_fails_with_edns_is_queried_without_it() {
    type Wrong = (&'static str, fn(&Message) -> Play);
    let wrong: [Wrong; 6] = [
        ("fails", |truth| {
            say(without_opt(denial(truth, ResponseCode::ServFail)))
        }),
        ("refuses", |truth| {
            say(without_opt(denial(truth, ResponseCode::Refused)))
        }),
        ("does not understand", |truth| {
            say(without_opt(denial(truth, ResponseCode::FormErr)))
        }),
        ("does not understand, with OPT", |truth| {
            say(denial(truth, ResponseCode::FormErr))
        }),
        ("knows no version", |truth| {
            say(denial(truth, ResponseCode::BADVERS))
        }),
        ("is silent", |_| Play::Silence),
    ];
    for (what, play) in wrong {
        let world = world(10, move |sent, _, truth| {
            if sent.edns {
                play(&truth)
            } else {
                say(without_opt(truth))
            }
        });
        found_and_remembered(what, world, |sent| !sent.edns).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_without_edns_is_tried_with_it_again_after_an_hour() {
    let (script, seen) = world(11, |sent, _, truth| {
        say(if sent.edns {
            without_opt(denial(&truth, ResponseCode::FormErr))
        } else {
            without_opt(truth)
        })
    });
    let (recursor, _) = recursor(script);
    assert_eq!(ask(&recursor, NAMES[0].0, RecordType::A).await, NAMES[0].1);
    for _ in 0..35 {
        sleep(Duration::from_secs(100)).await;
        assert_eq!(ask(&recursor, NAMES[0].0, RecordType::A).await, NAMES[0].1);
    }
    taken(&seen);
    sleep(Duration::from_secs(100)).await;
    assert_eq!(ask(&recursor, NAMES[0].0, RecordType::A).await, NAMES[0].1);
    assert!(
        taken(&seen)[0].edns,
        "responses without EDNS do not prolong the hour"
    );
}

#[tokio::test(start_paused = true)]
async fn without_cookies_no_server_gets_an_option() {
    let (script, seen) = world(12, |_, _, truth| say(truth));
    let (recursor, _) = recursor_with(script, |settings| settings.cookies = false);
    assert_eq!(ask(&recursor, NAMES[0].0, RecordType::A).await, NAMES[0].1);
    let asked = taken(&seen);
    assert!(
        !asked.is_empty() && asked.iter().all(|sent| sent.edns && !sent.options),
        "{asked:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_spoofed_error_does_not_disable_the_cookie_of_a_server() {
    type Forged = fn(&Message) -> Play;
    let forged: [Forged; 4] = [
        |truth| say(denial(truth, ResponseCode::ServFail)),
        |truth| say(without_opt(denial(truth, ResponseCode::FormErr))),
        |truth| say(with_soa(denial(truth, ResponseCode::NXDomain))),
        |truth| altered(truth, |octets| octets[7] = 9),
    ];
    for forge in forged {
        let (script, seen) = world(13, move |sent, query, mut truth| {
            let cookie = query
                .edns
                .as_ref()
                .and_then(|edns| match edns.option(10.into()) {
                    Some(EdnsOption::Unknown(_, cookie)) => Some(cookie.clone()),
                    _ => None,
                });
            let cookie = cookie.expect("every query has a cookie");
            if cookie.len() > 8 && !sent.tcp {
                return forge(&truth);
            }
            truth
                .edns
                .get_or_insert_with(Edns::new)
                .options_mut()
                .insert(EdnsOption::Unknown(
                    10,
                    [&cookie[..8], b"server!!"].concat(),
                ));
            say(truth)
        });
        let (recursor, _) = recursor(script);
        for (name, said) in NAMES {
            assert_eq!(ask(&recursor, name, RecordType::A).await, said);
        }
        let asked = taken(&seen);
        assert!(asked.iter().all(|sent| sent.options), "{asked:?}");
        assert!(
            asked.iter().any(|sent| sent.tcp),
            "a reply without the cookie is queried again over TCP"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_drops_options_is_believed_over_tcp() {
    let has_dropped = Arc::new(Mutex::new(false));
    let dropped = Arc::clone(&has_dropped);
    let (script, seen) = world(17, move |sent, query, mut truth| {
        let cookie = query
            .edns
            .as_ref()
            .and_then(|edns| match edns.option(10.into()) {
                Some(EdnsOption::Unknown(_, cookie)) => Some(cookie.clone()),
                _ => None,
            });
        match cookie {
            Some(_) if *dropped.lock().unwrap() => {
                return say(denial(&truth, ResponseCode::ServFail));
            }
            Some(cookie) => {
                let option = EdnsOption::Unknown(10, [&cookie[..8], b"server!!"].concat());
                truth
                    .edns
                    .get_or_insert_with(Edns::new)
                    .options_mut()
                    .insert(option);
            }
            None => assert!(*dropped.lock().unwrap() && (sent.tcp || !sent.options)),
        }
        say(truth)
    });
    let (recursor, _) = recursor(script);
    assert_eq!(ask(&recursor, NAMES[0].0, RecordType::A).await, NAMES[0].1);
    *has_dropped.lock().unwrap() = true;
    assert_eq!(ask(&recursor, NAMES[1].0, RecordType::A).await, NAMES[1].1);
    taken(&seen);
    assert_eq!(
        ask(&recursor, "alphabetical.example.com", RecordType::A).await,
        "NoError 192.0.2.3"
    );
    let again = taken(&seen);
    assert!(
        again.len() == 1 && !again[0].options && !again[0].tcp,
        "it is remembered: {again:?}"
    );
}
