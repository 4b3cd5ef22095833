//! What runs the VMs: KVM, the Microsoft hypervisor, or emulation.

use config::{Accel, Config, Driver};
use probe::NoKvm;

use super::Finding;
use super::qemu;

/// What the host offers.
struct Offer {
    kvm: Result<(), NoKvm>,
    mshv: bool,
}

/// Whether the built-in VMM runs the VMs, and what was found.
pub(super) fn examine(config: &Config) -> (bool, Vec<Finding>) {
    let offer = Offer {
        kvm: probe::kvm().map(drop),
        mshv: probe::mshv(),
    };
    let accel = accelerator(config.qemu.accel, &offer);
    let mut findings = vec![
        kvm(&offer, accel),
        mshv(&offer),
        driver(config, &offer, accel),
    ];
    let built_in = is_built_in(config.driver, &offer);
    if !built_in {
        findings.push(qemu::examine(&config.qemu.path, accel));
    }
    (built_in, findings)
}

/// As the shim chooses.
fn is_built_in(wanted: Driver, offer: &Offer) -> bool {
    match wanted {
        Driver::Auto => offer.kvm.is_ok(),
        Driver::BuiltIn => true,
        Driver::Qemu => false,
    }
}

/// The accelerator that QEMU is given, as the shim chooses it.
fn accelerator(wanted: Accel, offer: &Offer) -> &'static str {
    match wanted {
        Accel::Auto if offer.kvm.is_ok() => "kvm",
        Accel::Auto if offer.mshv => "mshv",
        Accel::Auto | Accel::Tcg => "tcg",
        Accel::Kvm => "kvm",
        Accel::Mshv => "mshv",
    }
}

fn kvm(offer: &Offer, accel: &str) -> Finding {
    match &offer.kvm {
        Ok(()) => Finding::ok("kvm", "/dev/kvm runs machines on the processor"),
        // The reason says what to do.
        Err(why) if accel == "mshv" => Finding::ok("kvm", why.to_string()),
        Err(why) => Finding {
            advice: None,
            ..Finding::warn("kvm", why.to_string(), "")
        },
    }
}

fn mshv(offer: &Offer) -> Finding {
    match offer.mshv {
        true => Finding::ok("mshv", "/dev/mshv can be opened"),
        false => Finding::ok(
            "mshv",
            "no /dev/mshv, which only hosts under the Microsoft hypervisor have",
        ),
    }
}

/// What will run the VMs, and why.
fn driver(config: &Config, offer: &Offer, accel: &'static str) -> Finding {
    const SUBJECT: &str = "driver";
    const BEST: &str = "the best that there is";
    const CONFIGURED: &str = "as configured";
    let usable = match accel {
        "kvm" => offer.kvm.is_ok(),
        "mshv" => offer.mshv,
        _ => true,
    };
    if is_built_in(config.driver, offer) {
        let why = match config.driver {
            Driver::Auto => BEST,
            Driver::BuiltIn | Driver::Qemu => CONFIGURED,
        };
        return match &offer.kvm {
            Ok(()) => Finding::ok(SUBJECT, format!("VMs run by the built-in VMM, {why}")),
            Err(_) => {
                let found = "driver = \"built-in\", which needs KVM";
                Finding::fail(SUBJECT, found, "set driver = \"auto\" or \"qemu\"")
            }
        };
    }
    if !usable {
        let found = format!("qemu.accel = \"{accel}\", which this host does not offer");
        return Finding::fail(SUBJECT, found, "set qemu.accel = \"auto\"");
    }
    let why = match config.qemu.accel {
        Accel::Auto => BEST,
        Accel::Kvm | Accel::Mshv | Accel::Tcg => CONFIGURED,
    };
    let found = format!("VMs run by QEMU with {accel}, {why}");
    match accel {
        "tcg" => Finding::warn(
            SUBJECT,
            format!("{found}: emulated, several times slower than on the processor"),
            "good for trying things out; for more, use a host with KVM or MSHV",
        ),
        _ => Finding::ok(SUBJECT, found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Level;

    fn offer(kvm: bool, mshv: bool) -> Offer {
        let kvm = if kvm { Ok(()) } else { Err(NoKvm::NoDevice) };
        Offer { kvm, mshv }
    }

    fn judge(driver_wanted: Driver, accel: Accel, offer: &Offer) -> (Level, String) {
        let mut config = Config {
            driver: driver_wanted,
            ..Config::default()
        };
        config.qemu.accel = accel;
        let finding = driver(&config, offer, accelerator(accel, offer));
        (finding.level, finding.found)
    }

    #[test]
    fn hardware_is_the_built_in_vmms() {
        let (level, found) = judge(Driver::Auto, Accel::Auto, &offer(true, true));
        assert_eq!(level, Level::Ok);
        assert!(found.contains("the built-in VMM, the best"), "{found}");
    }

    #[test]
    fn the_best_accelerator_is_taken() {
        for (driver, kvm, mshv, accel, level) in [
            (Driver::Qemu, true, true, "kvm", Level::Ok),
            (Driver::Auto, false, true, "mshv", Level::Ok),
            (Driver::Auto, false, false, "tcg", Level::Warn),
        ] {
            let (judged, found) = judge(driver, Accel::Auto, &offer(kvm, mshv));
            assert_eq!(judged, level, "{found}");
            assert!(found.contains(&format!("QEMU with {accel}")), "{found}");
        }
    }

    #[test]
    fn what_is_configured_and_not_there_fails() {
        let nothing = offer(false, false);
        assert_eq!(judge(Driver::Qemu, Accel::Kvm, &nothing).0, Level::Fail);
        assert_eq!(judge(Driver::Qemu, Accel::Mshv, &nothing).0, Level::Fail);
        assert_eq!(judge(Driver::BuiltIn, Accel::Auto, &nothing).0, Level::Fail);
        assert_eq!(judge(Driver::Qemu, Accel::Tcg, &nothing).0, Level::Warn);
    }

    #[test]
    fn the_built_in_vmm_needs_kvm_alone() {
        let (level, found) = judge(Driver::BuiltIn, Accel::Auto, &offer(true, false));
        assert_eq!(level, Level::Ok, "{found}");
    }
}
