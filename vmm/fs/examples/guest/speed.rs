//! Figures, not promises: under emulation they mean little but the trend.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::time::Instant;

use crate::console::Console;
use crate::{Case, SHARE};

pub(crate) const CASES: &[Case] = &[
    ("speed of one long file", one_long_file),
    ("speed of 1,000 small files", many_files),
];

const MEBIBYTES: usize = 64;

fn rate(began: Instant, amount: f64) -> f64 {
    amount / began.elapsed().as_secs_f64()
}

fn one_long_file(console: &mut Console) -> anyhow::Result<()> {
    let path = format!("{SHARE}/long-file");
    for (what, block) in [
        ("write, 1 MiB blocks", 1 << 20),
        ("write, 4 KiB blocks", 4096),
    ] {
        let bytes = vec![7; block];
        let began = Instant::now();
        let mut file = File::create(&path)?;
        for _ in 0..(MEBIBYTES << 20) / block {
            file.write_all(&bytes)?;
        }
        file.sync_all()?;
        console.measured(what, rate(began, MEBIBYTES as f64), "MiB/s")?;
    }
    fs::write("/proc/sys/vm/drop_caches", "3")?;
    for what in ["read", "read again"] {
        let began = Instant::now();
        let (mut file, mut bytes) = (File::open(&path)?, vec![0; 1 << 20]);
        while file.read(&mut bytes)? > 0 {}
        console.measured(what, rate(began, MEBIBYTES as f64), "MiB/s")?;
    }
    Ok(fs::remove_file(&path)?)
}

type Step = fn(&str) -> std::io::Result<()>;

fn many_files(console: &mut Console) -> anyhow::Result<()> {
    let dir = format!("{SHARE}/many");
    fs::create_dir(&dir)?;
    let steps: [(&str, Step); 3] = [
        ("create", |path| fs::write(path, "x")),
        ("stat", |path| fs::metadata(path).map(drop)),
        ("unlink", |path| fs::remove_file(path)),
    ];
    for (what, step) in steps {
        let began = Instant::now();
        for i in 0..1_000 {
            step(&format!("{dir}/{i}"))?;
        }
        console.measured(what, rate(began, 1_000.0), "files/s")?;
    }
    Ok(())
}
