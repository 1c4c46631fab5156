//! Rounds in, medians out: a table to read and a file for programs.
//!
//! A machine's speed changes from one moment to the next, so each round measures everybody, and a
//! ratio is formed inside a round before the median is taken.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::reload::Reload;

/// One contestant in one round.
#[derive(Debug, Clone, PartialEq)]
pub struct Round {
    /// Microseconds of the server's CPU a reply.
    pub cpu_us: f64,
    /// The same for names that must be asked for at an authority; none for who does not resolve.
    pub cold_us: Option<f64>,
    /// The same for signed names, asked with DO of a contestant that validates.
    pub cold_dnssec_us: Option<f64>,
    /// Replies a second.
    pub qps: f64,
    /// Median latency, in microseconds.
    pub p50_us: f64,
    /// 99th percentile, in microseconds.
    pub p99_us: f64,
    /// Queries without a reply.
    pub lost: u64,
    /// Resident memory at the end, in octets.
    pub resident: u64,
    /// Hundredths of a core-second that the hypervisor took meanwhile.
    pub stolen: u64,
}

/// A contestant with all its rounds.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Who, and how set up.
    pub name: String,
    /// The program's version.
    pub version: String,
    /// Whether the lists are on.
    pub lists: bool,
    /// Households that are stored.
    pub households: u32,
    /// Threads that answer.
    pub workers: usize,
    /// `plain`; `filter`: a fifth of the queries is for listed names; `dnssec`: signed names.
    pub mix: &'static str,
    /// In order.
    pub rounds: Vec<Round>,
    /// From the start until the first right answer, in milliseconds.
    pub start_ms: f64,
    /// Octets of memory a listed name, over the same program without the list.
    pub octets_a_name: Option<f64>,
    /// What a change of the list took; none where there is no list, or where it could not be
    /// changed.
    pub reload: Option<Reload>,
}

/// The value in the middle; of two, the upper one.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Measured {
    fn median(&self, value: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(value))
    }

    /// The median of the rounds that have a figure.
    fn median_of_some(&self, value: impl Fn(&Round) -> Option<f64>) -> Option<f64> {
        let values: Vec<f64> = self.rounds.iter().filter_map(value).collect();
        (!values.is_empty()).then(|| median(values))
    }

    /// Microseconds of CPU for a name that must be asked for.
    fn cold(&self) -> Option<f64> {
        self.median_of_some(|round| round.cold_us)
    }

    /// The same for signed names.
    fn cold_dnssec(&self) -> Option<f64> {
        self.median_of_some(|round| round.cold_dnssec_us)
    }

    fn lost(&self) -> u64 {
        self.rounds.iter().map(|round| round.lost).sum()
    }

    /// CPU a reply as a multiple of another's in the same round; the median of those.
    pub fn ratio(&self, other: &Self) -> f64 {
        median(
            self.rounds
                .iter()
                .zip(&other.rounds)
                .map(|(ours, theirs)| ours.cpu_us / theirs.cpu_us),
        )
    }

    fn json(&self, floor: Option<&Self>) -> Value {
        json!({
            "name": self.name,
            "version": self.version,
            "lists": self.lists,
            "households": self.households,
            "cpu_us_per_query": self.median(|round| round.cpu_us),
            "cold_cpu_us_per_query": self.cold(),
            "cold_dnssec_cpu_us_per_query": self.cold_dnssec(),
            "qps": self.median(|round| round.qps),
            "p50_us": self.median(|round| round.p50_us),
            "p99_us": self.median(|round| round.p99_us),
            "lost": self.lost(),
            "rss_mib": self.median(|round| round.resident as f64) / f64::from(1 << 20),
            "mix": self.mix,
            "x_echo": floor.map(|floor| self.ratio(floor)),
            "start_ms": self.start_ms,
            "octets_a_name": self.octets_a_name,
            "workers": self.workers,
            "reload_ms": self.reload.map(|reload| reload.ms),
            "reload_worst_ms": self.reload.map(|reload| reload.worst_ms),
            "reload_lost": self.reload.map(|reload| reload.lost),
        })
    }
}

/// The floor: the first one, if it is the echo.
fn floor(all: &[Measured]) -> Option<&Measured> {
    all.iter().find(|measured| measured.name == "echo")
}

/// The file for programs.
pub fn json(all: &[Measured]) -> Value {
    all.iter()
        .map(|measured| measured.json(floor(all)))
        .collect()
}

/// One line a round: shows the noise.
pub fn rounds(all: &[Measured]) -> String {
    let mut text = String::new();
    for measured in all {
        for (number, round) in measured.rounds.iter().enumerate() {
            let row = json!({
                "name": measured.name, "lists": measured.lists, "households": measured.households, "mix": measured.mix, "round": number,
                "cpu_us": round.cpu_us, "cold_us": round.cold_us, "cold_dnssec_us": round.cold_dnssec_us, "qps": round.qps, "p50_us": round.p50_us, "p99_us": round.p99_us, "lost": round.lost, "stolen": round.stolen,
            });
            let _ = writeln!(text, "{row}");
        }
    }
    text
}

