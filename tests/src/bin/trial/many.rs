//! Many small files.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, ensure};

/// How many are in one folder.
const IN_FOLDER: u32 = 1000;

/// Makes, finds, reads and removes `count` files.
pub(crate) fn exercise(folder: &Path, count: u32) -> Result<()> {
    let steps: [(&str, Step); 4] = [
        ("made", make),
        ("listed", list),
        ("read", read),
        ("removed", remove),
    ];
    for (what, step) in steps {
        let began = Instant::now();
        step(folder, count)?;
        let rate = f64::from(count) / began.elapsed().as_secs_f64();
        println!("{what} {rate:.0} files/s");
    }
    Ok(())
}

type Step = fn(&Path, u32) -> Result<()>;

fn path(folder: &Path, number: u32) -> PathBuf {
    folder
        .join(format!("d{}", number / IN_FOLDER))
        .join(format!("f{number}"))
}

fn make(folder: &Path, count: u32) -> Result<()> {
    for number in 0..count {
        if number % IN_FOLDER == 0 {
            fs::create_dir(folder.join(format!("d{}", number / IN_FOLDER)))?;
        }
        fs::write(path(folder, number), number.to_le_bytes())?;
    }
    Ok(())
}

fn list(folder: &Path, count: u32) -> Result<()> {
    let mut found = 0;
    for inner in fs::read_dir(folder)? {
        for entry in fs::read_dir(inner?.path())? {
            ensure!(entry?.metadata()?.len() == 4);
            found += 1;
        }
    }
    ensure!(found == count, "{found} files were listed");
    Ok(())
}

fn read(folder: &Path, count: u32) -> Result<()> {
    for number in 0..count {
        ensure!(fs::read(path(folder, number))? == number.to_le_bytes());
    }
    Ok(())
}

fn remove(folder: &Path, count: u32) -> Result<()> {
    for number in (0..count).step_by(IN_FOLDER as usize) {
        fs::remove_dir_all(folder.join(format!("d{}", number / IN_FOLDER)))?;
    }
    ensure!(fs::read_dir(folder)?.next().is_none());
    Ok(())
}
