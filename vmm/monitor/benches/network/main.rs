//! A guest's network with its packets moved by the VMM and by the host's kernel, turn
//! by turn in one lab.

#[allow(dead_code)] // The tests do more with it.
#[path = "../../../fs/tests/device/archive.rs"]
mod archive;
#[allow(dead_code)] // As above.
#[path = "../../tests/devices/disks.rs"]
mod disks;
#[allow(dead_code)] // As above.
#[path = "../../tests/devices/guest.rs"]
mod guest;
#[path = "../../tests/devices/interface.rs"]
mod interface;
#[allow(dead_code)] // As above.
#[path = "../../tests/devices/machine.rs"]
mod machine;
#[allow(dead_code)] // As above.
#[path = "../../tests/devices/network.rs"]
mod network;
#[path = "../../tests/devices/pattern.rs"]
mod pattern;
#[allow(dead_code)] // As above.
#[path = "../../tests/devices/slots.rs"]
mod slots;

use std::process::ExitCode;

use anyhow::{Context, ensure};
use lab::case;

use machine::{Devices, Machine};
use network::{Mover, wire, with};

/// Rounds that count; one before them pays for the translation of code in an
/// emulated lab.
const ROUNDS: usize = 9;

/// Each way.
const BYTES: f64 = 64.0 * 1024.0 * 1024.0;
const PARAMETERS: &str = "KATA_MSHV_DEVICE_BYTES=67108864";

const MOVERS: [(&str, Mover); 2] = [("VMM", Mover::Vmm), ("host's kernel", Mover::Kernel)];

fn main() -> ExitCode {
    if let Some(case) = guest::case() {
        guest::run(&case);
    }
    machine::suite()
        .case(case("who_moves_packets", compare).seconds(550))
        .main()
}

/// What one guest says: microseconds.
struct Figures {
    ping: f64,
    sent: f64,
    received: f64,
}

fn compare() -> anyhow::Result<()> {
    let mut all = MOVERS.map(|_| Vec::new());
    for round in 0..=ROUNDS {
        for ((_, mover), column) in MOVERS.iter().zip(&mut all) {
            let figures = measure(*mover)?;
            if round > 0 {
                column.push(figures);
            }
        }
    }
    for ((name, _), column) in MOVERS.iter().zip(&all) {
        println!("{name}: least, median and most of {ROUNDS}");
        let of = |figure: fn(&Figures) -> f64| column.iter().map(figure).collect();
        print("round trip, us", of(|figures| figures.ping));
        print("guest to host, MB/s", of(|figures| BYTES / figures.sent));
        print(
            "host to guest, MB/s",
            of(|figures| BYTES / figures.received),
        );
    }
    Ok(())
}

fn measure(mover: Mover) -> anyhow::Result<Figures> {
    let devices = Devices {
        parameters: PARAMETERS,
        ..with(wire(mover, 1)?)
    };
    let mut machine = Machine::start("network", devices)?;
    ensure!(machine.line()?.starts_with("eth0 "));
    let mut number = |word: &str| {
        let line = machine.line()?;
        let number = line.strip_prefix(word).map(str::trim);
        anyhow::Ok(number.context(line.clone())?.parse::<f64>()?)
    };
    let figures = Figures {
        ping: number("ping")?,
        sent: number("sent")?,
        received: number("received")?,
    };
    ensure!(machine.line()? == "done");
    machine.finish()?;
    Ok(figures)
}

fn print(what: &str, mut values: Vec<f64>) {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    let (least, middle, most) = (at(0), at(values.len() / 2), at(values.len() - 1));
    println!("  {what:<20} {least:>8.1} {middle:>8.1} {most:>8.1}");
}
