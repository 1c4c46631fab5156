//! How one query to a server is sent, and how it is sent again after a problem.
//!
//! ```text
//! problem                                  what is left out of the next query, one feature at a time
//! malformed, or sections cut off           EDNS; then over TCP; then over TCP without EDNS
//! FORMERR, NOTIMP, BADVERS                 options (if the reply has an OPT), EDNS, mixed case; then over TCP
//! SERVFAIL, REFUSED, other codes           options, mixed case, EDNS
//! a lame referral                          mixed case
//! NXDOMAIN, NODATA                         mixed case, to compare
//! no reply                                 see `query_zone.rs`: options and mixed case, then EDNS
//! wrong id, letter case or cookie          nothing: over TCP, where replies cannot be spoofed
//! ```
//!
//! Pure: the caller sends the queries, counts and remembers.

use super::problem::QueryProblem;

/// A feature of a query that some servers do not support.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Feature {
    /// EDNS options: cookies.
    Options,
    /// Mixed case in the query name (0x20).
    MixedCase,
    Edns,
}

impl Feature {
    pub const ALL: [Self; 3] = [Self::MixedCase, Self::Options, Self::Edns];

    /// The value of the metric label `without`, also for traces.
    pub fn label(self) -> &'static str {
        match self {
            Self::Options => "options",
            Self::MixedCase => "mixed letters",
            Self::Edns => "EDNS",
        }
    }
}

/// A set of features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Features {
    pub options: bool,
    pub mixed_case: bool,
    pub edns: bool,
}

impl Features {
    pub fn has(self, feature: Feature) -> bool {
        match feature {
            Feature::Options => self.options,
            Feature::MixedCase => self.mixed_case,
            Feature::Edns => self.edns,
        }
    }

    fn with(mut self, feature: Feature, is_in: bool) -> Self {
        match feature {
            Feature::Options => self.options = is_in,
            Feature::MixedCase => self.mixed_case = is_in,
            Feature::Edns => self.edns = is_in,
        }
        self
    }

    fn without(self, feature: Feature) -> Self {
        self.with(feature, false)
    }

    pub fn iter(self) -> impl Iterator<Item = Feature> {
        Feature::ALL
            .into_iter()
            .filter(move |feature| self.has(*feature))
    }
}

/// What is left out from the start, because earlier queries to the zone timed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InitialFallback {
    None,
    /// Mixed case and EDNS options.
    Options,
    /// EDNS as well.
    Edns,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UpstreamTransport<'a> {
    Udp,
    Tcp {
        /// Whether a datagram with another letter case is the reason.
        after_case_mismatch: bool,
    },
    Tls {
        /// The name that the server's certificate must prove.
        name: &'a str,
    },
}

/// How one query is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attempt<'a> {
    pub transport: UpstreamTransport<'a>,
    pub features: Features,
    /// The feature that the server does not support if this query succeeds where the one before did
    /// not.
    pub left_out: Option<Feature>,
    /// Features that were left out because of timeouts, which may be due to loss.
    pub suspected: Features,
    began_with_edns: bool,
    had_bad_cookie: bool,
}

/// What the server is known to support. Such features are not left out because of an error, which a
/// spoofed datagram can have as well.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Proof {
    pub supported: Features,
    /// Whether the query shows a capital letter at all.
    pub has_capitals: bool,
}

impl<'a> Attempt<'a> {
    /// The first query. `features` are those that the server may support, `proved` those that it
    /// does.
    pub fn first(
        tls: Option<&'a str>,
        features: Features,
        fallback: InitialFallback,
        proved: Features,
    ) -> Self {
        let may_suspect = |feature| match fallback {
            _ if tls.is_some() => false,
            InitialFallback::None => false,
            InitialFallback::Options => feature != Feature::Edns,
            InitialFallback::Edns => true,
        };
        let mut attempt = Self {
            transport: tls.map_or(UpstreamTransport::Udp, |name| UpstreamTransport::Tls {
                name,
            }),
            features,
            left_out: None,
            suspected: Features::default(),
            began_with_edns: false,
            had_bad_cookie: false,
        };
        for feature in features.iter() {
            if may_suspect(feature) && !proved.has(feature) {
                attempt.suspect(feature);
            }
        }
        attempt.began_with_edns = attempt.features.edns;
        attempt
    }

    pub fn is_udp(self) -> bool {
        self.transport == UpstreamTransport::Udp
    }

