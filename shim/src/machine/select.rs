//! Which driver runs the machine.

use std::path::PathBuf;

use config::{Accel, Config, Driver as Wanted};
use probe::{KvmReport, NoKvm};

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
    let kvm = probe::kvm();
    match choose(config.driver, &kvm)? {
        Choice::BuiltIn => Ok(Box::new(built_in(config)?)),
        Choice::Qemu => Ok(Box::new(qemu(config, &kvm)?)),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    BuiltIn,
    Qemu,
}

/// The built-in VMM wherever KVM has hardware behind it, unless told otherwise.
fn choose(wanted: Wanted, kvm: &Result<KvmReport, NoKvm>) -> Result<Choice, SelectError> {
    match (wanted, kvm) {
        (Wanted::Auto | Wanted::BuiltIn, Ok(_)) => Ok(Choice::BuiltIn),
        (Wanted::BuiltIn, Err(why)) => Err(SelectError::Kvm {
            why: why.to_string(),
        }),
        (Wanted::Auto, Err(_)) | (Wanted::Qemu, _) => Ok(Choice::Qemu),
    }
}

fn built_in(config: &Config) -> Result<BuiltIn, SelectError> {
    let path = &config.built_in.path;
    match path.exists() {
        true => Ok(BuiltIn::new(&config.built_in)),
        false => Err(SelectError::Vmm { path: path.clone() }),
    }
}

fn qemu(config: &Config, kvm: &Result<KvmReport, NoKvm>) -> Result<Qemu, SelectError> {
    let path = find_program(&config.qemu.path).ok_or_else(|| SelectError::Qemu {
        path: config.qemu.path.clone(),
    })?;
    let accelerator = accelerator(config.qemu.accel, kvm)?;
    Ok(Qemu::new(path, accelerator, &config.qemu))
}

fn accelerator(wanted: Accel, kvm: &Result<KvmReport, NoKvm>) -> Result<Accelerator, SelectError> {
    let refused = |accel, why: String| SelectError::Accelerator { accel, why };
    match wanted {
        Accel::Tcg => Ok(Accelerator::Tcg),
        Accel::Kvm => match kvm {
            Ok(_) => Ok(Accelerator::Kvm),
            Err(why) => Err(refused("kvm", why.to_string())),
        },
        Accel::Mshv => match probe::mshv() {
            true => Ok(Accelerator::Mshv),
            false => Err(refused("mshv", "/dev/mshv cannot be opened".to_owned())),
        },
        Accel::Auto if kvm.is_ok() => Ok(Accelerator::Kvm),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn hardware() -> Result<KvmReport, NoKvm> {
        Ok(KvmReport {
            tsc_khz: None,
            tsc_scaling: false,
            max_vcpus: 1,
        })
    }

    /// A device that is there, and emulates.
    fn emulated() -> Result<KvmReport, NoKvm> {
        let sign = probe::Sign::Emulated;
        Err(NoKvm::NoHardware { sign })
    }

    #[test]
    fn auto_goes_by_the_hardware() {
        let auto = |kvm| choose(Wanted::Auto, &kvm).unwrap();
        assert_eq!(auto(hardware()), Choice::BuiltIn);
        assert_eq!(auto(emulated()), Choice::Qemu);
        assert_eq!(auto(Err(NoKvm::NoDevice)), Choice::Qemu);
    }

    #[test]
    fn either_can_be_forced() {
        assert_eq!(choose(Wanted::Qemu, &hardware()).unwrap(), Choice::Qemu);
        let built_in = choose(Wanted::BuiltIn, &hardware());
        assert_eq!(built_in.unwrap(), Choice::BuiltIn);
    }

    #[test]
    fn the_built_in_vmm_without_hardware_is_an_error_that_says_why() {
        let error = choose(Wanted::BuiltIn, &emulated()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("emulator") && text.contains("qemu"), "{text}");
    }
}