fn or_dash(figure: Option<String>) -> String {
    figure.unwrap_or_else(|| "-".to_owned())
}

/// The table for people, in Markdown.
pub fn table(all: &[Measured]) -> String {
    let mut text = "| contestant | version | lists | households | mix | CPU us/query | x echo | cold us/query | cold dnssec us/query | qps | p50 us | p99 us | lost | RSS MiB | octets/name | start ms | \
        reload ms | worst ms in it | lost in it |\n\
        |---|---|---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"
        .to_owned();
    for measured in all {
        let ratio = floor(all).map_or(f64::NAN, |floor| measured.ratio(floor));
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {:.2} | {ratio:.2} | {} | {} | {:.0} | {:.0} | {:.0} | {} | {:.0} | {} | {:.0} | {} | {} | {} |",
            measured.name,
            measured.version,
            if measured.lists { "on" } else { "off" },
            measured.households,
            measured.mix,
            measured.median(|round| round.cpu_us),
            or_dash(measured.cold().map(|cold| format!("{cold:.1}"))),
            or_dash(measured.cold_dnssec().map(|cold| format!("{cold:.1}"))),
            measured.median(|round| round.qps),
            measured.median(|round| round.p50_us),
            measured.median(|round| round.p99_us),
            measured.lost(),
            measured.median(|round| round.resident as f64) / f64::from(1 << 20),
            or_dash(measured.octets_a_name.map(|octets| format!("{octets:.0}"))),
            measured.start_ms,
            or_dash(measured.reload.map(|reload| format!("{:.0}", reload.ms))),
            or_dash(
                measured
                    .reload
                    .map(|reload| format!("{:.1}", reload.worst_ms))
            ),
            or_dash(measured.reload.map(|reload| reload.lost.to_string())),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(name: &str, cpu: [f64; 3]) -> Measured {
        let round = |cpu_us| Round {
            cpu_us,
            cold_us: (name == "ours").then_some(60.0),
            cold_dnssec_us: (name == "ours").then_some(90.0),
            qps: 1e6 / cpu_us,
            p50_us: 1.0,
            p99_us: 2.0,
            lost: 1,
            resident: 3 << 20,
            stolen: 0,
        };
        let version = "1".to_owned();
        let rounds = cpu.map(round).into();
        let reload = (name == "ours").then_some(Reload {
            ms: 1_634.5,
            worst_ms: 2.25,
            lost: 4,
            wrong: 0,
        });
        Measured {
            name: name.to_owned(),
            version,
            lists: true,
            households: 7,
            workers: 1,
            mix: "filter",
            rounds,
            start_ms: 5.0,
            octets_a_name: None,
            reload,
        }
    }

    #[test]
    fn a_ratio_is_formed_inside_a_round() {
        // The machine was half as fast in the second round: the ratio of medians would say 2.
        let echo = measured("echo", [1.0, 2.0, 1.0]);
        let ours = measured("ours", [1.5, 3.0, 1.5]);
        assert!((ours.ratio(&echo) - 1.5).abs() < 1e-9);
        let all = json(&[echo.clone(), ours.clone()]);
        assert_eq!(
            (
                &all[1]["name"],
                &all[1]["lost"],
                &all[1]["rss_mib"],
                &all[1]["x_echo"]
            ),
            (&json!("ours"), &json!(3), &json!(3.0), &json!(1.5))
        );
        for field in [
            "version",
            "lists",
            "households",
            "cpu_us_per_query",
            "qps",
            "p50_us",
            "p99_us",
        ] {
            assert!(!all[0][field].is_null(), "{field}");
        }
        for (field, value) in [
            ("cold_cpu_us_per_query", json!(60.0)),
            ("cold_dnssec_cpu_us_per_query", json!(90.0)),
            ("reload_ms", json!(1_634.5)),
            ("reload_worst_ms", json!(2.25)),
            ("reload_lost", json!(4)),
            ("workers", json!(1)),
        ] {
            assert_eq!(all[1][field], value, "{field}");
        }
        assert!(
            all[0]["reload_ms"].is_null()
                && all[0]
                    .as_object()
                    .is_some_and(|row| row.contains_key("reload_lost"))
        );
        let rows = table(&[echo.clone(), ours.clone()]);
        assert!(
            rows.contains("| - | 5 | - | - | - |") && rows.contains("| - | 5 | 1634 | 2.2 | 4 |"),
            "{rows}"
        );
        let columns: Vec<usize> = rows.lines().map(|row| row.matches('|').count()).collect();
        assert_eq!(columns, [20; 4], "{rows}");
        assert!(
            table(&[echo.clone(), ours.clone()])
                .contains("| ours | 1 | on | 7 | filter | 1.50 | 1.50 | 60.0 | 90.0 | 666667 |")
        );
        assert_eq!(rounds(&[echo, ours]).lines().count(), 6);
    }
}