    /// How the query is sent again after a problem. None where nothing is left to try.
    pub fn next(self, problem: QueryProblem, proof: Proof) -> Option<Self> {
        match problem {
            QueryProblem::NoReply => self.after_no_reply(),
            QueryProblem::Mismatch { is_case_only } => Some(self.over_tcp(is_case_only)),
            QueryProblem::MissingCookie => Some(self.over_tcp(false)),
            // Once with the cookie that came with BADCOOKIE, then over TCP.
            QueryProblem::BadCookie if self.had_bad_cookie => Some(self.over_tcp(false)),
            QueryProblem::BadCookie => Some(Self {
                had_bad_cookie: true,
                ..self
            }),
            QueryProblem::Truncated => self.is_udp().then(|| self.over_tcp(false)),
            QueryProblem::Denied => Some(Self {
                left_out: None,
                ..self.without(Feature::MixedCase)
            }),
            QueryProblem::Malformed
            | QueryProblem::NotUnderstood { .. }
            | QueryProblem::ErrorCode { .. }
            | QueryProblem::Lame => self.fallback(problem, proof),
        }
    }

    /// After a case mismatch, id and port of the datagram were right: where TCP does not work, the
    /// query is sent once more by UDP, in lower case.
    fn after_no_reply(self) -> Option<Self> {
        let UpstreamTransport::Tcp {
            after_case_mismatch: true,
        } = self.transport
        else {
            return None;
        };
        let mut next = Self {
            transport: UpstreamTransport::Udp,
            ..self
        };
        next.suspect(Feature::MixedCase);
        Some(next)
    }

    fn fallback(self, problem: QueryProblem, proof: Proof) -> Option<Self> {
        let sent = self.features;
        // Over TCP replies cannot be spoofed, so an error counts more than an earlier success.
        let is_certain = matches!(self.transport, UpstreamTransport::Tcp { .. });
        let is_unproved = |feature| {
            sent.edns && sent.has(feature) && (is_certain || !proof.supported.has(feature))
        };
        let mixed_case = sent.mixed_case && proof.has_capitals && !proof.supported.mixed_case;
        let candidates: &[(Feature, bool)] = match problem {
            QueryProblem::NotUnderstood { has_opt: true, .. } => &[
                (Feature::Options, is_unproved(Feature::Options)),
                (Feature::Edns, sent.edns),
                (Feature::MixedCase, mixed_case),
            ],
            QueryProblem::NotUnderstood { has_opt: false, .. } => {
                &[(Feature::Edns, sent.edns), (Feature::MixedCase, mixed_case)]
            }
            QueryProblem::ErrorCode {
                has_opt,
                has_cookie,
            } => &[
                (
                    Feature::Options,
                    is_unproved(Feature::Options) && !has_cookie,
                ),
                (Feature::MixedCase, mixed_case),
                (Feature::Edns, is_unproved(Feature::Edns) && !has_opt),
            ],
            QueryProblem::Lame => &[(Feature::MixedCase, mixed_case)],
            _ => &[(Feature::Edns, sent.edns)],
        };
        let feature = candidates
            .iter()
            .find_map(|(feature, may)| may.then_some(*feature));
        match (feature, problem) {
            (Some(feature), _) => Some(self.without(feature)),
            // A malformed datagram under the right id may be spoofed to end the wait (TuDoor), and so
            // may a FORMERR to a query that has nothing left that a server does not support.
            (
                None,
                QueryProblem::Malformed
                | QueryProblem::NotUnderstood {
                    is_formerr: true, ..
                },
            ) if self.is_udp() => {
                let mut next = self.over_tcp(false);
                next.features.edns = self.began_with_edns;
                next.left_out = None;
                Some(next)
            }
            (None, _) => None,
        }
    }

    fn without(self, feature: Feature) -> Self {
        Self {
            features: self.features.without(feature),
            left_out: Some(feature),
            ..self
        }
    }

    fn suspect(&mut self, feature: Feature) {
        self.features = self.features.without(feature);
        self.suspected = self.suspected.with(feature, true);
    }

