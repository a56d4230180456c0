//! The end of the demo: the closing tables, and whether everything was as it should be.
//!
//! It was, if each connection delivered every byte once and in order, if there were two switches, the first planned and
//! the second unexpected, that led where they should, and if each had all connections open before and after.

use std::time::Duration;

use handover_control::{Kind, Outcome, SwitchEntry};

use super::lines::Lines;
use super::play::Observed;
use super::stage::Network;
use super::traffic::{Application, StreamFigures};
use crate::exit::Exit;
use crate::table::Table;

/// Prints the tables and the verdict.
pub(super) fn announce(observed: &Observed, lines: &Lines) -> anyhow::Result<Exit> {
    let faults = faults(observed);
    let verdict = if faults.is_empty() {
        "Every byte arrived, once and in order; no application noticed the switches.".to_owned()
    } else {
        format!("FAILED: {}.", faults.join("; "))
    };
    let text = format!(
        "\n{}\n{}\n{}\n\n{verdict}",
        streams(&observed.streams).render(),
        switches(&observed.switches, &observed.slowest_echoes).render(),
        count(observed),
    );
    lines.say(&text)?;
    Ok(if faults.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

fn streams(streams: &[StreamFigures]) -> Table {
    Table::new([
        "STREAM",
        "BYTES SENT",
        "BYTES RECEIVED",
        "SHA-256 SENT",
        "SHA-256 RECEIVED",
        "EQUAL",
    ])
    .rows(streams, |stream| {
        [
            stream.application.name().to_owned(),
            stream.sent.bytes.to_string(),
            stream.received.bytes.to_string(),
            stream.sent.short_hash(8),
            stream.received.short_hash(8),
            if is_whole(stream) { "yes" } else { "NO" }.to_owned(),
        ]
    })
}

fn switches(switches: &[SwitchEntry], slowest_echoes: &[Duration]) -> Table {
    let echoes = slowest_echoes
        .iter()
        .map(Some)
        .chain(std::iter::repeat(None));
    Table::new([
        "SWITCH FROM",
        "TO",
        "KIND",
        "PROCEDURE",
        "OUTCOME",
        "TOOK MS",
        "GAP MS",
        "SLOWEST ECHO MS",
    ])
    .rows(switches.iter().zip(echoes), |(entry, echo)| {
        let gap = entry.gap_ms.map(|gap| format!("{gap:.1}"));
        let echo = echo.map(|echo| format!("{:.1}", echo.as_secs_f64() * 1e3));
        [
            entry.from.clone(),
            entry.to.clone(),
            entry.kind.to_string(),
            entry.procedure.to_string(),
            entry.outcome.to_string(),
            format!("{:.1}", entry.duration_ms),
            gap.unwrap_or_else(|| "-".to_owned()),
            echo.unwrap_or_else(|| "-".to_owned()),
        ]
    })
}

fn count(observed: &Observed) -> String {
    let [before, between, after] = observed.open_streams;
    let [client, server] = observed.left_streams;
    format!(
        "Streams: {before} before the switches, {between} between them, {after} after them; \
         at the end {client} left in the client, {server} in the server."
    )
}

/// Whatever is not as it should be, in words.
fn faults(observed: &Observed) -> Vec<String> {
    let mut faults = Vec::new();
    for stream in &observed.streams {
        if !is_whole(stream) {
            let name = stream.application.name();
            faults.push(format!("what the {name} received is not what was sent"));
        }
    }
    let all = Application::ALL.len();
    if observed.streams.len() != all || observed.open_streams != [all as u64; 3] {
        faults.push(format!("not all {all} streams were open all the time"));
    }
    if observed.left_streams != [0, 0] {
        faults.push("a daemon holds on to streams that are over".to_owned());
    }
    let (wireless, mobile) = (Network::Wireless, Network::Mobile);
    match observed.switches.as_slice() {
        [ordered, forced] => {
            let expected = [
                (ordered, Kind::Planned, [wireless, mobile]),
                (forced, Kind::Unexpected, [mobile, wireless]),
            ];
            faults.extend(expected.into_iter().filter_map(unlike));
        }
        switches => faults.push(format!("{} switches instead of two", switches.len())),
    }
    faults
}

/// Everything that was sent was received, and there was something.
fn is_whole(stream: &StreamFigures) -> bool {
    stream.sent.bytes > 0 && stream.sent == stream.received
}

fn unlike((entry, kind, [from, to]): (&SwitchEntry, Kind, [Network; 2])) -> Option<String> {
    let as_expected = entry.kind == kind
        && entry.outcome == Outcome::Done
        && entry.from == from.name()
        && entry.to == to.name()
        && entry.gap_ms.is_some();
    (!as_expected).then(|| {
        format!("the switch from {from} to {to} should be {kind} and done, and its gap known")
    })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use handover_control::Procedure;

    use super::super::tally::Figure;
    use super::*;

    #[test]
    fn a_run_in_which_all_is_well_has_no_faults() {
        assert_eq!(faults(&good()), [""; 0]);
    }

    #[test]
    fn each_difference_is_a_fault() {
        let differences: [fn(&mut Observed); 11] = [
            |run| run.streams[0].received = Figure::of(b"abd"),
            |run| run.streams[1].received = Figure::of(b"ab"),
            |run| {
                run.streams[2].sent = Figure::of(b"");
                run.streams[2].received = Figure::of(b"");
            },
            |run| run.switches[0].kind = Kind::Unexpected,
            |run| run.switches[1].kind = Kind::Planned,
            |run| run.switches[1].outcome = Outcome::Failed,
            |run| run.switches[1].to = "wwan0".to_owned(),
            |run| run.switches[1].gap_ms = None,
            |run| run.switches.truncate(1),
            |run| run.open_streams[2] = 2,
            |run| run.left_streams[1] = 1,
        ];
        for (number, difference) in differences.iter().enumerate() {
            let mut run = good();
            difference(&mut run);
            assert_eq!(faults(&run).len(), 1, "difference {number}");
        }
    }

    #[test]
    fn the_tables_say_what_differs() {
        let mut run = good();
        run.streams[0].received = Figure::of(b"abd");
        assert_eq!(
            streams(&run.streams[..2]).render(),
            "\
STREAM    BYTES SENT  BYTES RECEIVED  SHA-256 SENT       SHA-256 RECEIVED   EQUAL
download  3           3               ba7816bf8f01cfea…  a52d159f262b2c6d…  NO
upload    3           3               ba7816bf8f01cfea…  ba7816bf8f01cfea…  yes
"
        );
        assert_eq!(
            switches(&run.switches, &run.slowest_echoes).render(),
            "\
SWITCH FROM  TO     KIND        PROCEDURE  OUTCOME  TOOK MS  GAP MS  SLOWEST ECHO MS
wlan0        wwan0  planned     stepwise   done     20.5     31.0    30.0
wwan0        wlan0  unexpected  starred    done     20.5     31.0    2000.0
"
        );
    }

    fn good() -> Observed {
        let stream = |application| StreamFigures {
            application,
            sent: Figure::of(b"abc"),
            received: Figure::of(b"abc"),
        };
        let entry = |number, kind, procedure, from: Network, to: Network| SwitchEntry {
            number,
            kind,
            procedure,
            from: from.name().to_owned(),
            to: to.name().to_owned(),
            from_address: None,
            to_address: None,
            started: SystemTime::UNIX_EPOCH.into(),
            duration_ms: 20.5,
            gap_ms: Some(31.0),
            outcome: Outcome::Done,
            reason: None,
        };
        let (wireless, mobile) = (Network::Wireless, Network::Mobile);
        Observed {
            streams: Application::ALL.map(stream).to_vec(),
            switches: vec![
                entry(1, Kind::Planned, Procedure::Stepwise, wireless, mobile),
                entry(2, Kind::Unexpected, Procedure::Starred, mobile, wireless),
            ],
            slowest_echoes: [Duration::from_millis(30), Duration::from_secs(2)],
            open_streams: [3; 3],
            left_streams: [0; 2],
        }
    }
}
