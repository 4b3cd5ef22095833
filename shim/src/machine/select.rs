//! Which driver runs the machine.

use std::path::PathBuf;

use config::{Accel, Config, Driver as Wanted};

use super::Driver;
use super::built_in::BuiltIn;
use super::qemu::{Accelerator, Qemu};

/// Why no driver fits.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SelectError {
    #[error("driver = \"built-in\" needs KVM: {why}; or set driver = \"qemu\"")]
    Kvm { why: String },
    #[error("kata-mshv-vmm ({}) is not there: install it again, or set built_in.path in the configuration", path.display())]
    Vmm { path: PathBuf },
    #[error("qemu.accel = {accel:?} cannot be used: {why}")]
    Accelerator { accel: &'static str, why: String },
    #[error("QEMU ({}) is not there: install qemu-system-x86, or set qemu.path in the configuration", path.display())]
    Qemu { path: PathBuf },
}

/// The driver that the configuration asks for, or the best that the host has.
pub(crate) fn select(config: &Config) -> Result<Box<dyn Driver>, SelectError> {
    match config.driver {
        Wanted::BuiltIn => Ok(Box::new(built_in(config)?)),
        Wanted::Auto | Wanted::Qemu => Ok(Box::new(qemu(config)?)),
    }
}

fn built_in(config: &Config) -> Result<BuiltIn, SelectError> {
    probe::kvm().map_err(|why| SelectError::Kvm {
        why: why.to_string(),
    })?;
    let path = &config.built_in.path;
    match path.exists() {
        true => Ok(BuiltIn::new(&config.built_in)),
        false => Err(SelectError::Vmm { path: path.clone() }),
    }
}

fn qemu(config: &Config) -> Result<Qemu, SelectError> {
    let path = find_program(&config.qemu.path).ok_or_else(|| SelectError::Qemu {
        path: config.qemu.path.clone(),
    })?;
    Ok(Qemu::new(path, accelerator(config.qemu.accel)?))
}

fn accelerator(wanted: Accel) -> Result<Accelerator, SelectError> {
    let refused = |accel, why: String| SelectError::Accelerator { accel, why };
    match wanted {
        Accel::Tcg => Ok(Accelerator::Tcg),
        Accel::Kvm => match probe::kvm() {
            Ok(_) => Ok(Accelerator::Kvm),
            Err(why) => Err(refused("kvm", why.to_string())),
        },
        Accel::Mshv => match probe::mshv() {
            true => Ok(Accelerator::Mshv),
            false => Err(refused("mshv", "/dev/mshv cannot be opened".to_owned())),
        },
        Accel::Auto if probe::kvm().is_ok() => Ok(Accelerator::Kvm),
        Accel::Auto if probe::mshv() => Ok(Accelerator::Mshv),
        Accel::Auto => Ok(Accelerator::Tcg),
    }
}

/// `program` as an existing path, looked up in `PATH` when it is a bare name.
fn find_program(program: &std::path::Path) -> Option<PathBuf> {
    if program.is_absolute() {
        return program.exists().then(|| program.to_owned());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|p| p.is_file())
}