    fn over_tcp(self, after_case_mismatch: bool) -> Self {
        let transport = match self.transport {
            UpstreamTransport::Tls { name } => UpstreamTransport::Tls { name },
            UpstreamTransport::Udp | UpstreamTransport::Tcp { .. } => UpstreamTransport::Tcp {
                after_case_mismatch,
            },
        };
        Self { transport, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Features = Features {
        options: true,
        mixed_case: true,
        edns: true,
    };

    fn first() -> Attempt<'static> {
        Attempt::first(None, ALL, InitialFallback::None, Features::default())
    }

    /// The features that are left out and the transports, until nothing is left to try.
    fn course(mut attempt: Attempt<'_>, problem: QueryProblem, proof: Proof) -> Vec<String> {
        let mut course = Vec::new();
        while let Some(next) = attempt.next(problem, proof) {
            assert_ne!(next, attempt, "{course:?}");
            let lost = Feature::ALL
                .into_iter()
                .find(|feature| attempt.features.has(*feature) && !next.features.has(*feature));
            course.push(match (lost, next.transport) {
                (Some(feature), _) => feature.label().to_owned(),
                (None, transport) => format!("{transport:?}").to_lowercase(),
            });
            attempt = next;
        }
        course
    }

    fn check(problem: QueryProblem, expected: &[&str]) {
        let proof = Proof {
            has_capitals: true,
            ..Proof::default()
        };
        let course: Vec<String> = course(first(), problem, proof)
            .into_iter()
            .map(|step| step.replace("tcp { after_case_mismatch: false }", "TCP"))
            .collect();
        assert_eq!(course, expected, "{problem:?}");
    }

    #[test]
    fn each_problem_leaves_out_one_feature_after_another() {
        check(QueryProblem::Malformed, &["EDNS", "TCP", "EDNS"]);
        check(QueryProblem::Truncated, &["TCP"]);
        check(QueryProblem::Lame, &["mixed letters"]);
        check(
            QueryProblem::ErrorCode {
                has_opt: false,
                has_cookie: false,
            },
            &["options", "mixed letters", "EDNS"],
        );
        check(
            QueryProblem::ErrorCode {
                has_opt: true,
                has_cookie: true,
            },
            &["mixed letters"],
        );
        check(
            QueryProblem::NotUnderstood {
                is_formerr: true,
                has_opt: true,
            },
            &["options", "EDNS", "mixed letters", "TCP", "EDNS"],
        );
        check(
            QueryProblem::NotUnderstood {
                is_formerr: false,
                has_opt: false,
            },
            &["EDNS", "mixed letters"],
        );
    }

    #[test]
    fn what_a_server_supports_is_not_left_out_unless_over_tcp() {
        let problem = QueryProblem::ErrorCode {
            has_opt: false,
            has_cookie: false,
        };
        let proof = Proof {
            supported: ALL,
            has_capitals: true,
        };
        assert_eq!(first().next(problem, proof), None);
        let over_tcp = first().next(QueryProblem::Truncated, proof).unwrap();
        assert_eq!(course(over_tcp, problem, proof), ["options", "EDNS"]);
    }

    #[test]
    fn a_bad_cookie_is_sent_again_once_and_then_over_tcp() {
        let again = first()
            .next(QueryProblem::BadCookie, Proof::default())
            .unwrap();
        assert!(again.is_udp() && again.features == ALL);
        let over_tcp = again
            .next(QueryProblem::BadCookie, Proof::default())
            .unwrap();
        assert!(!over_tcp.is_udp());
    }

    #[test]
    fn after_a_case_mismatch_udp_in_lower_case_follows_tcp_that_fails() {
        let proof = Proof::default();
        assert_eq!(first().next(QueryProblem::NoReply, proof), None);
        for is_case_only in [true, false] {
            let mismatch = QueryProblem::Mismatch { is_case_only };
            let over_tcp = first().next(mismatch, proof).unwrap();
            let again = over_tcp.next(QueryProblem::NoReply, proof);
            assert_eq!(again.is_some(), is_case_only);
            if let Some(again) = again {
                assert!(again.is_udp() && !again.features.mixed_case);
                assert!(again.suspected.mixed_case && again.left_out.is_none());
            }
        }
    }

    #[test]
    fn after_timeouts_what_is_not_proved_is_left_out_from_the_start() {
        let suspected = |tls, fallback, proved| {
            let attempt = Attempt::first(tls, ALL, fallback, proved);
            attempt.suspected.iter().collect::<Vec<_>>()
        };
        let none = Features::default();
        assert_eq!(suspected(None, InitialFallback::None, none), []);
        assert_eq!(
            suspected(None, InitialFallback::Options, none),
            [Feature::MixedCase, Feature::Options]
        );
        assert_eq!(suspected(None, InitialFallback::Edns, none), Feature::ALL);
        assert_eq!(suspected(None, InitialFallback::Edns, ALL), []);
        assert_eq!(
            suspected(Some("ns.example"), InitialFallback::Edns, none),
            []
        );
    }
}
