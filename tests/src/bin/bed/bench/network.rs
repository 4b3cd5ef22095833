//! What a pod's network carries, beside a pod under runc and beside the same pod on
//! a plain tap. The other end is on the node. The three take turns.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::bed::{Bed, Handler};
use e2e::pod::{Pod, pod};
use e2e::traffic::{self, PORT};
use tokio::task::spawn_blocking;

use super::plain::plain;
use crate::steps::step;

/// Of one direction of one connection.
const STREAM: Duration = Duration::from_secs(2);
const ROUND_TRIPS: u32 = 1000;
const CONNECTIONS: u32 = 200;

/// What is measured in a round.
const ROWS: [&str; 5] = [
    "to it, MB/s",
    "from it, MB/s",
    "round trip, median, µs",
    "round trip, 99 of 100, µs",
    "connection and answer, µs",
];

/// One round of one kind, as [`ROWS`].
type Round = [f64; ROWS.len()];

const KINDS: [&str; 3] = ["runc", "pod", "plain tap"];

pub(super) async fn measure(bed: &Bed, rounds: u32) -> Result<()> {
    let plain = plain(bed).await?;
    let ours = serving(bed, Handler::KataMshv, "ours").await?;
    let runc = serving(bed, Handler::Runc, "runc").await?;
    let ends = [runc.1, ours.1, plain.1];
    step("warm up", async {
        for end in ends {
            round(end).await?;
        }
        Ok(())
    })
    .await?;
    let mut table = Table::default();
    for number in 1..=rounds {
        let turn = async {
            for (rounds, end) in table.0.iter_mut().zip(ends) {
                rounds.push(round(end).await?);
            }
            Ok(())
        };
        step(&format!("round {number} of {rounds}"), turn).await?;
    }
    println!("\n{}, medians of {rounds} rounds\n\n{table}", bed.version);
    for (pod, _) in [runc, ours, plain] {
        pod.remove().await?;
    }
    Ok(())
}

/// A pod that answers traffic, and where it does.
pub(super) async fn serving(bed: &Bed, handler: Handler, name: &str) -> Result<(Pod, SocketAddr)> {
    let pod = pod(name).handler(handler).run(bed).await?;
    traffic::server("main")?.start(&pod).await?;
    let address = pod.addresses().await?.swap_remove(0);
    let address: IpAddr = address.parse().context("a pod's address")?;
    Ok((pod, (address, PORT).into()))
}

async fn round(end: SocketAddr) -> Result<Round> {
    spawn_blocking(move || {
        traffic::await_server(end)?;
        let to = traffic::send(end, STREAM)?.mb_per_second();
        let from = traffic::receive(end, STREAM)?.mb_per_second();
        let mut trips = traffic::round_trips(end, ROUND_TRIPS)?;
        trips.sort_unstable();
        let trip = |part: usize| micros(trips[trips.len() * part / 100]);
        let connections = traffic::connections(end, CONNECTIONS)? / CONNECTIONS;
        Ok([to, from, trip(50), trip(99), micros(connections)])
    })
    .await?
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Rounds of each of [`KINDS`].
#[derive(Default)]
struct Table([Vec<Round>; KINDS.len()]);

impl Table {
    fn median(&self, kind: usize, row: usize) -> f64 {
        let mut values: Vec<_> = self.0[kind].iter().map(|round| round[row]).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [runc, pod, plain] = KINDS;
        writeln!(
            f,
            "{:<28}{runc:>12}{pod:>12}{plain:>12}{:>12}{:>12}",
            "", "of plain", "of runc"
        )?;
        for (row, name) in ROWS.into_iter().enumerate() {
            let [runc, pod, plain] = [0, 1, 2].map(|kind| self.median(kind, row));
            let (of_plain, of_runc) = (pod / plain, pod / runc);
            writeln!(
                f,
                "{name:<28}{runc:>12.1}{pod:>12.1}{plain:>12.1}{of_plain:>12.2}{of_runc:>12.2}"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_with_the_pods_part_of_the_others() {
        let round = |value| [value; ROWS.len()];
        let table = Table([
            vec![round(8.0)],
            vec![round(1.0), round(2.0), round(9.0)],
            vec![round(4.0)],
        ]);
        let text = table.to_string();
        let line: Vec<_> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(
            line[line.len() - 5..],
            ["8.0", "2.0", "4.0", "0.50", "0.25"]
        );
    }
}
